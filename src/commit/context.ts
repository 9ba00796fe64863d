/** What the live path of every transaction of a coordinator shares. */
import type { Clock } from '../clock.ts'
import type { UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Failpoints } from '../failpoint.ts'
import type { DecisionLog } from '../log/decision-log.ts'
import type { Announcements } from '../participant/announcements.ts'
import type { Budget } from '../participant/budget.ts'
import type { LiveSet } from '../participant/live.ts'
import type { MarkerCollector } from '../participant/marker-collector.ts'
import type { Registry } from '../participant/registry.ts'
import type { Seats } from '../participant/seats.ts'
import type { Settlements } from '../participant/settle.ts'
import type { Phases } from '../tracing.ts'
import { Waits } from '../waits.ts'
import type { Ambient } from './ambient.ts'
import type { Behind } from './behind.ts'

export interface Limits {
  /** A transaction without a `timeoutMs` of its own is aborted after this time. */
  readonly timeoutMs: number
  /** How long an enlistment may wait for a connection while its transaction holds another. */
  readonly acquireMs: number
  /** How long a caller waits for the commit record to become durable. */
  readonly forceMs: number
  /** How long a caller waits for its branches to be settled. */
  readonly settleMs: number
}

/** The waits of all transactions that are as long as the limits say. */
export interface LimitedWaits {
  /** For a decision, of transactions that give no `timeoutMs` of their own. */
  readonly deadline: Waits
  readonly force: Waits
  readonly settle: Waits
}

export function limitedWaits(clock: Clock, { timeoutMs, forceMs, settleMs }: Limits): LimitedWaits {
  return {
    deadline: new Waits(clock, timeoutMs),
    force: new Waits(clock, forceMs, true),
    settle: new Waits(clock, settleMs, true),
  }
}

export interface CommitContext {
  readonly registry: Registry
  readonly log: DecisionLog
  readonly live: LiveSet
  readonly settlements: Settlements
  readonly markers: MarkerCollector
  readonly announcements: Announcements
  readonly ambient: Ambient
  readonly seats: Seats
  readonly budget: Budget
  readonly behind: Behind
  readonly events: Events
  readonly phases: Phases
  readonly clock: Clock
  readonly failpoints: Failpoints
  /** Nobody stops at a failpoint: none is waited for, which would be a turn of the microtasks each. */
  readonly inert: boolean
  readonly limits: Limits
  readonly waits: LimitedWaits
  /** Why the coordinator must not decide any more; `undefined` while it may. */
  stopped(): UnanimousError | undefined
  /** Stops the coordinator: something happened after which it must not decide any more. */
  stop(cause: unknown): void
  /** Asks recovery to look at a participant soon: a branch there is unsettled. */
  nudge(participant: string): void
}
