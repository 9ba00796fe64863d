/**
 * A power loss after every operation of a log's life: its making, its batches, its rolls, its close
 * and the next open. What was not synced is kept or lost, in every combination (in many, where
 * there are too many). Then the log must open, say what its callers were told, take another
 * decision, and keep that over one more power loss.
 */
import type { DecisionLog } from '../../src/log/decision-log.ts'
import { FakeDisk, type Keep, keepNone, type Operation } from '../support/fake-disk.ts'
import { commitOne, testLog } from '../support/test-log.ts'
import { live, Observer } from './observer.ts'
import type { Tally } from './tally.ts'

const MAX_COMBINATIONS = 256
/** Some rolls in a short life, with room for all of its transactions. */
const SEGMENT_BYTES = 20 * 4096

interface Life {
  readonly disk: FakeDisk
  /** What callers knew after so many operations. */
  readonly known: readonly { operations: number; observer: Observer }[]
}

export async function crash(tally: Tally): Promise<void> {
  for (const life of [await firstLife(), await secondLife()]) {
    const count = life.disk.operations.length
    for (let operations = 0; operations <= count; operations += 1) {
      for (const keep of combinations(life.disk, operations)) {
        if (tally.wants()) await crashAt(life, operations, keep, tally)
      }
    }
  }
}

async function crashAt(life: Life, operations: number, keep: Keep, tally: Tally): Promise<void> {
  const section = `power loss after every operation, then ${describe(life.disk, operations)}`
  const disk = life.disk.afterCrash(keep, operations)
  const observer = knownAt(life, operations)
  let log: DecisionLog
  try {
    log = await testLog(disk).start()
  } catch (cause) {
    const what = `after ${operations} operations: ${String(cause)}`
    tally.failed(section, 'refusals to open after a pure crash', what)
    return
  }
  const lie = observer.lie(log.pending())
  if (lie !== undefined) {
    tally.failed(section, verdictOf(lie), `after ${operations} operations: ${lie}`)
    return
  }
  const one = await commitOne(log)
  const again = await testLog(disk.afterCrash(keepNone)).start()
  const found = again.pending().map(({ record }) => record.gtrid)
  const expected = log.pending().map(({ record }) => record.gtrid)
  if (!found.includes(one) || found.join() !== expected.join()) {
    tally.failed(section, 'silent losses', `after ${operations} operations and a second power loss`)
    return
  }
  tally.passed(section, 'recovered')
}

/** A new log: it is made, lives over some rolls and is closed. */
async function firstLife(): Promise<Life> {
  const disk = new FakeDisk()
  return { disk, known: await record(disk, new Observer(), 40) }
}

/** A log that was torn by a crash is opened, lives and is closed. */
async function secondLife(): Promise<Life> {
  const first = await firstLife()
  const half = Math.floor(first.disk.operations.length * 0.7)
  const disk = first.disk.afterCrash((_, sector) => sector % 3 !== 0, half)
  return { disk, known: await record(disk, knownAt(first, half).copy(), 30) }
}

async function record(
  disk: FakeDisk,
  observer: Observer,
  steps: number,
): Promise<{ operations: number; observer: Observer }[]> {
  const known: { operations: number; observer: Observer }[] = []
  disk.onRequest = () => {
    known.push({ operations: disk.operations.length, observer: observer.copy() })
  }
  const log = await testLog(disk).start({ segmentBytes: SEGMENT_BYTES })
  await live(log, observer, steps)
  await log.close()
  known.push({ operations: disk.operations.length, observer: observer.copy() })
  disk.onRequest = undefined
  return known
}

/**
 * What callers could know when the disk had done so many operations. What they were told came
 * before the next request, so the last knowledge of that many operations is meant; what they had
 * handed over is that of the moment after.
 */
function knownAt({ known }: Life, operations: number): Observer {
  const told = known.findLast((entry) => entry.operations <= operations)?.observer ?? new Observer()
  const observer = told.copy()
  const next = known.find((entry) => entry.operations > operations)?.observer
  for (const [gtrid, record] of next?.handed ?? []) observer.handed.set(gtrid, record)
  for (const gtrid of next?.endOffered ?? []) observer.endOffered.add(gtrid)
  return observer
}

/** Which unsynced operations survive: every subset of them, and of a batch also single sectors. */
function* combinations(disk: FakeDisk, operations: number): Generator<Keep> {
  const unsynced = disk.unsynced(operations)
  const subsets = 2 ** unsynced.length
  const step = Math.max(1, Math.floor(subsets / MAX_COMBINATIONS))
  for (let subset = 0; subset < subsets; subset += step) {
    yield (index) => (subset & (1 << unsynced.indexOf(index))) !== 0
  }
  if (unsynced.length === 0) return
  for (let seed = 1; seed <= 8; seed += 1) {
    yield (index, sector) =>
      ((Math.imul(index * 31 + sector + 7, 2654435761 + seed) >>> 13) & 1) === 1
  }
}

function describe(disk: FakeDisk, operations: number): string {
  const next: Operation | undefined = disk.operations[operations]
  return next === undefined ? 'the end' : next.kind
}

function verdictOf(lie: string): 'silent losses' | 'wrong contents' {
  return lie.startsWith('lost') ? 'silent losses' : 'wrong contents'
}
