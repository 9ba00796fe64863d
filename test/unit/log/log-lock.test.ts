/** The lock, with real processes on the real kernel. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, rename, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodeFileSystem } from '../../../src/log/node-file-system.ts'
import { readLog, verifyLog } from '../../../src/log/read-log.ts'
import { SMALL_SEGMENT, testLog, transfer, unawaited } from '../../support/test-log.ts'

const CHILD = fileURLToPath(new URL('../../support/log-child.ts', import.meta.url))
let root = ''
let directory = ''
let children: Child[] = []

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'unanimous-lock-'))
  directory = join(root, 'decisions')
})

afterEach(async () => {
  await Promise.all(children.map((child) => child.kill()))
  children = []
  await rm(root, { recursive: true })
})

describe('one owner', { timeout: 120_000 }, () => {
  it('refuses a second process, and tells it who holds the log', async () => {
    const owner = await holder()
    const refused = await new Child([directory]).line()
    expect(refused).toMatch(/^LOG_LOCKED /)
    expect(refused).toContain(`process ${owner.pid} on `)
  })

  it('refuses a second opening in the same process', async () => {
    const test = testLog(nodeFileSystem)
    const options = { directory, allowUnsafeFileSystem: true }
    const log = await test.start(options)
    await expect(test.open(options)).rejects.toMatchObject({ code: 'LOG_LOCKED' })
    await log.close()
    await (await test.start(options)).close()
  })

  it('is free at once after kill -9, and what was decided is there', async () => {
    const owner = await holder()
    owner.write('commit\n')
    const gtrid = await owner.line()
    await owner.kill()
    await holder()
    const { pending } = await readLog(directory, nodeFileSystem)
    expect(pending.map(({ record }) => record.gtrid)).toEqual([gtrid])
  })

  it('stays with an owner that is stopped, however long', async () => {
    const owner = await holder()
    owner.signal('SIGSTOP')
    expect(await new Child([directory, '700']).line()).toMatch(/^LOG_LOCKED /)
    owner.signal('SIGCONT')
    owner.write('commit\n')
    expect(await owner.line()).toMatch(/^una1-/)
  })

  it('waits for the owner before it as long as it is told', async () => {
    const owner = await holder()
    const next = new Child([directory, '20000'])
    const opened = next.line()
    owner.write('commit\n')
    await owner.line()
    owner.end()
    expect(await opened).toBe('open')
  })

  it('is not held up by a reader', async () => {
    const owner = await holder()
    await owner.kill()
    let reading = true
    const readers = (async () => {
      while (reading) expect((await readLog(directory, nodeFileSystem)).owner).not.toBeNull()
    })()
    try {
      // A reader that a busy machine stops with the lock in its hand keeps it for longer than a peek.
      for (let n = 0; n < 3; n += 1) await (await holder(20_000)).kill()
    } finally {
      // The folder goes with the test: who reads on would find it gone.
      reading = false
      await readers
    }
  })

  it('names its owner to readers, and nobody once that is dead', async () => {
    const owner = await holder()
    const held = await readLog(directory, nodeFileSystem)
    expect(held.owner).toMatchObject({ pid: owner.pid })
    await owner.kill()
    expect((await readLog(directory, nodeFileSystem)).owner).toBeUndefined()
  })
})

describe('the directory itself', { timeout: 120_000 }, () => {
  it('can be renamed', async () => {
    await (await holder()).kill()
    const moved = join(root, 'moved')
    await rename(directory, moved)
    expect(await new Child([moved]).line()).toBe('open')
  })

  it('is told from its copy', async () => {
    await (await holder()).kill()
    const copy = join(root, 'copy')
    await cp(directory, copy, { recursive: true, preserveTimestamps: true })
    expect(await new Child([copy]).line()).toMatch(/^LOG_COPIED /)
  })

  it('cannot be shared by replacing the lock file', async () => {
    const owner = await holder()
    await unlink(join(directory, 'lock'))
    expect(await new Child([directory]).line()).toMatch(/^LOG_COPIED /)
    owner.write('commit\n')
    await owner.line()
  })
})

describe('on a real disk', { timeout: 120_000 }, () => {
  it('rolls, restarts and reads back', async () => {
    const options = { directory, allowUnsafeFileSystem: true, segmentBytes: SMALL_SEGMENT }
    const test = testLog(nodeFileSystem, { nextTurn: (run) => void setImmediate(run) })
    for (let run = 1; run <= 3; run += 1) {
      const log = await test.start(options)
      expect(log.pending()).toHaveLength((run - 1) * 3)
      for (let n = 0; n < 60; n += 1) {
        const gtrid = log.begin()
        await log.decide(transfer(gtrid))
        log.release(gtrid)
        if (n % 20 === 0) continue
        unawaited(log.answered(gtrid, 'ledger', 'committed'))
        unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
        unawaited(log.end(gtrid))
      }
      await log.close()
    }
    expect((await readLog(directory, nodeFileSystem)).pending).toHaveLength(9)
    expect(test.events).toEqual([])
  })
})

describe('a reader without the lock', { timeout: 120_000 }, () => {
  it('sees no damage while batches and rolls are under way', async () => {
    const options = { directory, allowUnsafeFileSystem: true, segmentBytes: SMALL_SEGMENT }
    const test = testLog(nodeFileSystem, { nextTurn: (run) => void setImmediate(run) })
    const log = await test.start(options)
    let writing = true
    const writer = (async () => {
      while (writing) {
        const gtrid = log.begin()
        await log.decide(transfer(gtrid))
        log.release(gtrid)
        unawaited(log.answered(gtrid, 'ledger', 'committed'))
        unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
        unawaited(log.end(gtrid))
      }
    })()
    for (let n = 0; n < 300; n += 1) {
      const { logId } = await verifyLog(directory, nodeFileSystem)
      expect(logId).toBe(log.logId)
    }
    writing = false
    await writer
    await log.close()
  })
})

async function holder(lockWaitMs = 0): Promise<Child> {
  const child = new Child([directory, String(lockWaitMs)])
  expect(await child.line()).toBe('open')
  return child
}

class Child {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(args: readonly string[]) {
    this.#process = spawn(process.execPath, ['--import', 'tsx', CHILD, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const { stdout } = this.#process
    if (stdout === null) throw new Error('the child has no output')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
    children.push(this)
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  async line(): Promise<string> {
    const { value } = await this.#lines.next()
    return String(value)
  }

  write(text: string): void {
    this.#process.stdin?.write(text)
  }

  end(): void {
    this.#process.stdin?.end()
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exit = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exit
  }
}
