/**
 * The log on the real kernel: `npx tsx test/log/kernel.ts`. Needs root (it mounts a small tmpfs)
 * and strace (it makes system calls fail). Ends with `N passed, N failed`.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../src/errors.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readLog } from '../../src/log/read-log.ts'

const CHILD = fileURLToPath(new URL('../support/log-child.ts', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'unanimous-kernel-'))

const CASES: Readonly<Record<string, () => Promise<void>>> = {
  /**
   * The second batch fails: its caller is in doubt, nothing is decided after it, a restart is
   * clean.
   */
  'EIO of a forced write': async () => {
    const directory = join(root, 'eio')
    const owner = new Owner(directory, ['pwritev:error=EIO:when=3'])
    assert.equal(await owner.line(), 'open')
    const first = await owner.commit()
    assert.match(first, /^una1-/)
    assert.match(await owner.commit(), /^LOG_POISONED .*EIO/)
    assert.match(await owner.commit(), /^LOG_POISONED /)
    await owner.end()
    const again = new Owner(directory)
    assert.equal(await again.line(), 'open')
    const third = await again.commit()
    await again.end()
    assert.deepEqual(await pending(directory), [first, third])
  },

  'EIO of fdatasync on a new segment': async () => {
    const directory = join(root, 'datasync')
    const owner = new Owner(directory, ['fdatasync:error=EIO:when=2'])
    assert.match(await owner.line(), /^LOG_UNREADABLE .*EIO/)
    await owner.end()
    const again = new Owner(directory)
    assert.equal(await again.line(), 'open')
    await again.end()
  },

  'EIO of fsync on the directory': async () => {
    const directory = join(root, 'fsync')
    const owner = new Owner(directory, ['fsync:error=EIO:when=2'])
    assert.match(await owner.line(), /^LOG_UNREADABLE .*EIO/)
    await owner.end()
  },

  'short writes': async () => {
    const directory = join(root, 'short')
    const owner = new Owner(directory, ['pwritev:retval=512:when=3'])
    assert.equal(await owner.line(), 'open')
    const gtrids = [await owner.commit(), await owner.commit()]
    await owner.end()
    // The call that was replaced wrote nothing: the batch has a hole, and its other copy has not.
    assert.deepEqual(await pending(directory), gtrids)
  },

  /** Two segments fit and nothing else: no decision, no roll and no restart needs more. */
  'a disk that is full': async () => {
    const directory = join(root, 'full')
    mkdirSync(directory)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', directory])
    try {
      const owner = new Owner(directory)
      assert.equal(await owner.line(), 'open')
      fill(join(directory, 'ballast'))
      const gtrids: string[] = []
      for (let n = 0; n < 100; n += 1) gtrids.push(await owner.commit())
      assert.ok(gtrids.every((gtrid) => gtrid.startsWith('una1-')))
      await owner.kill()
      const again = new Owner(directory)
      assert.equal(await again.line(), 'open')
      gtrids.push(await again.commit())
      await again.end()
      assert.deepEqual(await pending(directory), gtrids)
    } finally {
      execFileSync('umount', [directory])
    }
  },

  'a disk that is too small': async () => {
    const directory = join(root, 'small')
    mkdirSync(directory)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', directory])
    try {
      const owner = new Owner(directory)
      assert.match(await owner.line(), /^LOG_FULL /)
      await owner.end()
    } finally {
      execFileSync('umount', [directory])
    }
  },
}

class Owner {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>

  /** @param inject - faults, as strace spells them */
  constructor(directory: string, inject: readonly string[] = []) {
    const faults = inject.flatMap((fault) => ['-e', `inject=${fault}`])
    const node = [process.execPath, '--import', 'tsx', CHILD, directory]
    const [command = '', ...args] =
      faults.length === 0 ? node : ['strace', '-f', '-qq', '-o', '/dev/null', ...faults, ...node]
    this.#process = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      // strace counts the calls of each thread by itself.
      env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
    })
    const { stdout } = this.#process
    assert.ok(stdout !== null)
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  async line(): Promise<string> {
    const { value } = await this.#lines.next()
    return String(value)
  }

  commit(): Promise<string> {
    this.#process.stdin?.write('commit\n')
    return this.line()
  }

  async end(): Promise<void> {
    const exit = once(this.#process, 'exit')
    this.#process.stdin?.end()
    if (this.#process.exitCode === null) await exit
  }

  async kill(): Promise<void> {
    const exit = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exit
  }
}

async function pending(directory: string): Promise<string[]> {
  const snapshot = await readLog(directory, nodeFileSystem)
  return snapshot.pending.map(({ record }) => record.gtrid)
}

function fill(path: string): void {
  try {
    for (;;) writeFileSync(path, Buffer.alloc(4096), { flag: 'a' })
  } catch {
    // Full, as it was meant to be.
  }
}

let failed = 0
try {
  for (const [name, run] of Object.entries(CASES)) {
    try {
      await run()
      console.log(`ok      ${name}`)
    } catch (cause) {
      failed += 1
      console.log(`failed  ${name}: ${messageOf(cause)}`)
    }
  }
} finally {
  rmSync(root, { recursive: true, force: true })
}
console.log(`${Object.keys(CASES).length - failed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
