/** Segments whose size is not what it was, and what is read behind damage. */
import { describe, expect, it } from 'vitest'
import { LogCorruptError } from '../../../src/errors.ts'
import { loadDirectory, readSegment } from '../../../src/log/directory.ts'
import type { FileSystem } from '../../../src/log/file-system.ts'
import { PAGE_BYTES } from '../../../src/log/frame.ts'
import { batchesBehind, verifyLog } from '../../../src/log/read-log.ts'
import { isOutOfSpace } from '../../../src/log/segment-store.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { commitOne, DIRECTORY, SMALLEST_SEGMENT, testLog } from '../../support/test-log.ts'

const FIRST = `${DIRECTORY}/segment-0000000001.log`

/** The disk, but for the size that it says of every file. */
function saying(disk: FakeDisk, size: number): FileSystem {
  const open: FileSystem['open'] = async (path, mode) => {
    const file = await disk.open(path, mode)
    return { ...file, stat: async () => ({ ...(await file.stat()), size }) }
  }
  return Object.assign(Object.create(disk) as FileSystem, { open, list: disk.list.bind(disk) })
}

describe('a segment', () => {
  it('larger than any is damage, and is not read into memory', async () => {
    const disk = new FakeDisk()
    await (await testLog(disk).start()).close()
    await expect(readSegment(FIRST, saying(disk, 2 ** 40))).rejects.toMatchObject({
      code: 'LOG_CORRUPT',
      message: expect.stringContaining('beyond the largest segment'),
    })
  })

  it('that shrinks while it is read is unreadable, and not damaged', async () => {
    const disk = new FakeDisk()
    await (await testLog(disk).start()).close()
    const longer = saying(disk, disk.bytes(FIRST).length + PAGE_BYTES)
    await expect(loadDirectory(DIRECTORY, longer, 10)).rejects.toMatchObject({
      code: 'LOG_UNREADABLE',
      message: expect.stringContaining('changed its size'),
    })
  })
})

it('a failure that no file system knows is no full disk', () => {
  expect(isOutOfSpace(new Error('ours'))).toBe(false)
  expect(isOutOfSpace(Object.assign(new Error('full'), { code: 'EDQUOT' }))).toBe(true)
})

describe('behind damage', () => {
  it('there is nothing when every segment is missing', async () => {
    const disk = new FakeDisk()
    await (await testLog(disk).start()).close()
    await disk.unlink(FIRST)
    const failure = await testLog(disk)
      .open()
      .catch((cause: unknown) => cause)
    if (!(failure instanceof LogCorruptError)) throw failure
    expect(await batchesBehind(failure, disk)).toEqual([])
  })
})

describe('verifying a log in use', () => {
  it('takes nothing over from a segment that was left meanwhile', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start({ segmentBytes: SMALLEST_SEGMENT })
    await commitOne(log)
    // One copy of a batch, as a look in the middle of its write would find it.
    const { end } = await verifyLog(DIRECTORY, disk)
    const checkpoint = 2 * PAGE_BYTES
    disk.bytes(FIRST).fill(0, end - PAGE_BYTES, end)
    let looks = 0
    disk.onRequest = async ({ kind, path }) => {
      if (kind !== 'list' || path !== DIRECTORY) return
      looks += 1
      if (looks !== 2) return
      disk.onRequest = undefined
      while (disk.paths().includes(FIRST)) await commitOne(log)
      const second = `${DIRECTORY}/segment-0000000002.log`
      disk.bytes(second).fill(0, checkpoint, checkpoint + PAGE_BYTES)
    }
    const report = await verifyLog(DIRECTORY, disk)
    expect(report.file).toMatch(/segment-0000000002/)
    expect(report.repairable).toEqual([checkpoint])
  })
})
