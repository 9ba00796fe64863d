/**
 * Coordinator: opens the log, recovers, begins transactions, closes. The only place that joins the
 * live path (commit/) and recovery.
 *
 * Opening, in this order:
 *   1. own the log's directory and replay it
 *   2. ask every participant what it is and what it holds, for a bounded time: an unfit one refuses
 *      the opening, a branch of an incarnation that this log never had proves it to be a copy
 *   3. make durable again what recovery will act on, and force an incarnation of our own
 *   4. recover for ever; wait for the first pass over those that answered in step 2
 * A participant that is down is recovered when it comes back; it delays nothing else (rule 8).
 */
import { within } from './clock.ts'
import { completeSettleBehind } from './commit/behind.ts'
import {
  type ExecuteOptions,
  executeStatements,
  groupStatements,
  insideTransaction,
  type Statement,
} from './commit/execute.ts'
import { joinTransaction } from './commit/join.ts'
import {
  type CheckedOptions,
  checkOptions,
  type TransactionOptions,
  unknownParticipant,
} from './commit/options.ts'
import { retrying } from './commit/retry.ts'
import { Running } from './commit/run.ts'
import { DRAIN_MS, refusal, shutDown } from './coordinator/drain.ts'
import type {
  Answers,
  KnownOutcome,
  OpenTransaction,
  TransactionHandles,
} from './coordinator/handles.ts'
import { liveHandlers } from './coordinator/live-requests.ts'
import { fixed, openAt } from './coordinator/location.ts'
import { type CloseOptions, type CoordinatorOptions, completeSeams } from './coordinator/options.ts'
import { closeAll, joinParts, type Parts } from './coordinator/parts.ts'
import { Siblings } from './coordinator/siblings.ts'
import { type CoordinatorStats, statsOf } from './coordinator/stats.ts'
import { asTransactionError, messageOf } from './errors.ts'
import { type CoordinatorEvent, Events, type Listener } from './events.ts'
import type { LiveServer } from './live/server.ts'
import type { DrainReport } from './live/wire.ts'
import type { LogEvent, OpenedLog } from './log/decision-log.ts'
import { logSink } from './logger.ts'
import { completeBudget } from './participant/budget.ts'
import type { PoolOf } from './participant/participant.ts'
import { createRegistry, type Participants } from './participant/registry.ts'

export class Coordinator<P extends Participants = Participants> {
  readonly #parts: Parts
  readonly #pools: Map<string, unknown> = new Map()
  #live: LiveServer | undefined
  #closing: Promise<DrainReport> | undefined

  /**
   * Opens a coordinator and settles what an earlier one left behind.
   *
   * @throws UnanimousError INVALID_OPTION, LOG_LOCKED, LOG_UNREADABLE, LOG_CORRUPT, LOG_COPIED,
   * LOG_UNSAFE, LOG_FULL, LOG_POISONED or PARTICIPANT_UNFIT
   */
  static async open<const P extends Participants>(
    options: CoordinatorOptions<P>,
  ): Promise<Coordinator<P>> {
    const seams = completeSeams(options.seams)
    const bounds = {
      budget: completeBudget(options.budget),
      behind: completeSettleBehind(options.settleBehind),
    }
    const events = new Events(logSink(options.logger))
    const registry = createRegistry(options.participants, seams.clock, events)
    const place = fixed(options.log)
    const contactMs = options.contactMs ?? 1_000
    const onEvent = (event: LogEvent): void => events.emit('log:event', { ...event })
    let opened: OpenedLog | undefined
    try {
      const located = await openAt(place, { ...seams, onEvent }, registry, contactMs)
      const { log, slot, directory, answered, unfit } = located
      opened = log
      if (unfit[0] !== undefined) throw unfit[0]
      const siblings =
        'root' in place && slot !== undefined
          ? new Siblings({ location: place, own: slot, registry, events, seams, contactMs })
          : undefined
      const started = await log.start()
      const parts = { registry, log: started, directory, events, siblings }
      const coordinator = new Coordinator<P>(joinParts(options, seams, bounds, parts))
      await coordinator.#start(answered, options.recoverMs ?? 5_000)
      return coordinator
    } catch (cause) {
      await opened?.close().catch(() => undefined)
      await closeAll(registry)
      throw cause
    }
  }

  private constructor(parts: Parts) {
    this.#parts = parts
  }

