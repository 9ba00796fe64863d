/**
 * FileDecisionLog: the register of decision-log.ts over a log on files.
 *
 * A decision is answered only after its batch is durable (log-writer.ts). An abort is durable by
 * absence: the register refuses a commit from then on, and nothing is written.
 */
import type { Clock } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import type { BranchAnswer, Decision } from '../protocol/vocabulary.ts'
import { TurnoverMap } from '../turnover-map.ts'
import { gtridPrefix, type Incarnation } from '../xid.ts'
import type {
  CommitRecord,
  IncarnationStanding,
  LogUsage,
  OperatedLog,
  OperatorEntry,
  OperatorNote,
  PendingDecision,
  RegisterState,
} from './decision-log.ts'
import { Entry, type Ride } from './entry.ts'
import type { LogState } from './log-state.ts'
import { type LogWriter, poisonedError } from './log-writer.ts'
import {
  type AnsweredRecord,
  type CommitLogRecord,
  type EndRecord,
  isHeuristic,
  type LogRecord,
} from './record.ts'
import { checkCommit, checkOperator } from './record-limits.ts'

/** The register of a live transaction, and its commit record's way to the disk. */
class Register extends Entry {
  value: 'open' | 'handed-over' | 'abort' | 'commit' = 'open'
  decision: Promise<Decision> | undefined
  #record: CommitLogRecord | undefined
  #resolve: ((decision: Decision) => void) | undefined
  #reject: ((cause: unknown) => void) | undefined
  readonly #onDecided: () => void

  constructor(onDecided: () => void) {
    super()
    this.#onDecided = onDecided
  }

  get record(): CommitLogRecord {
    invariant(this.#record !== undefined, 'a record is handed over before it is written')
    return this.#record
  }

  handOver(commit: CommitRecord): Promise<Decision> {
    this.#record = { type: 'commit', commit }
    this.value = 'handed-over'
    this.decision = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    return this.decision
  }

  onDurable(): void {
    this.value = 'commit'
    this.#onDecided()
    this.#resolve?.('commit')
  }

  onFailed(cause: unknown): void {
    this.#reject?.(cause)
  }
}

/** An answer or an end on its way to the disk. */
class LazyEntry<R extends LogRecord> extends Entry {
  readonly record: R
  readonly #ride: Ride

  constructor(record: R, ride: Ride) {
    super()
    this.record = record
    this.#ride = ride
    ride.board()
  }

  get durable(): Promise<void> {
    return this.#ride.durable
  }

  onDurable(): void {
    this.#ride.onDurable()
  }

  onFailed(cause: unknown): void {
    this.#ride.onFailed(cause)
  }
}

class EndEntry extends LazyEntry<EndRecord> {
  readonly #superseded: readonly Entry[]
  readonly #onEnded: () => void

  constructor(gtrid: string, ride: Ride, superseded: readonly Entry[], onEnded: () => void) {
    super({ type: 'end', gtrid }, ride)
    this.#superseded = superseded
    this.#onEnded = onEnded
  }

