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
import { type Clock, LATE, type Random, systemClock, systemRandom, within } from './clock.ts'
import { createAmbient } from './commit/ambient.ts'
import type { CommitContext } from './commit/context.ts'
import { joinTransaction } from './commit/join.ts'
import {
  type CheckedOptions,
  checkOptions,
  type TransactionOptions,
  unknownParticipant,
} from './commit/options.ts'
import { retrying } from './commit/retry.ts'
import { Running, runTransaction } from './commit/run.ts'
import type { KnownOutcome, OpenTransaction, TransactionHandles } from './coordinator/handles.ts'
import { type LogLocation, openAt } from './coordinator/location.ts'
import { Siblings } from './coordinator/siblings.ts'
import { asTransactionError, messageOf, UnanimousError } from './errors.ts'
import { type CoordinatorEvent, Events, type Listener } from './events.ts'
import { type Failpoints, noFailpoints } from './failpoint.ts'
import type { DecisionLog, LogEvent, OpenedLog } from './log/decision-log.ts'
import type { FileSystem } from './log/file-system.ts'
import { nodeFileSystem } from './log/node-file-system.ts'
import { type Logger, logSink } from './logger.ts'
import { Announcements } from './participant/announcements.ts'
import { LiveSet } from './participant/live.ts'
import { MarkerCollector } from './participant/marker-collector.ts'
import type { PoolOf } from './participant/participant.ts'
import { createRegistry, type Participants, type Registry } from './participant/registry.ts'
import { Seats } from './participant/seats.ts'
import { Settlements } from './participant/settle.ts'
import { RecoveryLoop } from './recovery/loop.ts'
import type { RecoveryContext } from './recovery/pass.ts'

export interface CoordinatorOptions<P extends Participants> {
  /**
   * The decision log's directory, for one coordinator at a time; or `{ root }`, under which each
   * of several processes takes a log of its own. Created when it is missing.
   */
  readonly log: string | LogLocation
  /** The databases, by the name that `tx` and every record of them will use. */
  readonly participants: P
  /** A pino logger. Default: silent. */
  readonly logger?: Logger
  /** Deadline of a transaction that gives none, in ms. Default 30,000. */
  readonly timeoutMs?: number
  /** How long an enlistment waits for a connection while its transaction holds another, in ms. Default 5,000. */
  readonly acquireMs?: number
  /** How long a caller waits for its commit record to be durable, in ms. Default 5,000. */
  readonly forceMs?: number
  /** How long a caller waits for its branches to be settled, in ms. Default 5,000. */
  readonly settleMs?: number
  /** How long `open` waits for participants to answer, in ms. Default 1,000. */
  readonly contactMs?: number
  /** How long `open` waits for the first recovery of those that answered, in ms. Default 5,000. */
  readonly recoverMs?: number
  /** Between two recovery passes over a quiet participant, in ms. Default 5,000. */
  readonly recoveryIntervalMs?: number
  /** @internal Clock, randomness, files and failpoints, for tests. */
  readonly seams?: Partial<Seams>
}

/** @internal */
export interface Seams {
  readonly clock: Clock
  readonly random: Random
  readonly files: FileSystem
  readonly failpoints: Failpoints
}

const MARKER_SWEEP_MS = 60_000
const CLOSE_MS = 10_000

export class Coordinator<P extends Participants = Participants> {
  readonly #registry: Registry
  readonly #log: DecisionLog
  readonly #events: Events
  readonly #context: CommitContext
  readonly #recovery: RecoveryLoop
  readonly #siblings: Siblings | undefined
  readonly #state: CoordinatorState
  readonly #retrySeams: { readonly clock: Clock; readonly random: Random }
  readonly #pools: Map<string, unknown> = new Map()

