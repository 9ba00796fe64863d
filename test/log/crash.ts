/**
 * A power loss after every operation of a log's life: its making, its batches, its rolls, its close
 * and the next open; and of lives in which others begin, decide and end while a roll waits for the
 * disk. What was not synced is kept or lost, in every combination (in many, where
 * there are too many). Then the log must open, say what its callers were told, take another
 * decision, and keep that over one more power loss.
 */
import type { DecisionLog } from '../../src/log/decision-log.ts'
import { Rng } from '../simulation/random.ts'
import {
  FakeDisk,
  type Keep,
  keepNone,
  type Operation,
  type Request,
} from '../support/fake-disk.ts'
import { commitOne, testLog, unawaited } from '../support/test-log.ts'
import { live, Observer, shaped } from './observer.ts'
import type { Tally } from './tally.ts'

const MAX_COMBINATIONS = 256
/** Some rolls in a short life, with room for all of its transactions. */
const SEGMENT_BYTES = 20 * 4096
/** Lives in which a roll is not alone, each with other times of its requests. */
const CROWDED_LIVES = 3
const CROWDED_SEGMENT_BYTES = 32 * 4096
/** A log asks for a spare at most this often, so this long passes before each that begins. */
const SPARE_RETRY_MS = 1000
/** Of a request to the disk, in turns of the promises that wait: as long as several others take. */
const MAX_TURNS = 120

interface Life {
  readonly disk: FakeDisk
  /** What callers knew after so many operations. */
  readonly known: readonly { operations: number; observer: Observer }[]
}

export async function crash(tally: Tally): Promise<void> {
  const lives = [await firstLife(), await secondLife()]
  for (let seed = 1; seed <= CROWDED_LIVES; seed += 1) lives.push(await crowdedLife(seed))
  for (const life of lives) {
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

/**
 * At each request of a roll, and of the spare that it leaves, another transaction begins. Requests
 * take their time, so that of two that are under way either may be done first.
 */
async function crowdedLife(seed: number): Promise<Life> {
  const disk = new FakeDisk()
  const test = testLog(disk)
  const rng = new Rng(seed)
  const observer = new Observer()
  const known: { operations: number; observer: Observer }[] = []
  const note = (): void => {
    known.push({ operations: disk.operations.length, observer: observer.copy() })
  }
  disk.onRequest = note
  const log = await test.start({ segmentBytes: CROWDED_SEGMENT_BYTES })
  let begun = 0
  disk.onRequest = async (request) => {
    note()
    if (isOfRoll(request)) {
      test.clock.advance(SPARE_RETRY_MS)
      begun += 1
      unawaited(another(log, observer, begun))
    }
    await turns(rng.int(MAX_TURNS))
    note()
  }
  for (let part = 0; part < 8; part += 1) {
    await live(log, observer, 4)
    // Who is refused for want of room comes again when the roll is over.
    await turns(10 * MAX_TURNS)
  }
  disk.onRequest = note
  await log.close()
  note()
  disk.onRequest = undefined
  return { disk, known }
}

/** Lets the promises that can go on do so, so many times. */
async function turns(count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1) await Promise.resolve()
}

/** Batches ask for writes and syncs of the active segment alone. */
function isOfRoll({ kind, path }: Request): boolean {
  return path.endsWith('spare') || (kind !== 'write' && kind !== 'sync')
}

async function another(log: DecisionLog, observer: Observer, step: number): Promise<void> {
  const gtrid = log.begin()
  if (step % 2 === 0) await observer.abort(log, gtrid)
  else await observer.decide(log, shaped(gtrid, step))
  log.release(gtrid)
  await observer.settle(log, gtrid, 'committed')
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