  override onDurable(): void {
    this.#onEnded()
    for (const entry of this.#superseded) entry.onDurable()
    super.onDurable()
  }

  override onFailed(cause: unknown): void {
    for (const entry of this.#superseded) entry.onFailed(cause)
    super.onFailed(cause)
  }
}

/** What was offered about a logged commit and may not be durable yet. */
interface Offered {
  readonly answers: LazyEntry<AnsweredRecord>[]
  end: EndEntry | undefined
}

export interface FileDecisionLogParts {
  readonly state: LogState
  readonly incarnation: Incarnation
  readonly clock: Clock
  writer(live: () => number): LogWriter
  /** Releases the lock. */
  readonly release: () => Promise<void>
}

export class FileDecisionLog implements OperatedLog {
  readonly logId: string
  readonly incarnation: Incarnation
  readonly #state: LogState
  readonly #clock: Clock
  readonly #writer: LogWriter
  readonly #release: () => Promise<void>
  readonly #prefix: string
  readonly #registers = new TurnoverMap<string, Register>()
  readonly #offered = new TurnoverMap<string, Offered>()
  /** Registers that may still hand over a decision, or whose force has not returned; and records of operators. */
  #undecided = 0
  readonly #onDecided = (): void => {
    this.#undecided -= 1
  }
  #sequence = 0
  #closing: Promise<void> | undefined

  constructor(parts: FileDecisionLogParts) {
    this.logId = parts.state.logId
    this.incarnation = parts.incarnation
    this.#state = parts.state
    this.#clock = parts.clock
    this.#writer = parts.writer(() => this.#undecided)
    this.#release = parts.release
    this.#prefix = gtridPrefix(this.logId, this.incarnation)
  }

  get poison(): Error | undefined {
    return this.#writer.poison
  }

  get usage(): LogUsage {
    const decisions = this.#state.pendingCount
    return { ...this.#writer.usage, decisions, poisoned: this.poison !== undefined }
  }

  get operators(): readonly OperatorNote[] {
    return this.#state.operators.map(({ type: _, ...entry }) => entry)
  }

  standing(incarnation: Incarnation): IncarnationStanding {
    return this.#state.standing(incarnation, this.incarnation)
  }

  begin(): string {
    this.#refuseWhenEnded()
    if (!this.#writer.hasRoom(this.#undecided + 1)) throw this.#full()
    this.#sequence += 1
    const gtrid = this.#prefix + this.#sequence.toString(36)
    this.#registers.set(gtrid, new Register(this.#onDecided))
    this.#undecided += 1
    return gtrid
  }

  register(gtrid: string): RegisterState {
    const register = this.#registers.get(gtrid)
    if (register !== undefined) return register.value
    return this.#state.find(gtrid) === undefined ? 'none' : 'commit'
  }

  decide(record: CommitRecord): Promise<Decision> {
    const { gtrid } = record
    const register = this.#registers.get(gtrid)
    if (register === undefined) return this.#decideUnknown(gtrid)
    if (register.decision !== undefined) return register.decision
    try {
      this.#refuseWhenEnded()
      checkCommit(record)
      this.#writer.nameServers(record)
    } catch (cause) {
      return Promise.reject(cause)
    }
    const decision = register.handOver(record)
    this.#writer.append(register, 'urgent')
    return decision
  }

  abort(gtrid: string): Promise<Decision> {
    const register = this.#registers.get(gtrid)
    if (register === undefined) {
      if (this.#state.find(gtrid) !== undefined) return Promise.resolve('commit')
      // Presumed abort, unless a failed force may have left the record of it on the disk.
      if (this.poison !== undefined) return Promise.reject(poisonedError(this.poison))
      return Promise.resolve('abort')
    }
    if (register.decision === undefined) {
      register.value = 'abort'
      register.decision = Promise.resolve('abort')
      this.#undecided -= 1
    }
    return register.decision
  }

  release(gtrid: string): void {
    const value = this.#registers.get(gtrid)?.value
    // Handed over and never answered: in doubt for as long as this process lives.
    if (value === 'handed-over') return
    if (value === 'open') this.#undecided -= 1
    this.#registers.delete(gtrid)
  }

  answered(gtrid: string, bqual: string, answer: BranchAnswer): Promise<void> {
    const pending = this.#state.find(gtrid)
    // Ended: every branch had answered.
    if (pending === undefined) return Promise.resolve()
    const isBranch = pending.record.branches.some((branch) => branch.bqual === bqual)
    if (!isBranch) invariant(false, `${bqual} is a branch of ${gtrid}`)
    const offered = this.#offer(gtrid)
    if (offered.end !== undefined) return offered.end.durable
    const last = offered.answers.findLast(({ record }) => record.bqual === bqual)
    const known = last?.record.answer ?? pending.answers.get(bqual)
    // The server's word, or proof, stands against any later conclusion from absence.
    if (known === answer || known === 'committed') return last?.durable ?? Promise.resolve()
    const type = isHeuristic(answer) ? 'heuristic' : 'answered'
    const entry = new LazyEntry(
      { type, gtrid, bqual, answer, atMs: this.#clock.now() },
      this.#writer.ride,
    )
    offered.answers.push(entry)
    this.#writer.append(entry, 'lazy')
    return entry.durable
  }

  end(gtrid: string): Promise<void> {
    const pending = this.#state.find(gtrid)
    if (pending === undefined) return Promise.resolve()
    const offered = this.#offer(gtrid)
    if (offered.end !== undefined) return offered.end.durable
    for (const { bqual } of pending.record.branches) {
      const last = offered.answers.findLast(({ record }) => record.bqual === bqual)
      const answer = last?.record.answer ?? pending.answers.get(bqual)
      const isCommitted = answer === 'committed' || answer === 'committed-unproven'
      if (!isCommitted) invariant(false, `${gtrid} ends after ${bqual} answered`)
    }
    // The end says all that an answer could: those that still wait need not be written.
    const waiting = offered.answers.filter((entry) => this.#writer.supersede(entry))
    offered.end = new EndEntry(gtrid, this.#writer.ride, waiting, () => this.#offered.delete(gtrid))
    this.#writer.append(offered.end, 'lazy')
    return offered.end.durable
  }

  async operator(entry: OperatorEntry): Promise<void> {
    checkOperator(entry)
    await this.#appendOperator(entry)
  }

  async forget(entry: OperatorEntry): Promise<void> {
    const { gtrid } = entry
    checkOperator(entry)
    if (this.#state.find(gtrid) === undefined) {
      throw new UnanimousError('TRANSACTION_UNKNOWN', `no decision of ${gtrid} is pending`)
    }
    const offered = this.#offer(gtrid)
    if (offered.end === undefined) {
      const recorded = this.#appendOperator(entry)
      offered.end = new EndEntry(gtrid, this.#writer.ride, [], () => this.#offered.delete(gtrid))
      // Behind the record of who did it, so that the end is never there alone.
      this.#writer.append(offered.end, 'urgent')
      await Promise.all([recorded, offered.end.durable])
    } else await offered.end.durable
  }

  pending(): readonly PendingDecision[] {
    return this.#state.pending()
  }

  find(gtrid: string): PendingDecision | undefined {
    return this.#state.find(gtrid)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      await this.#writer.close()
    } finally {
      await this.#release()
    }
  }

  #decideUnknown(gtrid: string): Promise<Decision> {
    if (this.#state.find(gtrid) !== undefined) return Promise.resolve('commit')
    return Promise.reject(
      new UnanimousError('TRANSACTION_UNKNOWN', `${gtrid} is not live: its commit is refused`),
    )
  }

  #offer(gtrid: string): Offered {
    const known = this.#offered.get(gtrid)
    if (known !== undefined) return known
    const offered: Offered = { answers: [], end: undefined }
    this.#offered.set(gtrid, offered)
    return offered
  }

  #appendOperator(entry: OperatorEntry): Promise<void> {
    this.#refuseWhenEnded()
    // On its way it takes the place of a decision, and is smaller than any may be.
    if (!this.#writer.hasRoom(this.#undecided + 1)) throw this.#full()
    this.#undecided += 1
    const written = new LazyEntry(
      { type: 'operator', bqual: '', ...entry, atMs: this.#clock.now() } as const,
      this.#writer.ride,
    )
    this.#writer.append(written, 'urgent')
    return written.durable.finally(this.#onDecided)
  }

  #full(): UnanimousError {
    return new UnanimousError('LOG_FULL', 'the log has no room for another decision', {
      hint: `Free space on its disk, or raise segmentBytes; ${this.#undecided} transactions are live and ${this.#state.pendingCount} decisions are pending.`,
    })
  }

  #refuseWhenEnded(): void {
    if (this.poison !== undefined) throw poisonedError(this.poison)
    if (this.#closing !== undefined) {
      throw new UnanimousError('COORDINATOR_CLOSED', 'the decision log was closed', {
        hint: 'Let transactions end before the coordinator is closed.',
      })
    }
  }
}
