/**
 * Recover once: passes over the participants until nothing is unsettled or the time is over, on a
 * log that the caller owns. For the command line; a coordinator recovers for ever (loop.ts).
 *
 * The log is closed at the end, so what this reports as done is durable when it is reported. Marker
 * rows are collected after that, for their transactions' end must be durable first.
 */
import { type Clock, sleep } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { CoordinatorEventMap, Events } from '../events.ts'
import type { Failpoints } from '../failpoint.ts'
import { InvariantError } from '../invariant.ts'
import type { DecisionLog } from '../log/decision-log.ts'
import { LiveSet } from '../participant/live.ts'
import { MarkerCollector } from '../participant/marker-collector.ts'
import type { Participant } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { Settlements } from '../participant/settle.ts'
import type { BranchAnswer } from '../protocol/vocabulary.ts'
import { Phases } from '../tracing.ts'
import type { HeuristicCommit } from './heuristic-commits.ts'
import {
  type PassReport,
  type Postponed,
  postponedIn,
  type RecoveryContext,
  recoverParticipant,
} from './pass.ts'

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1_000

export interface OnceParts {
  readonly registry: Registry
  /** Owned and started; closed when this is over. */
  readonly log: DecisionLog
  readonly events: Events
  readonly failpoints: Failpoints
  readonly clock: Clock
}

export interface OnceOptions {
  /** Recovers only this participant. */
  readonly only?: string | undefined
  /** How long to try again what cannot be settled at once, in ms. 0: one pass. */
  readonly waitMs: number
  /** The log is another process's, of the same root. */
  readonly sibling?: boolean
  /** Hears of branches that a hand has committed, while the log is open. */
  readonly onSplit?: (found: readonly HeuristicCommit[]) => Promise<void>
}

/** A branch that was settled. */
export interface Done {
  readonly gtrid: string
  readonly participant: string
  readonly bqual: string
  readonly did: BranchAnswer | 'rolled-back'
}

export interface OnceReport {
  /** In the order in which it happened. */
  readonly done: readonly Done[]
  /** Branches that could not be settled yet. */
  readonly unsettled: readonly Postponed[]
  /** Participants that could not be asked, and why. */
  readonly troubles: ReadonlyMap<string, UnanimousError>
}

/**
 * Settles what can be settled. Idempotent.
 *
 * @throws UnanimousError LOG_COPIED when a branch proves this log to be a copy, LOG_POISONED when an
 * answer could not be made durable
 */
export async function recoverOnce(parts: OnceParts, options: OnceOptions): Promise<OnceReport> {
  const { registry, log, events, clock } = parts
  const done: Done[] = []
  const stopWatching = watch(events, done)
  const markers = new MarkerCollector(registry, clock)
  const stopped: unknown[] = []
  try {
    const { sibling = false, onSplit } = options
    const context = {
      ...contextOf(parts, markers, stopped),
      sibling,
      ...(onSplit && { onSplit }),
    }
    const participants = [...registry.values()].filter(
      ({ name }) => options.only === undefined || options.only === name,
    )
    const ended = (): boolean => stopped.length > 0 || log.poison !== undefined
    const ends = await Promise.all(
      participants.map(
        async (one) =>
          [one.name, await passes(context, one, clock, options.waitMs, ended)] as const,
      ),
    )
    if (stopped.length > 0) throw stopped[0]
    await log.close()
    if (log.poison !== undefined) throw unsaved(log.poison)
    await markers.flush()
    return report(done, ends)
  } finally {
    stopWatching()
    await log.close()
  }
}

function unsaved(cause: Error): UnanimousError {
  return new UnanimousError('LOG_POISONED', `the log could not be written: ${cause.message}`, {
    hint: 'What was settled stays settled. See to the disk, then run this again: every branch is asked once more.',
    cause,
  })
}

function contextOf(
  { registry, log, events, failpoints, clock }: OnceParts,
  markers: MarkerCollector,
  stopped: unknown[],
): RecoveryContext {
  const settlements = new Settlements(log, events, clock, (gtrid, names) =>
    markers.collect(gtrid, names),
  )
  settlements.resume(log.pending(), clock.now())
  const stop = (cause: unknown): void => {
    stopped.push(cause)
  }
  const phases = new Phases(clock)
  const live = new LiveSet()
  return { registry, log, live, settlements, events, phases, failpoints, clock, stop }
}

type End = PassReport | { readonly trouble: UnanimousError }

async function passes(
  context: RecoveryContext,
  participant: Participant,
  clock: Clock,
  waitMs: number,
  ended: () => boolean,
): Promise<End> {
  const deadline = clock.monotonic() + waitMs
  let pauseMs = FIRST_PAUSE_MS
  for (;;) {
    const end = await pass(context, participant)
    if ('unsettled' in end && end.unsettled === 0) return end
    const leftMs = deadline - clock.monotonic()
    if (leftMs <= 0 || ended()) return end
    await sleep(clock, Math.min(pauseMs, leftMs))
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
  }
}

async function pass(context: RecoveryContext, participant: Participant): Promise<End> {
  try {
    // First contact tells whether branches carry markers, which the proofs want to know.
    await participant.contact()
    return await recoverParticipant(context, participant)
  } catch (cause) {
    if (cause instanceof InvariantError) throw cause
    if (cause instanceof UnanimousError) return { trouble: cause }
    const message = `${participant.name}: ${messageOf(cause)}`
    return { trouble: new UnanimousError('PARTICIPANT_UNREACHABLE', message, { cause }) }
  }
}

function report(done: readonly Done[], ends: readonly (readonly [string, End])[]): OnceReport {
  const unsettled: Postponed[] = []
  const troubles = new Map<string, UnanimousError>()
  for (const [name, end] of ends) {
    if ('trouble' in end) troubles.set(name, end.trouble)
    else {
      const postponed = postponedIn(end)
      if (postponed !== undefined) unsettled.push(postponed)
    }
  }
  return { done, unsettled, troubles }
}

/** Notes in `done` what is settled from here on; answers what ends that. */
export function watch(events: Events, done: Done[], only?: 'recovery'): () => void {
  const settled = (event: CoordinatorEventMap['branch:settled']): void => {
    const { gtrid, participant, bqual, answer, by } = event
    if (only !== undefined && by !== only) return
    done.push({ gtrid, participant, bqual, did: answer })
  }
  const rolledBack = ({ gtrid, participant, bqual }: Omit<Done, 'did'>): void => {
    done.push({ gtrid, participant, bqual, did: 'rolled-back' })
  }
  events.on('branch:settled', settled)
  events.on('branch:rolled-back', rolledBack)
  return () => {
    events.off('branch:settled', settled)
    events.off('branch:rolled-back', rolledBack)
  }
}
