/** Numbers of a coordinator since it was opened: for metrics and for people. Read, never acted on. */
import type { TransactionErrorCode, UnanimousError } from '../errors.ts'
import type { LogUsage } from '../log/decision-log.ts'
import { poisonedError } from '../log/log-writer.ts'
import type { Outcome } from '../protocol/vocabulary.ts'
import type { Histogram, Phase } from '../tracing.ts'
import type { Parts } from './parts.ts'
import type { RecoveryCounts } from './tally.ts'

/** What `coordinator.stats()` answers. Counts begin at 0 when the coordinator is opened. */
export interface CoordinatorStats {
  /** When it was opened, in ms since the epoch. */
  readonly sinceMs: number
  /** As `unanimous status` tells it. */
  readonly state: 'open' | 'draining' | 'stopped'
  readonly transactions: {
    /** Begun and not ended; those that are settled behind are still running. */
    readonly running: number
    /** Of these, answered and settled behind the answer (`settle: 'behind'`). */
    readonly behind: number
    /** The age of the oldest of them, in ms; 0 when there is none. */
    readonly oldestMs: number
    /** How they ended; each attempt of a `retry` is one. */
    readonly ended: { readonly [O in Outcome]: number }
    /** Those that did not commit, by the code of their error. */
    readonly codes: { readonly [C in TransactionErrorCode]?: number }
  }
  readonly participants: { readonly [name: string]: ParticipantStats }
  readonly log: LogUsage
  /** How long each phase took, failures too. */
  readonly phases: { readonly [P in Phase]: Histogram }
}

export interface ParticipantStats extends RecoveryCounts {
  /** Whether recovery could list it last; `undefined` before its first answer. */
  readonly reachable: boolean | undefined
  /** Branches whose end is left to recovery. */
  readonly unsettled: number
  /** Since the decision of the oldest branch that has not ended, in ms; 0 when there is none. */
  readonly oldestMs: number
  /** Whether more is unsettled than `budget` allows: new work there is refused. */
  readonly refusing: boolean
}

export function statsOf(parts: Parts): CoordinatorStats {
  const { context, log, owner, recovery, registry, tally } = parts
  const { behind, clock, live, phases, settlements } = context
  const [oldest] = live.transactions()
  const participants = [...registry.keys()].map((name) => {
    const { left, oldestMs } = settlements.unsettled.of(name)
    const reachable = recovery.isReachable(name)
    const refusing = context.budget.isExceeded(name)
    return [name, { reachable, unsettled: left, oldestMs, refusing, ...tally.of(name) }] as const
  })
  return {
    sinceMs: owner.sinceMs,
    state: stateOf(parts),
    transactions: {
      running: live.size,
      behind: behind.running,
      oldestMs: oldest === undefined ? 0 : clock.monotonic() - oldest.startedAt,
      ended: { ...tally.ended },
      codes: { ...tally.codes },
    },
    participants: Object.fromEntries(participants),
    log: log.usage,
    phases: phases.histograms(),
  }
}

export function stateOf(parts: Parts): CoordinatorStats['state'] {
  if (stoppedBy(parts) !== undefined) return 'stopped'
  return parts.state.draining ? 'draining' : 'open'
}

/** Why nothing is decided any more. */
export function stoppedBy({ log, state }: Parts): UnanimousError | undefined {
  if (state.stopped !== undefined || log.poison === undefined) return state.stopped
  return poisonedError(log.poison)
}
