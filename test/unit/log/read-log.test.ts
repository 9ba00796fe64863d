/** A mark of the log: what it held at that moment, whenever the bytes are read. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodeFileSystem } from '../../../src/log/node-file-system.ts'
import { LogReader } from '../../../src/log/read-log.ts'
import { testLog, transfer } from '../../support/test-log.ts'

let root = ''
let directory = ''

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'unanimous-read-'))
  directory = join(root, 'decisions')
})

afterEach(async () => {
  await rm(root, { recursive: true })
})

describe('a mark of the log', () => {
  it('reads the bytes of a log that nobody holds when they are asked for, and only once', async () => {
    const gtrid = await decideOne()
    const { files, opened } = counting()
    const reader = new LogReader(directory, files)
    const read = await reader.mark()
    expect(opened()).toEqual(['lock'])
    const snapshot = await read()
    expect(snapshot?.pending.map(({ record }) => record.gtrid)).toEqual([gtrid])
    expect(await reader.read()).toBe(snapshot)
    expect(await (await reader.mark())()).toBe(snapshot)
    expect(opened()).toEqual(['lock', expect.stringMatching(/^segment-/)])
  })

  it('knows nothing of that moment once somebody has opened the log since', async () => {
    await decideOne()
    const reader = new LogReader(directory, nodeFileSystem)
    const read = await reader.mark()
    const later = await decideOne()
    expect(await read()).toBeUndefined()
    const { pending } = await reader.read()
    expect(pending.map(({ record }) => record.gtrid)).toContain(later)
  })

  it('reads a log that is held at once: its owner goes on writing', async () => {
    const log = await testLog(nodeFileSystem).start({ directory, allowUnsafeFileSystem: true })
    const before = log.begin()
    await log.decide(transfer(before))
    const read = await new LogReader(directory, nodeFileSystem).mark()
    const after = log.begin()
    await log.decide(transfer(after))
    const snapshot = await read()
    expect(snapshot?.owner).toMatchObject({ pid: process.pid })
    expect(snapshot?.pending.map(({ record }) => record.gtrid)).toEqual([before])
    await log.close()
  })
})

async function decideOne(): Promise<string> {
  const log = await testLog(nodeFileSystem).start({ directory, allowUnsafeFileSystem: true })
  const gtrid = log.begin()
  await log.decide(transfer(gtrid))
  await log.close()
  return gtrid
}

function counting() {
  const paths: string[] = []
  const files = {
    ...nodeFileSystem,
    open(path: string, mode: 'read' | 'write' | 'force') {
      paths.push(path)
      return nodeFileSystem.open(path, mode)
    },
  }
  return { files, opened: () => paths.map((path) => path.slice(directory.length + 1)) }
}
