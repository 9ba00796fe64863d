import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { LogCorruptError } from '../../../src/errors.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { MalformedError } from '../../../src/log/bytes.ts'
import {
  encodeHeader,
  mergeCopies,
  PAGE_BYTES,
  PAYLOAD_START,
  sealFrame,
} from '../../../src/log/frame.ts'
import { LogState } from '../../../src/log/log-state.ts'
import { encodeRecord, type LogRecord } from '../../../src/log/record.ts'
import { MAX_SERVERS } from '../../../src/log/record-limits.ts'
import { type ReplayedSegment, replaySegment } from '../../../src/log/replay.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { commitOne, DIRECTORY, SMALL_SEGMENT, testLog, transfer } from '../../support/test-log.ts'

const PATH = `${DIRECTORY}/segment-0000000001.log`

describe('a frame is taken only where it belongs', () => {
  it('refuses one with another salt', async () => {
    const segment = await segmentOf(1)
    append(segment, { salt: 'f'.repeat(16) })
    expect(replayed(segment).lastBatch).toBe(2)
    expect(replayed(segment).torn).toMatchObject({ offset: replayed(segment).end })
  })

  it('stops at one that is not chained to the frame before it', async () => {
    const segment = await segmentOf(1)
    append(segment, { chain: Buffer.alloc(16, 7) })
    expect(() => replayed(segment)).toThrow(LogCorruptError)
  })

  it('stops at one whose number is not the next', async () => {
    const segment = await segmentOf(1)
    append(segment, { batch: 4 })
    expect(() => replayed(segment)).toThrow(/batch 3 is damaged/)
  })

  it('refuses one that was written for another place', async () => {
    const segment = await segmentOf(1)
    append(segment, { firstPage: 40 })
    expect(replayed(segment).lastBatch).toBe(2)
  })

  it('takes the right one', async () => {
    const segment = await segmentOf(1)
    append(segment, {})
    expect(replayed(segment)).toMatchObject({ lastBatch: 3, torn: undefined, repaired: [] })
  })
})

describe('what cannot be in a log of ours is damage', () => {
  it.each<[string, LogRecord]>([
    [
      'a second checkpoint',
      { type: 'checkpoint', atMs: 0, logId: '0'.repeat(16), lowestEpoch: 1, nonces: [] },
    ],
    ['the end of what was not decided', { type: 'end', gtrid: 'x' }],
    [
      'an answer of what was not decided',
      { type: 'answered', gtrid: 'x', bqual: 'y', answer: 'committed', atMs: 0 },
    ],
    ['an epoch that is not the next', { type: 'open', atMs: 0, epoch: 9, nonce: '0'.repeat(8) }],
  ])('%s', async (_, record) => {
    const segment = await segmentOf(1)
    append(segment, {}, record)
    expect(() => replayed(segment)).toThrow(LogCorruptError)
  })

  it('an empty batch', async () => {
    const segment = await segmentOf(1)
    append(segment, {}, 'none')
    expect(() => replayed(segment)).toThrow(/an empty batch/)
  })

  it('more servers than one incarnation can name', () => {
    const state = new LogState(10)
    for (let index = 0; index < MAX_SERVERS; index += 1) {
      state.apply({ type: 'server', index, server: `s${index}` }, 40)
    }
    const more: LogRecord = { type: 'server', index: MAX_SERVERS, server: 'one more' }
    expect(() => state.apply(more, 40)).toThrow(MalformedError)
  })

  it('one decision twice', async () => {
    const segment = await segmentOf(1)
    const [pending] = stateOf(segment).pending()
    append(segment, {}, { type: 'commit', commit: pending?.record ?? transfer('x') })
    expect(() => replayed(segment)).toThrow(/decided twice/)
  })
})

it('two copies that differ in more places than can be tried are not put together', () => {
  const [first, second] = [Buffer.alloc(9 * 512, 1), Buffer.alloc(9 * 512, 2)]
  let tries = 0
  const merged = mergeCopies(first, second, () => {
    tries += 1
    return undefined
  })
  expect([merged, tries]).toEqual([undefined, 0])
})

