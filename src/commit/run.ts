/**
 * The whole path of one transaction: callback, then one of
 *
 *   nothing enlisted, or nothing written     end
 *   one branch has written                   one-phase.ts
 *   more have                                two-phase.ts
 *   the callback or a branch refuses         abort.ts
 *
 * The order keeps every branch's locks until all work of all branches is done: a branch ends, or
 * prepares, only after the callback has returned.
 */
import { isPending } from '../clock.ts'
import { messageOf, TransactionError } from '../errors.ts'
import type { Branch, Probed } from '../participant/branch.ts'
import type { TransactionState } from '../protocol/transaction-state.ts'
import { tracedWhole } from '../tracing.ts'
import { abortTransaction, callbackError, refusalError } from './abort.ts'
import type { CommitContext } from './context.ts'
import { commitInOnePhase, endReadOnly } from './one-phase.ts'
import type { CheckedOptions } from './options.ts'
import { runHooks } from './savepoint.ts'
import { type Obstacle, Transaction } from './transaction.ts'
import { commitInTwoPhases } from './two-phase.ts'

/** A transaction that has begun, and its one end. */
export class Running {
  readonly tx: Transaction
  readonly #context: CommitContext
  #ending: Promise<void> | undefined
  #told: { readonly resolve: () => void; readonly reject: (cause: unknown) => void } | undefined

  private constructor(context: CommitContext, options: CheckedOptions) {
    this.#context = context
    this.tx = new Transaction(context, options)
    // Nobody may be waiting: a deadline must free the locks all the same.
    this.tx.arm((cause) => {
      this.fail(cause).catch((late: unknown) => context.stop(late))
    })
  }

  static async begin(context: CommitContext, options: CheckedOptions): Promise<Running> {
    const running = new Running(context, options)
    try {
      if (!context.inert) await context.failpoints('begin:done')
      return running
    } catch (cause) {
      throw await running.fail(cause)
    }
  }

  /**
   * Runs `work` in a new global transaction, and commits it.
   *
   * @throws TransactionError whenever the result is anything but "committed everywhere"
   */
  static run<T>(
    context: CommitContext,
    options: CheckedOptions,
    work: (handles: object, tx: Transaction) => Promise<T> | T,
  ): Promise<T> {
    const running = new Running(context, options)
    return running.#traced(() => running.#run(work))
  }

  /** For one that its caller ends: makes its span, and keeps its time. */
  follow(): void {
    const took = (): void => this.#took()
    this.#traced(() => this.#ended()).then(took, took)
  }

  #traced<T>(work: () => Promise<T>): Promise<T> {
    const { gtrid, name } = this.tx
    return tracedWhole({ gtrid, name }, work)
  }

  #took(): void {
    this.#context.phases.took('transaction', this.tx.startedAt)
  }

  /** Resolves, or rejects, as it ends. */
  #ended(): Promise<void> {
    if (this.#ending !== undefined) return this.#ending
    return new Promise((resolve, reject) => {
      this.#told = { resolve, reject }
    })
  }

  /**
   * Commits. Once it has ended, or is ending, answers how.
   *
   * @throws TransactionError whenever the result is anything but "committed everywhere"
   */
  commit(): Promise<void> {
    return this.#end(() => this.#commitOnce())
  }

  /** Rolls back for this cause, unless it is ending already; answers what the caller hears. */
  async fail(cause: unknown): Promise<TransactionError> {
    try {
      await this.#end(() => this.#failOnce(cause))
    } catch (error) {
      if (error instanceof TransactionError) return error
      throw error
    }
    return unexpected(this.tx, cause)
  }

  /**
   * Rolls back. Without effect when it was rolled back before.
   *
   * @throws TransactionError TRANSACTION_ENDED after a commit, or what the roll-back found committed
   */
  async rollback(): Promise<void> {
    const { tx } = this
    const cause = new TransactionError('ROLLED_BACK', 'the transaction was rolled back', {
      outcome: 'rolled-back',
      gtrid: tx.gtrid,
    })
    const heard = await this.#end(() => this.#failOnce(cause)).then(
      () => undefined,
      (error: unknown) => error,
    )
    if (heard === undefined) tx.refuseEnded()
    if (heard instanceof TransactionError && heard.outcome === 'rolled-back') return
    throw heard
  }

  /** Rolls back what has not been ended; waits for what is ending. */
  async dispose(): Promise<void> {
    if (this.#ending === undefined) await this.rollback()
    else await this.#ending.catch(() => undefined)
  }

  /** Calls `work`, and commits what it did. */
  async #run<T>(work: (handles: object, tx: Transaction) => Promise<T> | T): Promise<T> {
    const { tx } = this
    const context = this.#context
    try {
      // Always a turn of its own: a stack that is taken in `work` then shows who called, where ours would fill it.
      await (context.inert ? undefined : context.failpoints('begin:done'))
      tx.refuseEnded()
      const { scope, handles } = tx
      // Within the context: what `work` answers may begin only when it is waited for, as queries of knex do.
      const value = await context.ambient.run({ tx, scope }, () =>
        tx.unlessAborted(work(handles, tx)),
      )
      await this.commit()
      return value
    } catch (cause) {
      // What the commit failed with is how it ended.
      throw await this.fail(callbackError(context, tx, cause))
    } finally {
      this.#took()
    }
  }

  #end(how: () => Promise<void>): Promise<void> {
    if (this.#ending === undefined) {
      let follow: (ending: Promise<void>) => void = () => undefined
      // There before it begins: who aborts, or ends it again, within its first step meets this end.
      this.#ending = new Promise((resolve) => {
        follow = resolve
      })
      if (this.#told !== undefined) this.#ending.then(this.#told.resolve, this.#told.reject)
      follow(how())
    }
    return this.#ending
  }

  async #failOnce(cause: unknown): Promise<never> {
    throw await fail(this.#context, this.tx, cause)
  }

  /** Takes the branches to their end, once it is known which have written. */
  async #commitOnce(): Promise<void> {
    const { tx } = this
    const context = this.#context
    try {
      const asked = probe(tx)
      const branches = tx.enlisted
      const writers = writersOf(tx, branches, isPending(asked) ? await asked : asked)
      if (writers.length > 0) tx.proceed('preparing')
      if (writers.length < branches.length) {
        const readers = branches.filter((branch) => !writers.includes(branch))
        await tx.unlessAborted(endReadOnly(tx, readers))
      }
      const [only, second] = writers
      if (only === undefined) {
        tx.proceed('committed')
        tx.finish()
      } else if (second === undefined) await commitInOnePhase(context, tx, only)
      else await commitInTwoPhases(context, tx, writers)
    } catch (cause) {
      throw await fail(context, tx, cause)
    }
    const hooks = report(context, tx, undefined)
    if (hooks !== undefined) await hooks
  }
}

