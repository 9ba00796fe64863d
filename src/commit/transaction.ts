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
import type { LiveTransaction } from '../participant/live.ts'
import { ABORTABLE, type TransactionState, transition } from '../protocol/transaction-state.ts'
import type { Outcome, Refusal } from '../protocol/vocabulary.ts'
import type { Enclosing, Place } from './ambient.ts'
import type { CommitContext } from './context.ts'
import { type Enlisting, Enlistment } from './enlistment.ts'
import { makeHandles, type TransactionVerbs } from './handles.ts'
import type { HookOutcome } from './hooks.ts'
import { type CheckedOptions, unknownParticipant } from './options.ts'
import { runInSavepoint } from './savepoint.ts'
import { Scope } from './scope.ts'
import { follow } from './signals.ts'

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

/**
 * How much longer than its deadline a transaction waits for a connection: the deadline, and not the
 * wait, is what ends it then.
 */
const AFTER_DEADLINE_MS = 100

const noop = (): void => undefined

/** Why a branch cannot be committed, found before any vote. */
export interface Obstacle {
  readonly participant: string
  readonly refusal: Refusal
}

export class Transaction implements Enclosing, Enlisting, LiveTransaction {
  readonly gtrid: string
  readonly options: CheckedOptions
  readonly startedAt: number
  /** What the application holds as `tx`. */
  readonly handles: object
  /** All of it, less what runs behind a savepoint. */
  readonly scope: Scope = new Scope('', undefined)

  readonly #context: CommitContext
  readonly #branches: Branch[] = []
  readonly #enlistments: Enlistment[] = []
  #abortError: TransactionError | undefined
  #state: TransactionState = 'active'
  #sealed = false
  #savepoints = 0
  #rollbackOnly: TransactionError | undefined
  #timer: Timer | undefined
  /** Hears what aborts it: whoever waits in {@link unlessAborted}, and before that whoever armed it. */
  #onAborted: (error: TransactionError) => void = noop
  /** What it was begun in: `propagation: 'new'`, or `begin()`. */
  readonly #around: Enclosing | undefined
  #holdsConnection = false
  #unfollow: () => void = noop

  constructor(context: CommitContext, options: CheckedOptions) {
    this.#context = context
    this.options = options
    this.#around = context.ambient.get()?.tx
    this.gtrid = context.log.begin()
    this.startedAt = context.clock.monotonic()
    context.live.join(this.gtrid, this)
    this.handles = this.#handles(this.#verbs())
  }

  get state(): TransactionState {
    return this.#state
  }

  get name(): string | undefined {
    return this.options.name
  }

  get participants(): readonly string[] {
    return this.enlisted.map(({ participant }) => participant)
  }

  /** Branches that take part. */
  get enlisted(): readonly Branch[] {
    return this.#branches.filter((branch) => branch.enlisted)
  }

  get holds(): boolean {
    const takesPart = this.#branches.some((branch) => branch.enlisted)
    return !this.#sealed && (takesPart || this.#around?.holds === true)
  }

  get holdsConnection(): boolean {
    return this.#holdsConnection
  }

  /** Why it can only be rolled back although every branch could commit. */
  get rollbackOnly(): TransactionError | undefined {
    return this.#rollbackOnly
  }

  refuseCommit(error: TransactionError): void {
    this.#rollbackOnly ??= error
  }