  async #start(answered: readonly string[], recoverMs: number): Promise<void> {
    const { directory, events, recovery, seams, siblings } = this.#parts
    recovery.start()
    siblings?.start()
    const clean = within(seams.clock, recoverMs, recovery.clean(answered))
    try {
      const { clock } = seams
      this.#live = await seams.listen?.({ directory, clock, handlers: liveHandlers(this.#parts) })
    } catch (cause) {
      // Transactions need no socket, and people can still read the log.
      const message = `the command line cannot ask this coordinator: ${messageOf(cause)}`
      events.emit('log:event', { kind: 'warning', message })
    }
    await clean
  }

  /** Identity of the decision log. Every gtrid of this coordinator carries it. */
  get logId(): string {
    return this.#parts.log.logId
  }

  /**
   * Runs `work` in a global transaction. A participant is enlisted when its handle is first used.
   * When `work` returns, every branch is committed, or none is; when it throws, none is.
   * Inside a transaction, `work` joins it and nothing is committed yet: see `propagation`.
   *
   * @example
   * await coordinator.transaction(async (tx) => {
   *   await tx.ledger.query('update account set balance = balance - $1 where id = $2', [100, 1])
   *   await tx.shop.query('update wallet set balance = balance + ? where id = ?', [100, 7])
   * }, { name: 'transfer' })
   *
   * @returns what `work` returned, once the decision is durable and its branches are settled, or
   * were waited for (`settleMs`), or are settled behind (`settle`)
   * @throws TransactionError with `outcome`: `rolled-back`, `in-doubt` or `heuristic`
   */
  async transaction<T>(
    work: (tx: TransactionHandles<P>) => Promise<T> | T,
    options: TransactionOptions<keyof P & string> = {},
  ): Promise<T> {
    const place = this.#parts.context.ambient.get()
    const run = (handles: object) => work(handles as TransactionHandles<P>)
    try {
      const checked = this.#check(options, place !== undefined)
      if (place === undefined || checked.propagation === 'new') {
        return await retrying(this.#parts.seams, checked, () => {
          this.#checkOpen()
          return Running.run(this.#parts.context, checked, run)
        })
      }
      return await joinTransaction(this.#parts.context, place, checked, run)
    } catch (cause) {
      throw asTransactionError(cause)
    }
  }

  /**
   * Runs statements that are known in advance in a global transaction: in every database all of them, or
   * in none. What is for one database travels in one packet, from BEGIN to PREPARE, where the pool allows
   * it: two trips for each database instead of three or more.
   *
   * Nothing can be decided between the statements: use {@link transaction} where one depends on what another
   * answers. It begins a transaction of its own, and is refused inside one, of which it would not be part.
   *
   * @example
   * const [debit, credit] = await coordinator.execute([
   *   { on: 'ledger', text: 'update account set balance = balance - $1 where id = $2', values: [100, 1] },
   *   { on: 'shop', text: 'update wallet set balance = balance + ? where id = ?', values: [100, 7] },
   * ], { name: 'transfer' })
   *
   * @returns what each answered, in their order, as its driver tells it: a `pg` result, a `[rows, fields]`
   * of `mysql2`
   * @throws TransactionError as {@link transaction}; `rolled-back` with STATEMENT_FAILED when a statement
   * fails, with TRANSACTION_CONTROL or INVALID_OPTION for one that cannot be given
   */
  async execute<const S extends readonly Statement<keyof P & string>[]>(
    statements: S,
    options: ExecuteOptions<keyof P & string> = {},
  ): Promise<Answers<P, S>> {
    const { context, registry, seams } = this.#parts
    try {
      if (context.ambient.get() !== undefined) throw insideTransaction()
      const checked = this.#check(options, false)
      const groups = groupStatements(statements, registry)
      const answers = await retrying(seams, checked, () => {
        this.#checkOpen()
        return executeStatements(context, checked, groups)
      })
      return answers as Answers<P, S>
    } catch (cause) {
      throw asTransactionError(cause)
    }
  }

  /**
   * Begins a transaction that the caller ends: a new one, also inside another. Code joins it through
   * its handles, or in `tx.run(fn)`.
   *
   * @example
   * await using tx = await coordinator.begin({ name: 'transfer' })
   * await tx.ledger.query('update account set balance = balance - $1 where id = $2', [100, 1])
   * await tx.commit()
   *
   * @throws TransactionError with `outcome` `rolled-back`: nothing has begun
   */
  async begin(
    options: Omit<TransactionOptions<keyof P & string>, 'retry'> = {},
  ): Promise<OpenTransaction<P>> {
    try {
      const running = await Running.begin(this.#parts.context, this.#check(options, false))
      running.follow()
      return running.tx.handlesWith({
        commit: () => running.commit(),
        rollback: () => running.rollback(),
        [Symbol.asyncDispose]: () => running.dispose(),
      }) as OpenTransaction<P>
    } catch (cause) {
      throw asTransactionError(cause)
    }
  }

  /**
   * A drop-in for the pool that the participant was made of. Inside a transaction its work belongs
   * to the branch, and so do the transactions that are begun on its connections: as savepoints.
   * Outside it is the plain pool. Work left running when the transaction ended is refused.
   *
   * @throws UnanimousError PARTICIPANT_UNKNOWN
   */
  pool<N extends keyof P & string>(name: N): PoolOf<P[N]> {
    const participant = this.#parts.registry.get(name)
    if (participant === undefined) throw unknownParticipant(name, this.#parts.registry, '')
    const { ambient } = this.#parts.context
    const made =
      this.#pools.get(name) ??
      participant.ambientPool({
        current: () => ambient.get()?.tx.branch(name),
        outside: (work) => ambient.run(undefined, work),
      })
    this.#pools.set(name, made)
    return made as PoolOf<P[N]>
  }

  /** The transaction that the caller runs in, ended or not; `undefined` outside of one. */
  current(): TransactionHandles<P> | undefined {
    return this.#parts.context.ambient.get()?.tx.handles as TransactionHandles<P> | undefined
  }

  /** Runs `work` outside of the transaction around it: what it does is not rolled back with it. */
  outside<T>(work: () => T): T {
    return this.#parts.context.ambient.run(undefined, work)
  }

  /**
   * What is known of a transaction. `unknown` for one that the log has forgotten, or never held:
   * after all branches were settled the log keeps nothing. With marker rows, `committed` waits for
   * the first database that has: until then a lost log could still take the decision back.
   */
  outcome(gtrid: string): KnownOutcome {
    switch (this.#parts.log.register(gtrid)) {
      case 'commit':
        return this.#isCommitted(gtrid) ? 'committed' : 'in-doubt'
      case 'abort':
        return 'rolled-back'
      case 'handed-over':
      case 'open':
        return 'in-doubt'
      case 'none':
        return 'unknown'
    }
  }

  #isCommitted(gtrid: string): boolean {
    const marked =
      this.#parts.log.find(gtrid)?.record.branches.some((branch) => branch.marker) ?? false
    return !marked || this.#parts.context.settlements.isConfirmed(gtrid)
  }

  /**
   * Numbers since the coordinator was opened: outcomes, what is unsettled where, what recovery did, the
   * log, and how long each phase takes. Costs a few microseconds; docs/observability.md has the alerts.
   */
  stats(): CoordinatorStats {
    return statsOf(this.#parts)
  }

  on<E extends CoordinatorEvent>(name: E, listener: Listener<E>): this {
    this.#parts.events.on(name, listener)
    return this
  }

  off<E extends CoordinatorEvent>(name: E, listener: Listener<E>): this {
    this.#parts.events.off(name, listener)
    return this
  }

  /**
   * Begins no further transaction, waits for the running ones, aborts those that are not decided
   * then, settles what can be settled, stops recovery and releases the log. The users' pools stay
   * open. Idempotent: the first call counts.
   *
   * What the report calls `left` is settled by the next coordinator that opens this log.
   *
   * @example
   * process.once('SIGTERM', async () => {
   *   const { left } = await coordinator.close({ drainMs: 20_000 })
   *   process.exit(left === 0 ? 0 : 1)
   * })
   */
  close({ drainMs = DRAIN_MS }: CloseOptions = {}): Promise<DrainReport> {
    this.#closing ??= this.#close(drainMs)
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(drainMs: number): Promise<DrainReport> {
    return shutDown(this.#parts, drainMs, async () => this.#live?.close())
  }

  /** @param joins - a transaction that runs may go on while the coordinator closes */
  #check(options: TransactionOptions, joins: boolean): CheckedOptions {
    if (!joins || options.propagation === 'new') this.#checkOpen()
    const { registry, context } = this.#parts
    return checkOptions(options, registry, context.limits.timeoutMs)
  }

  #checkOpen(): void {
    const refused = refusal(this.#parts, this.#closing !== undefined)
    if (refused !== undefined) throw refused
  }
}
