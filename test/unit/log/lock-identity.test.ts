/** What a lock file and the owner beside it say, also where they say nothing that can be read. */
import { describe, expect, it } from 'vitest'
import { fileSystemOf, identityOf, readOwner } from '../../../src/log/log-lock.ts'
import { adoptLog } from '../../../src/log/open-log.ts'
import { readLog } from '../../../src/log/read-log.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { DIRECTORY, SMALL_SEGMENT, testLog } from '../../support/test-log.ts'

const LOCK = `${DIRECTORY}/lock`
const OWNER = `${DIRECTORY}/owner`
const FUSE = 0x65735546

/** A disk with a log that was closed in order. */
async function closedLog(disk: FakeDisk = new FakeDisk()): Promise<FakeDisk> {
  await (await testLog(disk).start()).close()
  return disk
}

describe('identity, without taking the lock', () => {
  it('is unrecorded where there is no lock file', async () => {
    expect(await identityOf(DIRECTORY, new FakeDisk())).toBe('unrecorded')
  })

  it('is that of the original, or of a copy', async () => {
    const disk = await closedLog()
    expect(await identityOf(DIRECTORY, disk)).toBe('own')
    disk.birthNs += 1n
    expect(await identityOf(DIRECTORY, disk)).toBe('copied')
  })

  it('proves no copy on a file system where inodes and birth times move', async () => {
    const disk = await closedLog()
    disk.birthNs += 1n
    disk.fsType = FUSE
    expect(await identityOf(DIRECTORY, disk)).toBe('own')
  })

  it.each(['{ half a reco', '7', 'null'])('is a copy when the lock file says %s', async (text) => {
    const disk = await closedLog()
    disk.put(LOCK, Buffer.from(text))
    await expect(testLog(disk).open()).rejects.toMatchObject({ code: 'LOG_COPIED' })
    expect(await identityOf(DIRECTORY, disk)).toBe('copied')
  })

  it('leaves out a birth time that moves when the file is written', async () => {
    const disk = new FakeDisk()
    disk.onRequest = ({ kind, path }) => {
      if (kind === 'write' && path === LOCK) disk.birthNs += 1n
    }
    await closedLog(disk)
    disk.onRequest = undefined
    expect(disk.bytes(LOCK).toString()).toContain('"birthNs":null')
    disk.birthNs += 1n
    expect(await identityOf(DIRECTORY, disk)).toBe('own')
  })

  it('is unreadable, and no copy, when the disk does not answer', async () => {
    const disk = await closedLog()
    disk.fault = ({ path }) => (path === LOCK ? { error: 'EIO' } : undefined)
    await expect(identityOf(DIRECTORY, disk)).rejects.toMatchObject({ code: 'LOG_UNREADABLE' })
  })
})

describe('the owner', () => {
  it.each([
    ['missing', undefined],
    ['no JSON', 'half a'],
    ['other JSON', '{"pid":"7"}'],
  ])('is unknown to readers and to whoever is refused, when its file is %s', async (_, text) => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    await test.start()
    if (text === undefined) await disk.unlink(OWNER)
    else disk.put(OWNER, Buffer.from(text))
    const unknown = { pid: 0, host: 'unknown', sinceMs: 0 }
    expect(await readOwner(DIRECTORY, disk)).toEqual(unknown)
    expect((await readLog(DIRECTORY, disk)).owner).toEqual(unknown)
    await expect(test.open()).rejects.toThrow(/is held by another process$/)
  })
})

describe('adopting', () => {
  it('an empty directory makes it an original, and no log of it', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    await adoptLog({ directory: DIRECTORY, segmentBytes: SMALL_SEGMENT }, test.seams)
    expect(disk.paths()).toEqual([LOCK, OWNER])
    expect(await identityOf(DIRECTORY, disk)).toBe('own')
    expect((await test.start()).incarnation.epoch).toBe(1)
  })
})

it('names a file system by its number when it has no name here', async () => {
  const disk = new FakeDisk()
  disk.fsType = 0x1234
  expect(await fileSystemOf(DIRECTORY, disk)).toEqual({
    name: 'file system 0x1234',
    trust: 'local',
  })
})

describe('a lock that is held', () => {
  /** Opens while somebody has it in his hand for so long. */
  async function openBeside(heldMs: number): Promise<void> {
    const disk = await closedLog()
    const test = testLog(disk)
    const other = await disk.open(LOCK, 'write')
    await other.lock('exclusive')
    const letGo = new Promise((resolve) => {
      test.clock.timer(heldMs, () => resolve(other.close()))
    })
    await (await test.open()).close()
    await letGo
  }

  it('for an instant, as by a reader that looks who owns it, holds nobody up', async () => {
    await openBeside(200)
  })

  it('for longer refuses, where no wait is asked for', async () => {
    await expect(openBeside(1_000)).rejects.toMatchObject({ code: 'LOG_LOCKED' })
  })
})
