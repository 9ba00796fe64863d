/** A segment that is read a stretch at a time says what it says as a whole, damaged in whatever way. */
import { expect, it } from 'vitest'
import { PAGE_BYTES, SECTOR_BYTES } from '../../../src/log/frame.ts'
import { LogState } from '../../../src/log/log-state.ts'
import { type ReplayedBatch, replayInSteps, replaySegment } from '../../../src/log/replay.ts'
import { readInStretches, Stretch } from '../../../src/log/stretch.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { commitOne, DIRECTORY, testLog } from '../../support/test-log.ts'

const PATH = `${DIRECTORY}/segment-0000000001.log`
const DECISIONS = 7

interface Said {
  readonly result: unknown
  readonly batches: readonly ReplayedBatch[]
  readonly pending: LogState['pending'] extends () => infer P ? P : never
}

async function said(
  replay: (state: LogState, onBatch: (batch: ReplayedBatch) => void) => unknown,
): Promise<Said> {
  const state = new LogState(10)
  const batches: ReplayedBatch[] = []
  let result: unknown
  try {
    result = await replay(state, (batch) => batches.push(batch))
  } catch (cause) {
    result = cause
  }
  return { result, batches, pending: state.pending() }
}

/** Reads the bytes as a file, and counts how much that took. */
async function inStretches(
  bytes: Buffer,
  pieceBytes: number,
): Promise<Said & { readonly read: number }> {
  const disk = new FakeDisk()
  const file = await disk.open(PATH, 'write')
  await file.write([bytes], 0)
  let read = 0
  const counted = {
    ...file,
    read: async (buffer: Uint8Array, position: number) => {
      const taken = await file.read(buffer, position)
      read += taken
      return taken
    },
  }
  const found = await said(async (state, onBatch) => {
    const stretch = new Stretch(bytes.length)
    const steps = replayInSteps(stretch, PATH, 1, state, onBatch)
    const replayed = await readInStretches(counted, PATH, stretch, steps, pieceBytes)
    expect(stretch.holds(stretch.rest(replayed.end / PAGE_BYTES))).toBe(true)
    return replayed
  })
  return { ...found, read }
}

const whole = (bytes: Buffer): Promise<Said> =>
  said((state, onBatch) => replaySegment(bytes, PATH, 1, state, onBatch))

async function segment(): Promise<Buffer> {
  const disk = new FakeDisk()
  const log = await testLog(disk).start()
  for (let n = 0; n < DECISIONS; n += 1) await commitOne(log)
  await log.close()
  return Buffer.from(disk.bytes(PATH))
}

const PIECES = [1, PAGE_BYTES, 3 * PAGE_BYTES, 16 * PAGE_BYTES]

it.each(PIECES)('as it was written, in pieces of %i bytes', async (piece) => {
  const bytes = await segment()
  const { read, ...found } = await inStretches(bytes, piece)
  expect(found).toEqual(await whole(bytes))
  expect(found.batches.length).toBeGreaterThan(DECISIONS)
  // Pages that a piece ends with are read again with their second copy.
  expect(read).toBeLessThan(2 * bytes.length)
})

it.each(PIECES)(
  'with any sector damaged, or the same one of both copies, in pieces of %i bytes',
  async (piece) => {
    const bytes = await segment()
    const used = 2 * PAGE_BYTES * (DECISIONS + 6)
    // Of bytes that are zero a head claims less than it has, of others more.
    for (let at = 0; at < used; at += SECTOR_BYTES) {
      for (const { byte, places } of [
        { byte: 0xa5, places: [at] },
        { byte: 0, places: [at] },
        { byte: 0xa5, places: [at, at + PAGE_BYTES] },
      ]) {
        const damaged = Buffer.from(bytes)
        for (const place of places) damaged.fill(byte, place, place + SECTOR_BYTES)
        const { read: _, ...found } = await inStretches(damaged, piece)
        expect(found).toEqual(await whole(damaged))
      }
    }
  },
)

it.each(PIECES)('cut short, or torn at its end, in pieces of %i bytes', async (piece) => {
  const bytes = await segment()
  const { end } = replaySegment(bytes, PATH, 1, new LogState(10))
  const torn = Buffer.from(bytes)
  torn.fill(0x5a, end, end + PAGE_BYTES)
  const lost = Buffer.from(bytes)
  lost.fill(0, end - 4 * PAGE_BYTES, end - 2 * PAGE_BYTES)
  for (const each of [torn, lost, bytes.subarray(0, end), bytes.subarray(0, PAGE_BYTES + 7)]) {
    const { read: _, ...found } = await inStretches(Buffer.from(each), piece)
    expect(found).toEqual(await whole(each))
  }
})
