/**
 * Spans over `node:diagnostics_channel`, for OpenTelemetry or whoever else subscribes, and how long
 * each phase took, for `coordinator.stats()`.
 *
 *   tracing:unanimous:transaction:*   from its begin to its outcome, once each attempt of a `retry`
 *   tracing:unanimous:prepare:*       a branch's vote
 *   tracing:unanimous:decide:*        the commit record, until it is durable, or its caller has waited enough
 *   tracing:unanimous:settle:*        the decision carried out on a branch: COMMIT, COMMIT PREPARED, ROLLBACK, …
 *   tracing:unanimous:recover:*       one pass over a participant
 *
 *  - What `node:diagnostics_channel` calls `start`, `end`, `asyncStart`, `asyncEnd` and `error` is published
 *    with one object that lives as long as the span: compare it by identity.
 *  - A store that is bound to `tracing:unanimous:transaction:start` holds in the callback.
 *  - Without a subscriber nothing is made and nothing is published.
 *  - Ids, names and codes only: never a statement, a parameter, or what a callback returned.
 *  - What a subscriber throws becomes an uncaught exception of the process, as everywhere in Node.js; no
 *    phase sees it.
 */
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { Clock } from './clock.ts'
import { TransactionError } from './errors.ts'
import type { Decision, Outcome } from './protocol/vocabulary.ts'

export type Phase = 'transaction' | 'prepare' | 'decide' | 'settle' | 'recover'

/** What a span is about. Fields that become known on the way are there at its end. */
export interface Span {
  /** Absent in `recover`. */
  readonly gtrid?: string
  /** Of the transaction, where it was given one. */
  readonly name?: string | undefined
  /** In `prepare`, `settle` and `recover`. */
  readonly participant?: string
  /** In `settle`. */
  readonly decision?: Decision
  /** In `settle`: the branch's own COMMIT was the decision, nothing was prepared. */
  readonly onePhase?: boolean
  /** In `settle`. */
  readonly by?: 'live' | 'recovery'
  /** In `transaction`, at its end; in `decide`, where it fails. */
  outcome?: Outcome
  /** Of the error, where there is one beside `outcome`. */
  code?: string
  /** In `prepare` and `settle`, at the end: how the server answered. */
  answer?: string
  /** In `recover`, at the end. */
  committed?: number
  rolledBack?: number
  unsettled?: number
}

/** Upper bounds of a histogram's buckets, in ms; the last has none. */
export const BUCKETS_MS: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
]

/** Durations of a phase, as a Prometheus histogram counts them. */
export interface Histogram {
  /** How many took at most `leMs`; every bucket counts those below it too. */
  readonly buckets: readonly { readonly leMs: number; readonly count: number }[]
  /** All of them, also those beyond the last bucket. */
  readonly count: number
  readonly sumMs: number
  readonly maxMs: number
}

const CHANNELS: { readonly [P in Phase]: TracingChannel<unknown, Span> } = {
  transaction: tracingChannel('unanimous:transaction'),
  prepare: tracingChannel('unanimous:prepare'),
  decide: tracingChannel('unanimous:decide'),
  settle: tracingChannel('unanimous:settle'),
  recover: tracingChannel('unanimous:recover'),
}

/** Runs a phase as a span. @param work - is given the span, to say what it learns */
export function traced<T>(
  phase: Phase,
  span: Span,
  work: (span: Span) => Promise<T>,
  learn?: (span: Span, value: T) => void,
): Promise<T> {
  const channel = CHANNELS[phase]
  return isHeard(channel) ? publish(channel, span, work, learn) : work(span)
}

/** Runs a transaction from its begin to its outcome; without a subscriber nobody writes that down. */
export function tracedWhole<T>(span: Span, work: () => Promise<T>): Promise<T> {
  return traced('transaction', span, work, tellCommitted)
}

/** Runs a phase in which a server answers; without a subscriber nobody writes down how. */
export function tracedAnswer<T extends Answer>(
  phase: 'prepare' | 'settle',
  span: Span,
  work: () => Promise<T>,
): Promise<T> {
  return traced(phase, span, work, tellKind)
}

/** How long phases took; a vote and a settlement once they were answered. One for each coordinator. */
export class Phases {
  readonly #clock: Clock
  readonly #durations: { readonly [P in Phase]: Durations } = {
    transaction: new Durations(),
    prepare: new Durations(),
    decide: new Durations(),
    settle: new Durations(),
    recover: new Durations(),
  }

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Told by whoever waits for the phase: a reaction of our own would be another promise for each.
   *
   * @param startedAtMs - by the monotonic clock
   */
  took(phase: Phase, startedAtMs: number): void {
    this.#durations[phase].add(this.#clock.monotonic() - startedAtMs)
  }

  /** So far. */
  histograms(): { readonly [P in Phase]: Histogram } {
    const { transaction, prepare, decide, settle, recover } = this.#durations
    return {
      transaction: transaction.histogram(),
      prepare: prepare.histogram(),
      decide: decide.histogram(),
      settle: settle.histogram(),
      recover: recover.histogram(),
    }
  }
}

/** Node.js 20 has no such property on the whole. */
function isHeard({ start, end, asyncStart, asyncEnd, error }: TracingChannel<unknown, Span>) {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  )
}

async function publish<T>(
  channel: TracingChannel<unknown, Span>,
  span: Span,
  work: (span: Span) => Promise<T>,
  learn: ((span: Span, value: T) => void) | undefined,
): Promise<T> {
  let result: { readonly value: T } | undefined
  // What is returned here would be published: it is the application's.
  await channel.tracePromise(async () => {
    try {
      const value = await work(span)
      learn?.(span, value)
      result = { value }
    } catch (cause) {
      if (cause instanceof TransactionError) {
        span.outcome = cause.outcome
        span.code = cause.code
      }
      throw cause
    }
  }, span)
  return (result as unknown as { readonly value: T }).value
}

interface Answer {
  readonly kind: string
}

function tellCommitted(span: Span): void {
  span.outcome = 'committed'
}

function tellKind(span: Span, { kind }: Answer): void {
  span.answer = kind
}

class Durations {
  /** The last one is of what is longer than every bound. */
  readonly #counts: number[] = new Array<number>(BUCKETS_MS.length + 1).fill(0)
  #count = 0
  #sumMs = 0
  #maxMs = 0

  add(ms: number): void {
    let index = 0
    while (ms > (BUCKETS_MS[index] ?? Number.POSITIVE_INFINITY)) index += 1
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#count += 1
    this.#sumMs += ms
    this.#maxMs = Math.max(this.#maxMs, ms)
  }

  histogram(): Histogram {
    let below = 0
    const buckets = BUCKETS_MS.map((leMs, index) => {
      below += this.#counts[index] ?? 0
      return { leMs, count: below }
    })
    return { buckets, count: this.#count, sumMs: this.#sumMs, maxMs: this.#maxMs }
  }
}