it('a mistake of ours is not called damage', async () => {
  const segment = await segmentOf(1)
  const state = new LogState(10)
  const mistake = new InvariantError('ours')
  state.apply = () => {
    throw mistake
  }
  expect(catching(() => replaySegment(segment, PATH, 1, state))).toBe(mistake)
})

describe('files that are not what their header says', () => {
  it('names file and offset', async () => {
    const segment = await segmentOf(3)
    segment.fill(0, 4 * PAGE_BYTES, 6 * PAGE_BYTES)
    const failure = catching(() => replayed(segment))
    expect(failure).toMatchObject({ code: 'LOG_CORRUPT', file: PATH, offset: 4 * PAGE_BYTES })
    expect(failure).toHaveProperty('hint', expect.stringContaining('verify'))
  })

  it('a segment under another name', async () => {
    const segment = await segmentOf(1)
    expect(() => replaySegment(segment, PATH, 2, new LogState(10))).toThrow(/header of segment 1/)
  })

  it('a segment that lost its end', async () => {
    const segment = await segmentOf(1)
    expect(() => replayed(segment.subarray(0, -1))).toThrow(LogCorruptError)
    expect(() => replayed(Buffer.alloc(0))).toThrow(LogCorruptError)
  })

  it('a format that only a later release can read', async () => {
    const segment = await segmentOf(1)
    const header = { segmentBytes: SMALL_SEGMENT, number: 1, salt: '0'.repeat(16) }
    const { page } = encodeHeader({
      ...header,
      createdAtMs: 0,
      firstBatch: 1,
      logId: '0'.repeat(16),
    })
    page.writeUInt16LE(2, 24)
    reseal(page)
    page.copy(segment, 0)
    expect(catching(() => replayed(segment))).toMatchObject({ code: 'LOG_UNREADABLE' })
  })
})

/** A segment that a log with so many decisions left. */
async function segmentOf(decisions: number): Promise<Buffer> {
  const disk = new FakeDisk()
  const log = await testLog(disk).start()
  for (let n = 0; n < decisions; n += 1) await commitOne(log)
  await log.close()
  return Buffer.from(disk.bytes(PATH))
}

function stateOf(segment: Buffer): LogState {
  const state = new LogState(10)
  replaySegment(segment, PATH, 1, state)
  return state
}

function replayed(segment: Buffer): ReplayedSegment {
  return replaySegment(segment, PATH, 1, new LogState(10))
}

/** Writes both copies of a frame behind the end, wrong in one respect. */
function append(
  segment: Buffer,
  wrong: { salt?: string; batch?: number; firstPage?: number; chain?: Buffer },
  record: LogRecord | 'none' = { type: 'server', index: 2, server: 'a third one' },
): void {
  const { end, header, lastBatch } = replayed(segment)
  const page = end / PAGE_BYTES
  const last = segment.subarray(end - PAGE_BYTES, end)
  const place = {
    salt: header.salt,
    batch: lastBatch + 1,
    firstPage: page,
    chain: Buffer.from(last.subarray(0, 16)),
    ...wrong,
  }
  const servers = stateOf(segment).servers
  const encoded = record === 'none' ? Buffer.alloc(0) : encodeRecord(record, servers)
  const target = Buffer.alloc(PAGE_BYTES)
  encoded.copy(target, PAYLOAD_START)
  const { bytes } = sealFrame(target, place, encoded.length)
  bytes.copy(segment, end)
  bytes.copy(segment, end + PAGE_BYTES)
}

function reseal(page: Buffer): void {
  createHash('sha256').update(page.subarray(24)).digest().copy(page, 8, 0, 16)
}

function catching(run: () => unknown): unknown {
  try {
    run()
  } catch (cause) {
    return cause
  }
  return undefined
}