  /**
   * Opens a coordinator and settles what an earlier one left behind.
   *
   * @throws UnanimousError INVALID_OPTION, LOG_LOCKED, LOG_UNREADABLE, LOG_CORRUPT, LOG_COPIED,
   * LOG_UNSAFE, LOG_FULL, LOG_POISONED or PARTICIPANT_UNFIT
   */
  static async open<const P extends Participants>(
    options: CoordinatorOptions<P>,
  ): Promise<Coordinator<P>> {
    const seams = { ...systemSeams(), ...options.seams }
    const events = new Events(logSink(options.logger))
    const registry = createRegistry(options.participants, seams.clock, events)
    const place = typeof options.log === 'string' ? { directory: options.log } : options.log
    const contactMs = options.contactMs ?? 1_000
    const onEvent = (event: LogEvent): void => events.emit('log:event', { ...event })
    let opened: OpenedLog | undefined
    try {
      const located = await openAt(place, { ...seams, onEvent }, registry, contactMs)
      const { log, slot, answered, unfit } = located
      opened = log
      if (unfit[0] !== undefined) throw unfit[0]
      const siblings =
        'root' in place && slot !== undefined
          ? new Siblings({ location: place, own: slot, registry, events, seams, contactMs })
          : undefined
      const started = await log.start()
      const coordinator = new Coordinator<P>(options, seams, registry, started, events, siblings)
      coordinator.#recovery.start()
      siblings?.start()
      const clean = coordinator.#recovery.clean(answered)
      await within(seams.clock, options.recoverMs ?? 5_000, clean)
      return coordinator
    } catch (cause) {
      await opened?.close().catch(() => undefined)
      await closeAll(registry)
      throw cause
    }
  }

