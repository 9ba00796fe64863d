/**
 * Opens decision logs on a fake disk or in a folder, with small segments and a clock of the test's
 * own.
 */
import type { Clock, Random } from '../../src/clock.ts'
import { noFailpoints } from '../../src/failpoint.ts'
import type {
  CommitRecord,
  DecisionLog,
  LogEvent,
  OpenedLog,
  OperatedLog,
} from '../../src/log/decision-log.ts'
import type { FileSystem } from '../../src/log/file-system.ts'
import { type LogOptions, type LogSeams, openFileDecisionLog } from '../../src/log/open-log.ts'

/** 16 pages: room for three one-page batches behind a one-page checkpoint. */
export const SMALLEST_SEGMENT: number = 16 * 4096
export const SMALL_SEGMENT: number = 64 * 4096
export const DIRECTORY = '/log'

/** A clock that moves when it is told, and by itself where the log sleeps: nobody else is awake. */
export class ManualClock implements Clock {
  #now = 1_000_000
  readonly #timers = new Map<number, { at: number; fire: () => void }>()
  #next = 0

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  timer(delayMs: number, fire: () => void, holds = false): { clear(): void } {
    this.#next += 1
    const id = this.#next
    this.#timers.set(id, { at: this.#now + delayMs, fire })
    if (holds) queueMicrotask(() => this.advance(delayMs))
    return { clear: () => void this.#timers.delete(id) }
  }

  get waiting(): number {
    return this.#timers.size
  }

  advance(ms: number): void {
    this.#now += ms
    for (const [id, timer] of [...this.#timers]) {
      if (timer.at > this.#now) continue
      this.#timers.delete(id)
      timer.fire()
    }
  }
}

/** Bytes that differ from call to call and are the same in every run. */
export function seededRandom(seed = 1): Random {
  let state = seed
  return {
    bytes(count) {
      return Uint8Array.from({ length: count }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        return state >>> 24
      })
    },
  }
}

export interface TestLog {
  readonly clock: ManualClock
  readonly events: LogEvent[]
  readonly seams: LogSeams
  open(options?: Partial<LogOptions>): Promise<OpenedLog>
  start(options?: Partial<LogOptions>): Promise<OperatedLog>
}

export function testLog(files: FileSystem, overrides: Partial<LogSeams> = {}): TestLog {
  const clock = new ManualClock()
  const events: LogEvent[] = []
  const seams: LogSeams = {
    clock,
    random: seededRandom(),
    files,
    failpoints: noFailpoints,
    nextTurn: (run) => queueMicrotask(run),
    onEvent: (event) => void events.push(event),
    ...overrides,
  }
  const open = (options: Partial<LogOptions> = {}): Promise<OpenedLog> =>
    openFileDecisionLog({ directory: DIRECTORY, segmentBytes: SMALL_SEGMENT, ...options }, seams)
  return {
    clock,
    events,
    seams,
    open,
    start: async (options) => (await open(options)).start(),
  }
}

/** A commit record of a transfer between two databases. */
export function transfer(gtrid: string, more: Partial<CommitRecord> = {}): CommitRecord {
  return {
    gtrid,
    decidedAtMs: 1_000_000,
    branches: [
      {
        participant: 'ledger',
        bqual: 'ledger',
        server: { server: '7312312312312312312', startedAtMs: 900_000.5, timeline: '00000001' },
        xid8: '18446744073709551615',
        marker: true,
      },
      {
        participant: 'shop',
        bqual: 'shop.4711',
        server: { server: '5ad8c1f0-0000-11ee-8000-000000000001', startedAtMs: 800_000 },
        marker: false,
      },
    ],
    ...more,
  }
}

/** Begins a transaction and commits it. */
export async function commitOne(
  log: DecisionLog,
  more: Partial<CommitRecord> = {},
): Promise<string> {
  const gtrid = log.begin()
  await log.decide(transfer(gtrid, more))
  log.release(gtrid)
  return gtrid
}

/** Ends a logged commit whose branches all committed. */
export async function endOne(log: DecisionLog, gtrid: string): Promise<void> {
  const branches = log.find(gtrid)?.record.branches ?? []
  const offered = branches.map(({ bqual }) => log.answered(gtrid, bqual, 'committed'))
  await Promise.all([...offered, log.end(gtrid)])
}

/** For what rides on a later force, or fails with the log: nobody waits for it. */
export function unawaited(promise: Promise<unknown>): void {
  promise.catch(() => undefined)
}
