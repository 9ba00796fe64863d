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
import type { CommitContext } from './commit/context.ts'
import { checkOptions, type TransactionOptions } from './commit/options.ts'
import { runTransaction } from './commit/run.ts'
import { messageOf, TransactionError, UnanimousError } from './errors.ts'
import { type CoordinatorEvent, Events, type Listener } from './events.ts'
import { type Failpoints, noFailpoints } from './failpoint.ts'
import type { DecisionLog, OpenedLog } from './log/decision-log.ts'
import type { FileSystem } from './log/file-system.ts'
import { nodeFileSystem } from './log/node-file-system.ts'
import { openFileDecisionLog } from './log/open-log.ts'
import { type Logger, logSink } from './logger.ts'
import { LiveSet } from './participant/live.ts'
import { MarkerCollector } from './participant/marker-collector.ts'
import type { HandleOf } from './participant/participant.ts'
import { createRegistry, type Participants, type Registry } from './participant/registry.ts'
import { Settlements } from './participant/settle.ts'
import type { Outcome } from './protocol/vocabulary.ts'
import { firstContact } from './recovery/first-contact.ts'
import { RecoveryLoop } from './recovery/loop.ts'
import type { RecoveryContext } from './recovery/pass.ts'

export interface CoordinatorOptions<P extends Participants> {
  /** The decision log's directory. Created when it is missing; one coordinator at a time. */
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

export interface LogLocation {
  readonly directory: string
  /** How long to wait for another process to let go of the log, in ms. Default 0. */
  readonly lockWaitMs?: number
  /** Accept a file system that cannot keep what it confirmed: tmpfs, NFS, SMB. Default false. */
  readonly allowUnsafeFileSystem?: boolean
}

/** @internal */
export interface Seams {
  readonly clock: Clock
  readonly random: Random
  readonly files: FileSystem
  readonly failpoints: Failpoints
}

/** What the callback of a transaction receives: a handle by participant name. */
export type TransactionHandles<P extends Participants> = {
  readonly [N in keyof P & string]: HandleOf<P[N]>
} & {
  /** Id of the global transaction, as logs, databases and errors show it. */
  readonly gtrid: string
  readonly name: string | undefined
}

/** What the log knows of a transaction. */
export type KnownOutcome = Extract<Outcome, 'committed' | 'rolled-back' | 'in-doubt'> | 'unknown'

const MARKER_SWEEP_MS = 60_000
const CLOSE_MS = 10_000

export class Coordinator<P extends Participants = Participants> {
  readonly #registry: Registry
  readonly #log: DecisionLog
  readonly #events: Events
  readonly #context: CommitContext
  readonly #recovery: RecoveryLoop
  readonly #state: CoordinatorState

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
    let log: OpenedLog | undefined
    try {
      const opened = await openFileDecisionLog(place, {
        ...seams,
        onEvent: (event) => events.emit('log:event', { ...event }),
      })
      log = opened
      const contactMs = options.contactMs ?? 1_000
      const { answered, unfit } = await firstContact(registry, opened, seams.clock, contactMs)
      if (unfit[0] !== undefined) throw unfit[0]
      const coordinator = new Coordinator<P>(options, seams, registry, await opened.start(), events)
      coordinator.#recovery.start()
      const clean = coordinator.#recovery.clean(answered)
      await within(seams.clock, options.recoverMs ?? 5_000, clean)
      return coordinator
    } catch (cause) {
      await log?.close().catch(() => undefined)
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
  ) {
    const { clock, failpoints } = seams
    this.#registry = registry
    this.#log = log
    this.#events = events
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
    const recoveryContext: RecoveryContext = shared
    this.#recovery = new RecoveryLoop(recoveryContext, clock, {
      intervalMs: options.recoveryIntervalMs ?? 5_000,
      markerSweepMs: MARKER_SWEEP_MS,
    })
    this.#context = {
      ...shared,
      clock,
      markers,
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
    try {
      this.#checkOpen()
      const names = new Set(this.#registry.keys())
      const checked = checkOptions(options, names, this.#context.limits.timeoutMs)
      return await runTransaction(this.#context, checked, (handles) =>
        work(handles as TransactionHandles<P>),
      )
    } catch (cause) {
      if (cause instanceof TransactionError || !(cause instanceof UnanimousError)) throw cause
      throw new TransactionError(cause.code, cause.message, {
        outcome: 'rolled-back',
        gtrid: '',
        hint: cause.hint,
        cause,
      })
    }
  }

  /**
   * What is known of a transaction. `unknown` for one that the log has forgotten, or never held:
   * after all branches were settled the log keeps nothing.
   */
  outcome(gtrid: string): KnownOutcome {
    switch (this.#log.register(gtrid)) {
      case 'commit':
        return 'committed'
      case 'abort':
        return 'rolled-back'
      case 'handed-over':
      case 'open':
        return 'in-doubt'
      case 'none':
        return 'unknown'
    }
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
    await this.#recovery.stop()
    if (waited !== LATE) await within(clock, CLOSE_MS, markers.flush())
    await closeAll(this.#registry)
    await this.#log.close()
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