/**
 * Ends the application's part, and asks each branch whether it has written: at once where all know, and
 * nobody else gets a turn then.
 *
 * @throws TransactionError what forbids to commit
 */
function probe(tx: Transaction): readonly Probed[] | Promise<readonly Probed[]> {
  const obstacle = tx.seal()
  if (obstacle !== undefined) throw refusalError(tx, obstacle.participant, obstacle.refusal)
  if (tx.rollbackOnly !== undefined) throw tx.rollbackOnly
  const asked = tx.enlisted.map((branch) => branch.probe())
  if (asked.every(isKnown)) return asked
  return tx.unlessAborted(Promise.all(asked.map((one) => Promise.resolve(one))))
}

/** The branches that have written. @throws TransactionError when one cannot tell */
function writersOf(
  tx: Transaction,
  branches: readonly Branch[],
  known: readonly Probed[],
): readonly Branch[] {
  return branches.filter(({ participant }, at) => {
    const answer = known[at]
    if (typeof answer === 'object') throw refusalError(tx, participant, answer)
    return answer === 'wrote'
  })
}

function isKnown(answer: Probed | Promise<Probed>): answer is Probed {
  return !isPending(answer)
}

/** Brings a failed transaction to its end and answers what the caller hears. */
async function fail(
  context: CommitContext,
  tx: Transaction,
  cause: unknown,
): Promise<TransactionError> {
  if (!UNDECIDED.includes(tx.state)) {
    const error = cause instanceof TransactionError ? cause : unexpected(tx, cause)
    await report(context, tx, error)
    return error
  }
  const error = cause instanceof TransactionError ? cause : callbackError(context, tx, cause)
  const known = tx.seal()
  const ended = abortTransaction(context, tx)
  if (AT_ONCE.includes(error.code)) {
    // A deadline or a signal answers at once; what the roll-back finds later is an event.
    ended.then(
      (committed) => report(context, tx, endedError(tx, error, committed)),
      (late: unknown) => context.stop(late),
    )
    return endedError(tx, error, endedByApplication(known))
  }
  // After every other failure the locks are gone before the caller goes on.
  const heard = endedError(tx, error, await ended)
  await report(context, tx, heard)
  return heard
}

/** The error, unless a branch's work may be committed although the others were rolled back. */
function endedError(
  tx: Transaction,
  error: TransactionError,
  committed: Obstacle | undefined,
): TransactionError {
  if (committed === undefined || error.outcome === 'heuristic') return error
  return refusalError(tx, committed.participant, {
    ...committed.refusal,
    cause: committed.refusal.cause ?? error,
  })
}

function endedByApplication(obstacle: Obstacle | undefined): Obstacle | undefined {
  return obstacle?.refusal.code === 'ENDED_BY_APPLICATION' ? obstacle : undefined
}

/** Nothing was handed to the log, or what was handed over is proven to be abort. */
const UNDECIDED: readonly TransactionState[] = ['active', 'preparing', 'one-phase', 'aborting']
const AT_ONCE: readonly string[] = ['DEADLINE_EXCEEDED', 'SIGNAL_ABORTED']

/** Our own reasoning failed after the decision: say no more than what is certain. */
function unexpected(tx: Transaction, cause: unknown): TransactionError {
  return new TransactionError('DECISION_IN_DOUBT', messageOf(cause), {
    outcome: 'in-doubt',
    gtrid: tx.gtrid,
    cause,
    hint: 'This is a fault of the library: please report it. `coordinator.outcome(gtrid)` tells what the log holds.',
  })
}

/** Answers what is to be waited for: the hooks, where there are any. */
function report(
  context: CommitContext,
  tx: Transaction,
  error: TransactionError | undefined,
): Promise<void> | undefined {
  const outcome = error?.outcome ?? 'committed'
  const { hooks } = tx.scope
  context.events.emit('transaction:ended', {
    gtrid: tx.gtrid,
    name: tx.options.name,
    outcome,
    code: error?.code,
    durationMs: context.clock.monotonic() - tx.startedAt,
  })
  return hooks.isEmpty ? undefined : runHooks(context, tx.gtrid, hooks, outcome)
}
