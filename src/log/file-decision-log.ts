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
import { gtridPrefix, type Incarnation } from '../xid.ts'
import type {
  CommitRecord,
  DecisionLog,
  IncarnationStanding,
  PendingDecision,
  RegisterState,
} from './decision-log.ts'
import type { LogState } from './log-state.ts'
import { type LogWriter, poisonedError } from './log-writer.ts'
import { checkCommit, isHeuristic } from './record.ts'

/** The register of a live transaction. */
interface Register {
  state: 'open' | 'handed-over' | 'abort' | 'commit'
  decision: Promise<Decision> | undefined
}

/** What was offered about a logged commit and may not be durable yet. */
interface Offered {
  readonly answers: Map<string, { answer: BranchAnswer; durable: Promise<void> }>
  end: Promise<void> | undefined
}

export interface FileDecisionLogParts {
  readonly state: LogState
  readonly incarnation: Incarnation
  readonly clock: Clock
  writer(live: () => number): LogWriter
  /** Releases the lock. */
  release(): Promise<void>
}

export class FileDecisionLog implements DecisionLog {
  readonly logId: string
  readonly incarnation: Incarnation
  readonly #state: LogState
  readonly #clock: Clock
  readonly #writer: LogWriter
  readonly #release: () => Promise<void>
  readonly #prefix: string
  readonly #registers = new Map<string, Register>()
  readonly #offered = new Map<string, Offered>()
  /** Registers that may still hand over a decision, or whose force has not returned. */
  #undecided = 0
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

  standing(incarnation: Incarnation): IncarnationStanding {
    return this.#state.standing(incarnation, this.incarnation)
  }

  begin(): string {
    this.#refuseWhenEnded()
    if (!this.#writer.hasRoom(this.#undecided + 1)) {
      throw new UnanimousError('LOG_FULL', 'the log has no room for another decision', {
        hint: `Free space on its disk, or raise segmentBytes; ${this.#undecided} transactions are live and ${this.#state.pendingCount} decisions are pending.`,
      })
    }
    this.#sequence += 1
    const gtrid = this.#prefix + this.#sequence.toString(36)
    this.#registers.set(gtrid, { state: 'open', decision: undefined })
    this.#undecided += 1
    return gtrid
  }

  register(gtrid: string): RegisterState {
    const register = this.#registers.get(gtrid)
    if (register !== undefined) return register.state
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
    register.state = 'handed-over'
    register.decision = this.#writer
      .append({ type: 'commit', commit: record }, 'urgent')
      .then((): Decision => {
        register.state = 'commit'
        this.#undecided -= 1
        return 'commit'
      })
    return register.decision
  }

  abort(gtrid: string): Promise<Decision> {
    const register = this.#registers.get(gtrid)
    if (register === undefined) {
      if (this.#state.find(gtrid) !== undefined) return Promise.resolve('commit')
      // Presumed abort, unless a failed force may have left the record of it on the disk.
      if (this.poison !== undefined) return Promise.reject(poisonedError(this.poison))
      return Promise.resolve('abort')
    }
    if (register.state === 'open') {
      register.state = 'abort'
      register.decision = Promise.resolve('abort')
      this.#undecided -= 1
    }
    return register.decision ?? Promise.resolve('abort')
  }

  release(gtrid: string): void {
    const state = this.#registers.get(gtrid)?.state
    // Handed over and never answered: in doubt for as long as this process lives.
    if (state === 'handed-over') return
    if (state === 'open') this.#undecided -= 1
    this.#registers.delete(gtrid)
  }

  answered(gtrid: string, bqual: string, answer: BranchAnswer): Promise<void> {
    const pending = this.#state.find(gtrid)
    // Ended: every branch had answered.
    if (pending === undefined) return Promise.resolve()
    invariant(
      pending.record.branches.some((branch) => branch.bqual === bqual),
      `${bqual} is a branch of ${gtrid}`,
    )
    const offered = this.#offer(gtrid)
    if (offered.end !== undefined) return offered.end
    const known = offered.answers.get(bqual)?.answer ?? pending.answers.get(bqual)
    // The server's word, or proof, stands against any later conclusion from absence.
    if (known === answer || known === 'committed') {
      return offered.answers.get(bqual)?.durable ?? Promise.resolve()
    }
    const type = isHeuristic(answer) ? 'heuristic' : 'answered'
    const record = { type, gtrid, bqual, answer, atMs: this.#clock.now() } as const
    const durable = this.#writer.append(record, 'lazy')
    offered.answers.set(bqual, { answer, durable })
    return durable
  }

  end(gtrid: string): Promise<void> {
    const pending = this.#state.find(gtrid)
    if (pending === undefined) return Promise.resolve()
    const offered = this.#offer(gtrid)
    if (offered.end !== undefined) return offered.end
    for (const { bqual } of pending.record.branches) {
      const answer = offered.answers.get(bqual)?.answer ?? pending.answers.get(bqual)
      invariant(
        answer === 'committed' || answer === 'committed-unproven',
        `${gtrid} ends after ${bqual} answered`,
      )
    }
    offered.end = this.#writer.append({ type: 'end', gtrid }, 'lazy').then(() => {
      this.#offered.delete(gtrid)
    })
    return offered.end
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
    const offered: Offered = { answers: new Map(), end: undefined }
    this.#offered.set(gtrid, offered)
    return offered
  }

  #refuseWhenEnded(): void {
    if (this.poison !== undefined) throw poisonedError(this.poison)
    if (this.#closing !== undefined) {
      throw new UnanimousError('COORDINATOR_CLOSED', 'the decision log was closed')
    }
  }
}
