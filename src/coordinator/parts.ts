/** The parts of an open coordinator, joined: what the live path and recovery share. */
import { createAmbient } from '../commit/ambient.ts'
import { Behind } from '../commit/behind.ts'
import { type CommitContext, type Limits, limitedWaits } from '../commit/context.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import { noFailpoints } from '../failpoint.ts'
import type { DecisionLog, LogOwner } from '../log/decision-log.ts'
import { Announcements } from '../participant/announcements.ts'
import { Budget, type BudgetOptions } from '../participant/budget.ts'
import { LiveSet } from '../participant/live.ts'
import { MarkerCollector } from '../participant/marker-collector.ts'
import type { Participants, Registry } from '../participant/registry.ts'
import { Seats } from '../participant/seats.ts'
import { Settlements } from '../participant/settle.ts'
import { RecoveryLoop } from '../recovery/loop.ts'
import type { RecoveryContext } from '../recovery/pass.ts'
import { Phases } from '../tracing.ts'
import type { CoordinatorOptions, Seams } from './options.ts'
import type { Siblings } from './siblings.ts'
import { Tally } from './tally.ts'

const MARKER_SWEEP_MS = 60_000

export interface Parts {
  readonly seams: Seams
  readonly registry: Registry
  readonly log: DecisionLog
  /** Of the log. */
  readonly directory: string
  /** This process, as the holder of the log. */
  readonly owner: LogOwner
  readonly events: Events
  readonly context: CommitContext
  readonly recovery: RecoveryLoop
  readonly siblings: Siblings | undefined
  readonly tally: Tally
  readonly state: CoordinatorState
}

export interface CoordinatorState {
  /** Why nothing may be decided any more. */
  stopped: UnanimousError | undefined
  /** Whether nothing begins any more. */
  draining: boolean
}

export interface Opened extends Pick<Parts, 'registry' | 'log' | 'directory' | 'events'> {
  readonly siblings: Siblings | undefined
}

/** How much may be unfinished. */
export interface Bounds {
  readonly budget: Required<BudgetOptions>
  /** Transactions that are settled behind their callers' answers. */
  readonly behind: number
}

export function joinParts<P extends Participants>(
  options: CoordinatorOptions<P>,
  seams: Seams,
  bounds: Bounds,
  opened: Opened,
): Parts {
  const { registry, log, events, siblings } = opened
  const { clock, failpoints } = seams
  const state: CoordinatorState = { stopped: undefined, draining: false }
  const markers = new MarkerCollector(registry, clock)
  const settlements = new Settlements(log, events, clock, (gtrid, participants) =>
    markers.collect(gtrid, participants),
  )
  settlements.resume(log.pending(), clock.now())
  const stop = (cause: unknown): void => {
    if (state.stopped !== undefined) return
    state.stopped =
      cause instanceof UnanimousError
        ? cause
        : new UnanimousError('COORDINATOR_CLOSED', messageOf(cause), { cause })
    events.emit('coordinator:stopped', { cause: state.stopped })
    recovery.stop().catch(() => undefined)
    siblings?.stop().catch(() => undefined)
  }
  const live = new LiveSet()
  const phases = new Phases(clock)
  const shared = { registry, log, live, settlements, events, phases, failpoints, clock, stop }
  const recoveryContext: RecoveryContext = {
    ...shared,
    isSibling: async (logId) => (await siblings?.owns(logId)) ?? false,
  }
  const recovery = new RecoveryLoop(recoveryContext, clock, {
    intervalMs: options.recoveryIntervalMs ?? 5_000,
    markerSweepMs: MARKER_SWEEP_MS,
  })
  const limits: Limits = {
    timeoutMs: options.timeoutMs ?? 30_000,
    acquireMs: options.acquireMs ?? 5_000,
    forceMs: options.forceMs ?? 5_000,
    settleMs: options.settleMs ?? 5_000,
  }
  const context: CommitContext = {
    ...shared,
    inert: failpoints === noFailpoints,
    markers,
    announcements: new Announcements(registry, log),
    ambient: createAmbient(),
    seats: new Seats(),
    behind: new Behind(bounds.behind, stop),
    budget: new Budget(bounds.budget, settlements.unsettled, events),
    limits,
    waits: limitedWaits(clock, limits),
    stopped: () => state.stopped,
    nudge: (name) => recovery.nudge(name),
  }
  const owner = { ...seams.files.self, sinceMs: clock.now() }
  return { ...opened, seams, owner, context, recovery, tally: new Tally(events), state }
}

export async function closeAll(registry: Registry): Promise<void> {
  await Promise.all([...registry.values()].map((one) => one.close().catch(() => undefined)))
}
