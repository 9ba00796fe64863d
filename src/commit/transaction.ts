/**
 * A live global transaction: its branches, its state, and what can still abort it.
 *
 *   - A branch exists once the application reached for its participant; it takes part once its
 *     first statement arrived (it is enlisted).
 *   - The transaction is live, in rule 5's sense, from its birth until {@link Transaction.finish}.
 *   - Deadline, signal and close abort it only while its state is in `ABORTABLE` (rule 10). They
 *     answer the caller at once; the roll-back of the branches follows behind.
 */
import type { Timer } from '../clock.ts'
import { TransactionError, type TransactionErrorCode } from '../errors.ts'
import type { Branch } from '../participant/branch.ts'
import { ABORTABLE, type TransactionState, transition } from '../protocol/transaction-state.ts'
import type { Outcome, Refusal } from '../protocol/vocabulary.ts'
import type { CommitContext } from './context.ts'
import { type CheckedOptions, unknownParticipant } from './options.ts'

/** What is known of the data in each state, for whoever still uses the transaction. */
const KNOWN_OUTCOME: { readonly [S in TransactionState]: Outcome } = {
  active: 'in-doubt',
  preparing: 'in-doubt',
  'one-phase': 'in-doubt',
  deciding: 'in-doubt',
  'in-doubt': 'in-doubt',
  committing: 'committed',
  committed: 'committed',
  aborting: 'rolled-back',
  'rolled-back': 'rolled-back',
  heuristic: 'heuristic',
}

/** Why a branch cannot be committed, found before any vote. */
export interface Obstacle {
  readonly participant: string
  readonly refusal: Refusal
}

export class Transaction {
  readonly gtrid: string
  readonly options: CheckedOptions
  readonly startedAt: number
  /** Rejects when a deadline, a signal or a close aborts the transaction. */
  readonly aborted: Promise<never>
  /** What the application holds as `tx`: a handle by participant name, and the gtrid. */
  readonly handles: object

  readonly #context: CommitContext
  readonly #branches: Map<string, Branch> = new Map()
  #abortError: TransactionError | undefined
  #state: TransactionState = 'active'
  #timer: Timer | undefined
  #reject: (error: TransactionError) => void = () => undefined
  readonly #onSignal = (): void => {
    this.abort('SIGNAL_ABORTED', 'the signal aborted the transaction', this.options.signal?.reason)
  }

  constructor(context: CommitContext, options: CheckedOptions) {
    this.#context = context
    this.options = options
    this.gtrid = context.log.begin()
    context.live.join(this.gtrid)
    this.startedAt = context.clock.monotonic()
    this.aborted = new Promise((_, reject) => {
      this.#reject = reject
    })
    // Most transactions are never aborted, and then nobody waits for this promise at its end.
    this.aborted.catch(() => undefined)
    this.handles = this.#makeHandles()
    this.#arm()
  }

  get state(): TransactionState {
    return this.#state
  }

  /** Branches that take part. */
  get enlisted(): readonly Branch[] {
    return [...this.#branches.values()].filter((branch) => branch.enlisted)
  }

  move(to: TransactionState): void {
    this.#state = transition(this.#state, to)
  }

  /**
   * Aborts from outside: answers the caller at once and refuses further work. Without effect from
   * the moment the decision is handed over.
   */
  abort(code: TransactionErrorCode, message: string, cause?: unknown, hint?: string): void {
    if (!ABORTABLE.includes(this.#state)) return
    this.move('aborting')
    const error = new TransactionError(code, message, {
      outcome: 'rolled-back',
      gtrid: this.gtrid,
      cause,
      hint,
    })
    this.#abortError = error
    this.seal(() => error)
    this.#reject(error)
  }

  /**
   * The next step of the commit path, unless the transaction was aborted since the last one.
   *
   * @throws TransactionError what aborted it
   */
  proceed(to: TransactionState): void {
    if (this.#abortError !== undefined) throw this.#abortError
    this.move(to)
  }

  /** Ends the application's part of every branch; answers what forbids most to commit. */
  seal(because: () => Error = () => this.#ended()): Obstacle | undefined {
    let gravest: Obstacle | undefined
    for (const branch of this.#branches.values()) {
      const refusal = branch.seal(because)
      if (refusal === undefined) continue
      // What the application itself may have committed no roll-back takes back.
      const ended = refusal.code === 'ENDED_BY_APPLICATION'
      if (ended || gravest === undefined) gravest = { participant: branch.participant, refusal }
    }
    return gravest
  }

  /** From here on no deadline and no signal turns back. */
  disarm(): void {
    this.#timer?.clear()
    this.options.signal?.removeEventListener('abort', this.#onSignal)
  }

  /** Its own path touches no branch any more: what is left is recovery's. */
  finish(): void {
    this.disarm()
    this.seal()
    this.#context.log.release(this.gtrid)
    this.#context.live.leave(this.gtrid)
  }

  #arm(): void {
    const { timeoutMs, signal } = this.options
    if (timeoutMs !== Number.POSITIVE_INFINITY) {
      this.#timer = this.#context.clock.timer(timeoutMs, () =>
        this.abort(
          'DEADLINE_EXCEEDED',
          `the transaction was not decided within ${timeoutMs} ms`,
          undefined,
          'Raise `timeoutMs`, or look for a lock that a statement waits for.',
        ),
      )
    }
    signal?.addEventListener('abort', this.#onSignal, { once: true })
    if (signal?.aborted) this.#onSignal()
  }

  #makeHandles(): object {
    const names = new Set(this.#context.registry.keys())
    const own: Record<string, unknown> = { gtrid: this.gtrid, name: this.options.name }
    return new Proxy(own, {
      get: (target, key) => {
        if (typeof key === 'symbol' || Object.hasOwn(target, key)) {
          return Reflect.get(target, key) as unknown
        }
        if (names.has(key)) return this.#branch(key).handle
        // Whoever awaits or prints the object asks for these; nobody names a participant so.
        if (key === 'then' || key === 'toJSON' || key in Object.prototype) return undefined
        throw unknownParticipant(key, names, this.gtrid)
      },
      has: (target, key) => Reflect.has(target, key) || (typeof key === 'string' && names.has(key)),
      set: () => false,
    })
  }

  #branch(name: string): Branch {
    const existing = this.#branches.get(name)
    if (existing !== undefined) return existing
    const participant = this.#context.registry.get(name)
    if (participant === undefined) {
      throw unknownParticipant(name, new Set(this.#context.registry.keys()), this.gtrid)
    }
    const branch = participant.branch({
      gtrid: this.gtrid,
      isolation: this.options.isolation(name),
      readOnly: this.options.isReadOnly(name),
      enlist: () => this.#enlist(),
    })
    this.#branches.set(name, branch)
    return branch
  }

  /** Rule 9: who holds a connection waits only so long for another. */
  #enlist(): number {
    if (this.#state !== 'active') throw this.#abortError ?? this.#ended()
    const { clock, limits } = this.#context
    const left = this.startedAt + this.options.timeoutMs - clock.monotonic()
    return this.enlisted.length > 0 ? Math.min(limits.acquireMs, left) : left
  }

  #ended(): TransactionError {
    return new TransactionError('TRANSACTION_ENDED', 'the transaction takes no further work', {
      outcome: KNOWN_OUTCOME[this.#state],
      gtrid: this.gtrid,
      hint: 'Await every statement before the callback returns.',
      recoverable: false,
    })
  }
}