  /** @throws TransactionError TRANSACTION_ENDED, or what aborted it */
  refuseEnded(): void {
    if (this.#sealed || this.#state !== 'active') throw this.#abortError ?? this.#ended()
  }

  nextSavepoint(): string {
    this.#savepoints += 1
    return `una_s${this.#savepoints}`
  }

  /** The handles, and verbs beside those that every transaction has. */
  handlesWith(verbs: object): object {
    return this.#handles(
      Object.defineProperties(this.#verbs(), Object.getOwnPropertyDescriptors(verbs)),
    )
  }

  #handles(own: object): object {
    return makeHandles(own, this.#context.registry, this.gtrid, (name) => this.branch(name).handle)
  }

  /** Until its deadline. */
  get leftMs(): number {
    return this.startedAt + this.options.timeoutMs - this.#context.clock.monotonic()
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
    this.#onAborted(error)
  }

  /**
   * Waits for a step of the path before the decision, which is given up when a deadline, a signal or a
   * close aborts the transaction: what becomes of the step later is nobody's.
   *
   * @throws TransactionError what aborted it
   */
  unlessAborted<T>(step: PromiseLike<T> | T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#onAborted = reject
      if (this.#abortError !== undefined) reject(this.#abortError)
      Promise.resolve(step).then(resolve, reject)
    })
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

  /**
   * Ends the application's part, also in participants that it has not used so far: what enlisted
   * after the others were looked at would be committed without a vote. Answers what forbids most to
   * commit.
   */
  seal(because: () => Error = () => this.#ended()): Obstacle | undefined {
    this.#sealed = true
    let gravest: Obstacle | undefined
    for (const branch of this.#branches) {
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
    this.#unfollow()
  }

  /** Its own path touches no branch any more: what is left is recovery's. */
  finish(): void {
    this.disarm()
    this.seal()
    this.#context.log.release(this.gtrid)
    this.#context.live.leave(this.gtrid)
  }

  /**
   * From here on its deadline and its signal abort it, one that has fired before at once.
   *
   * @param onAborted - for as long as nobody has waited in {@link unlessAborted}
   */
  arm(onAborted: (error: TransactionError) => void): void {
    this.#onAborted = onAborted
    const { timeoutMs, signal } = this.options
    if (timeoutMs !== Number.POSITIVE_INFINITY) {
      const { clock, limits, waits } = this.#context
      const late = (): void =>
        this.abort(
          'DEADLINE_EXCEEDED',
          `the transaction was not decided within ${timeoutMs} ms`,
          undefined,
          'Raise `timeoutMs`, or look for a lock that a statement waits for.',
        )
      const isUsual = timeoutMs === limits.timeoutMs
      this.#timer = isUsual ? waits.deadline.begin(late) : clock.timer(timeoutMs, late)
    }
    if (signal === undefined) return
    const onSignal = (): void =>
      this.abort('SIGNAL_ABORTED', 'the signal aborted the transaction', signal.reason)
    this.#unfollow = follow(signal, onSignal)
    if (signal.aborted) onSignal()
  }

  #verbs(): TransactionVerbs {
    const { ambient } = this.#context
    const hook = (on: HookOutcome, call: () => unknown): void => {
      this.refuseEnded()
      this.#here().scope.nearestOpen.hooks.add(on, call)
    }
    return {
      gtrid: this.gtrid,
      name: this.options.name,
      savepoint: (work) => runInSavepoint(this.#context, this.#here(), work),
      run: (work) => ambient.run(this.#here(), work),
      afterCommit: (call) => hook('committed', call),
      afterRollback: (call) => hook('rolled-back', call),
    }
  }

  /** Where in this transaction the caller runs; anywhere else counts as outside of every savepoint. */
  #here(): Place {
    const place = this.#context.ambient.get()
    return place?.tx === this ? place : { tx: this, scope: this.scope }
  }

  get savepoints(): readonly string[] {
    return this.#here().scope.savepoints
  }

  /** The branch in a participant; after the end it is one that refuses. */
  branch(name: string): Branch {
    const existing = this.#branches.find(({ participant }) => participant === name)
    if (existing !== undefined) return existing
    const participant = this.#context.registry.get(name)
    if (participant === undefined) {
      throw unknownParticipant(name, this.#context.registry, this.gtrid)
    }
    const enlistment = new Enlistment(this.#context, this, name)
    const branch = participant.branch(enlistment)
    if (this.#sealed) branch.seal(() => this.#abortError ?? this.#ended())
    this.#enlistments.push(enlistment)
    this.#branches.push(branch)
    return branch
  }

  /** Rule 9: who holds a connection, or keeps one waiting, waits only so long for another. */
  enlist(name: string): number {
    this.refuseEnded()
    const refused = this.#context.budget.refusal(name, this.gtrid)
    if (refused !== undefined) {
      // Without this branch it is not the transaction that was meant, whatever the callback catches.
      this.refuseCommit(refused)
      throw refused
    }
    const { acquireMs } = this.#context.limits
    const leftMs = this.leftMs + AFTER_DEADLINE_MS
    return this.holds ? Math.min(acquireMs, leftMs) : leftMs
  }

  hold(): void {
    if (this.#holdsConnection) return
    this.#holdsConnection = true
    for (const enlistment of this.#enlistments) enlistment.held()
  }

  #ended(): TransactionError {
    return new TransactionError('TRANSACTION_ENDED', 'the transaction takes no further work', {
      outcome: KNOWN_OUTCOME[this.#state],
      gtrid: this.gtrid,
      hint: 'Await every statement before the callback returns, or run it in `coordinator.outside(fn)`.',
      recoverable: false,
    })
  }
}