  private constructor(
    options: CoordinatorOptions<P>,
    seams: Seams,
    registry: Registry,
    log: DecisionLog,
    events: Events,
    siblings: Siblings | undefined,
  ) {
    const { clock, failpoints } = seams
    this.#registry = registry
    this.#retrySeams = seams
    this.#log = log
    this.#events = events
    this.#siblings = siblings
    this.#state = { stopped: undefined, closing: undefined }
    const markers = new MarkerCollector(registry, clock)
    const settlements = new Settlements(log, events, (gtrid, participants) =>
      markers.collect(gtrid, participants),
    )
    for (const { record, answers } of log.pending()) {
      settlements.follow(record.gtrid, record.branches, answers)
    }
    const live = new LiveSet()
    const stop = (cause: unknown): void => this.#stop(cause)
    const shared = { registry, log, live, settlements, events, failpoints, stop }
    const recoveryContext: RecoveryContext = {
      ...shared,
      isSibling: async (logId) => (await siblings?.owns(logId)) ?? false,
    }
    this.#recovery = new RecoveryLoop(recoveryContext, clock, {
      intervalMs: options.recoveryIntervalMs ?? 5_000,
      markerSweepMs: MARKER_SWEEP_MS,
    })
    this.#context = {
      ...shared,
      clock,
      markers,
      announcements: new Announcements(registry, log),
      ambient: createAmbient(),
      seats: new Seats(),
      live,
      limits: {
        timeoutMs: options.timeoutMs ?? 30_000,
        acquireMs: options.acquireMs ?? 5_000,
        forceMs: options.forceMs ?? 5_000,
        settleMs: options.settleMs ?? 5_000,
      },
      stopped: () => this.#state.stopped,
      nudge: (name) => this.#recovery.nudge(name),
    }
  }

  /** Identity of the decision log. Every gtrid of this coordinator carries it. */
  get logId(): string {
    return this.#log.logId
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
   * were waited for (`settleMs`)
   * @throws TransactionError with `outcome`: `rolled-back`, `in-doubt` or `heuristic`
   */
  async transaction<T>(
    work: (tx: TransactionHandles<P>) => Promise<T> | T,
    options: TransactionOptions<keyof P & string> = {},
  ): Promise<T> {
    const place = this.#context.ambient.get()
    const run = (handles: object) => work(handles as TransactionHandles<P>)
    try {
      const checked = this.#check(options, place !== undefined)
      if (place === undefined || checked.propagation === 'new') {
        return await retrying(this.#retrySeams, checked, () => {
          this.#checkOpen()
          return runTransaction(this.#context, checked, run)
        })
      }
      return await joinTransaction(this.#context, place, checked, run)
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
      const running = await Running.begin(this.#context, this.#check(options, false))
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
    const participant = this.#registry.get(name)
    if (participant === undefined)
      throw unknownParticipant(name, new Set(this.#registry.keys()), '')
    const { ambient } = this.#context
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
    return this.#context.ambient.get()?.tx.handles as TransactionHandles<P> | undefined
  }

  /** Runs `work` outside of the transaction around it: what it does is not rolled back with it. */
  outside<T>(work: () => T): T {
    return this.#context.ambient.run(undefined, work)
  }

  /**
   * What is known of a transaction. `unknown` for one that the log has forgotten, or never held:
   * after all branches were settled the log keeps nothing. With marker rows, `committed` waits for
   * the first database that has: until then a lost log could still take the decision back.
   */
  outcome(gtrid: string): KnownOutcome {
    switch (this.#log.register(gtrid)) {
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
    const marked = this.#log.find(gtrid)?.record.branches.some((branch) => branch.marker) ?? false
    return !marked || this.#context.settlements.isConfirmed(gtrid)
  }

  on<E extends CoordinatorEvent>(name: E, listener: Listener<E>): this {
    this.#events.on(name, listener)
    return this
  }

  off<E extends CoordinatorEvent>(name: E, listener: Listener<E>): this {
    this.#events.off(name, listener)
    return this
  }

  /**
   * Begins no further transaction, waits for the running ones (at most 10 s), stops recovery and
   * releases the log. The users' pools stay open. Idempotent.
   *
   * Whatever is still unsettled is settled by the next coordinator that opens this log.
   */
  close(): Promise<void> {
    this.#state.closing ??= this.#close()
    return this.#state.closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const { clock, live, markers } = this.#context
    const waited = await within(clock, CLOSE_MS, live.whenEmpty())
    const stopping = Promise.all([this.#recovery.stop(), this.#siblings?.stop()])
    const stopped = await within(clock, CLOSE_MS, stopping)
    if (waited !== LATE && stopped !== LATE) await within(clock, CLOSE_MS, markers.flush())
    await closeAll(this.#registry)
    // A pass that still waited for a server ends with the connection under it.
    await stopping
    await this.#log.close()
  }

  /** @param joins - a transaction that runs may go on while the coordinator closes */
  #check(options: TransactionOptions, joins: boolean): CheckedOptions {
    if (!joins || options.propagation === 'new') this.#checkOpen()
    const names = new Set(this.#registry.keys())
    return checkOptions(options, names, this.#context.limits.timeoutMs)
  }

  #checkOpen(): void {
    const { stopped, closing } = this.#state
    if (closing !== undefined) {
      throw new UnanimousError('COORDINATOR_CLOSED', 'the coordinator is closed', {
        hint: 'Close it when nothing begins transactions any more.',
      })
    }
    if (stopped !== undefined) {
      throw new UnanimousError(stopped.code, messageOf(stopped), {
        hint: stopped.hint,
        cause: stopped,
      })
    }
  }

  #stop(cause: unknown): void {
    if (this.#state.stopped !== undefined) return
    const stopped =
      cause instanceof UnanimousError
        ? cause
        : new UnanimousError('COORDINATOR_CLOSED', messageOf(cause), { cause })
    this.#state.stopped = stopped
    this.#events.emit('coordinator:stopped', { cause: stopped })
    this.#recovery.stop().catch(() => undefined)
    this.#siblings?.stop().catch(() => undefined)
  }
}

interface CoordinatorState {
  /** Why nothing may be decided any more. */
  stopped: UnanimousError | undefined
  closing: Promise<void> | undefined
}

async function closeAll(registry: Registry): Promise<void> {
  await Promise.all([...registry.values()].map((one) => one.close().catch(() => undefined)))
}

function systemSeams(): Seams {
  return {
    clock: systemClock,
    random: systemRandom,
    files: nodeFileSystem,
    failpoints: noFailpoints,
  }
}
