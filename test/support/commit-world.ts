/** A transaction's world in memory: two participants, a log, and all that the commit path needs. */
import type { Refusal } from '../../src/adapter.ts'
import { systemClock } from '../../src/clock.ts'
import { createAmbient } from '../../src/commit/ambient.ts'
import { Behind } from '../../src/commit/behind.ts'
import { type CommitContext, type Limits, limitedWaits } from '../../src/commit/context.ts'
import { checkOptions, type TransactionOptions } from '../../src/commit/options.ts'
import { Running } from '../../src/commit/run.ts'
import { TransactionError } from '../../src/errors.ts'
import { Events } from '../../src/events.ts'
import { noFailpoints } from '../../src/failpoint.ts'
import { Announcements } from '../../src/participant/announcements.ts'
import { Budget, completeBudget } from '../../src/participant/budget.ts'
import { LiveSet } from '../../src/participant/live.ts'
import { MarkerCollector } from '../../src/participant/marker-collector.ts'
import { createRegistry } from '../../src/participant/registry.ts'
import { Seats } from '../../src/participant/seats.ts'
import { Settlements } from '../../src/participant/settle.ts'
import { Phases } from '../../src/tracing.ts'
import { type FakeHandle, FakeParticipant, type Script } from './fake-participant.ts'
import { MemoryLog } from './memory-log.ts'

export interface Handles {
  readonly ledger: FakeHandle
  readonly shop: FakeHandle
}

export const LIMITS: Limits = { timeoutMs: 5_000, acquireMs: 100, forceMs: 40, settleMs: 60 }
export const REFUSAL: Refusal = { code: 'PREPARE_REFUSED', reason: 'no', retryable: false }

export function world(ledgerScript: Script = {}, shopScript: Script = {}) {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace, ledgerScript)
  const shop = new FakeParticipant(trace, shopScript)
  const log = new MemoryLog(trace)
  const events = new Events()
  const registry = createRegistry({ ledger, shop }, systemClock, events)
  const markers = new MarkerCollector(registry, systemClock)
  const nudged: string[] = []
  const stopped: unknown[] = []
  const live = new LiveSet()
  const settlements = new Settlements(log, events, systemClock, (gtrid, names) =>
    markers.collect(gtrid, names),
  )
  const context: CommitContext = {
    registry,
    log,
    live,
    settlements,
    budget: new Budget(completeBudget(), settlements.unsettled, events),
    behind: new Behind(2, (cause) => stopped.push(cause)),
    markers,
    ambient: createAmbient(),
    announcements: new Announcements(registry, log),
    seats: new Seats(),
    events,
    phases: new Phases(systemClock),
    clock: systemClock,
    failpoints: noFailpoints,
    // As the coordinator has it: what users run is what most tests run.
    get inert() {
      return this.failpoints === noFailpoints
    },
    limits: LIMITS,
    waits: limitedWaits(systemClock, LIMITS),
    stop: (cause) => stopped.push(cause),
    stopped: () => undefined,
    nudge: (name) => nudged.push(name),
  }
  const run = <T>(work: (tx: Handles) => Promise<T>, options: TransactionOptions = {}) =>
    Running.run(context, checkOptions(options, new Set(['ledger', 'shop']), 5_000), (handles) =>
      work(handles as Handles),
    )
  const both = async (tx: Handles): Promise<string> => {
    await tx.ledger.work()
    await tx.shop.work()
    return 'done'
  }
  return { trace, ledger, shop, log, live, context, nudged, stopped, run, both, events }
}

/** What it is rejected with. @throws when that is another kind of error, or nothing */
export async function failure(promise: Promise<unknown>): Promise<TransactionError> {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  if (!(error instanceof TransactionError))
    throw new Error('not a TransactionError', { cause: error })
  return error
}
