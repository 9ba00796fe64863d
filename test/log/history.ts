/**
 * A log of more than 24 batches in two segments, and what it was at each moment: the material of
 * the damage and crash suites.
 */
import type { DecisionLog } from '../../src/log/decision-log.ts'
import { LogState } from '../../src/log/log-state.ts'
import { type ReplayedBatch, type ReplayedSegment, replaySegment } from '../../src/log/replay.ts'
import { segmentNumber } from '../../src/log/segment-store.ts'
import { FakeDisk } from '../support/fake-disk.ts'
import { DIRECTORY, testLog, unawaited } from '../support/test-log.ts'
import { Observer, shaped } from './observer.ts'

export const SEGMENT_PAGES = 32
export const PAGE = 4096

/** A segment at the moment when a batch had just been acknowledged. */
export interface Moment {
  readonly path: string
  readonly number: number
  readonly bytes: Buffer
  /** Bytes of the same file before the batch was written; absent for a checkpoint. */
  readonly before: Buffer | undefined
  readonly batches: readonly ReplayedBatch[]
  readonly replayed: ReplayedSegment
  /** Where the last batch begins. */
  readonly lastOffset: number
}

export interface History {
  readonly moments: readonly Moment[]
  /** The last moment of each segment. */
  readonly resting: readonly Moment[]
}

/** What a segment says, as one text: equal texts, equal logs. */
export function meaning(bytes: Buffer, path: string, number: number): string {
  const state = new LogState(10_000)
  replaySegment(bytes, path, number, state)
  return textOf(state)
}

export function textOf(state: LogState): string {
  const pending = state.pending().map(({ record, answers }) => [record, [...answers]])
  return JSON.stringify([state.logId, state.lowestEpoch, state.nonces, pending])
}

export async function makeHistory(): Promise<History> {
  const disk = new FakeDisk()
  const moments: Moment[] = []
  const log = await testLog(disk).start({ segmentBytes: SEGMENT_PAGES * PAGE })
  moments.push(moment(disk, undefined))
  for (let step = 0; moments.length < 27; step += 1) {
    const gtrids = await decideTogether(log, step)
    // Riding on the next batch: the log must not fill its segments with what is over.
    for (const gtrid of gtrids)
      if (step % 4 !== 1) unawaited(new Observer().settle(log, gtrid, 'committed'))
    moments.push(moment(disk, moments.at(-1)))
  }
  const resting = moments.filter((here, index) => moments[index + 1]?.number !== here.number)
  return { moments, resting }
}

async function decideTogether(log: DecisionLog, step: number): Promise<string[]> {
  const gtrids = Array.from({ length: step % 6 === 5 ? 4 : 1 }, () => log.begin())
  await Promise.all(gtrids.map((gtrid, n) => log.decide(shaped(gtrid, step + n))))
  for (const gtrid of gtrids) log.release(gtrid)
  return gtrids
}

function moment(disk: FakeDisk, last: Moment | undefined): Moment {
  const path = disk.paths().findLast((name) => name.includes('/segment-')) ?? ''
  const bytes = Buffer.from(disk.bytes(path))
  const number = segmentNumber(path.slice(DIRECTORY.length + 1)) ?? 0
  const batches: ReplayedBatch[] = []
  const replayed = replaySegment(bytes, path, number, new LogState(10_000), (batch) =>
    batches.push(batch),
  )
  const before = last?.number === number ? last.bytes : undefined
  return { path, number, bytes, before, batches, replayed, lastOffset: batches.at(-1)?.offset ?? 0 }
}
