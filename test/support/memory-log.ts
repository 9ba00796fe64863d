/** The decision register in memory, for unit tests: its force can be held, failed and released. */
import { UnanimousError } from '../../src/errors.ts'
import { invariant } from '../../src/invariant.ts'
import type {
  CommitRecord,
  DecisionLog,
  IncarnationStanding,
  LogUsage,
  PendingDecision,
  RegisterState,
} from '../../src/log/decision-log.ts'
import { isCommitted } from '../../src/protocol/outcome.ts'
import type { BranchAnswer, Decision } from '../../src/protocol/vocabulary.ts'
import { formatGtrid, type Incarnation, sameIncarnation } from '../../src/xid.ts'

export class MemoryLog implements DecisionLog {
  readonly logId: string = '0000000000000000'
  readonly incarnation: Incarnation = { epoch: 7, nonce: 'abcdefgh' }
  poison: Error | undefined
  /** Of the incarnations that it still keeps. */
  lowestEpoch = 0
  /** Refuses the record before it is handed over. */
  full = false
  /** Waited for by every force. */
  force: Promise<void> = Promise.resolve()
  readonly trace: string[]
  readonly #registers: Map<string, RegisterState> = new Map()
  readonly #pending: Map<string, { record: CommitRecord; answers: Map<string, BranchAnswer> }> =
    new Map()
  #sequence = 0

  constructor(trace: string[]) {
    this.trace = trace
  }

  get usage(): LogUsage {
    const poisoned = this.poison !== undefined
    return { forces: 0, bytes: 0, decisions: this.#pending.size, sizeBytes: 0, poisoned }
  }

  standing(incarnation: Incarnation): IncarnationStanding {
    if (sameIncarnation(incarnation, this.incarnation)) return 'current'
    if (incarnation.epoch < this.lowestEpoch) return 'forgotten'
    return incarnation.epoch < this.incarnation.epoch ? 'older' : 'alien'
  }

  begin(): string {
    this.#sequence += 1
    const gtrid = formatGtrid({
      logId: this.logId,
      incarnation: this.incarnation,
      sequence: this.#sequence,
    })
    this.#registers.set(gtrid, 'open')
    return gtrid
  }

  register(gtrid: string): RegisterState {
    return this.#registers.get(gtrid) ?? 'none'
  }

  async decide(record: CommitRecord): Promise<Decision> {
    const { gtrid } = record
    if (this.register(gtrid) === 'abort') return 'abort'
    if (this.full) throw new UnanimousError('LOG_FULL', 'no room')
    invariant(this.register(gtrid) === 'open', 'a commit for a transaction that is not live')
    this.#registers.set(gtrid, 'handed-over')
    this.trace.push('log force')
    try {
      await this.force
    } catch (cause) {
      this.poison = cause instanceof Error ? cause : new Error(String(cause))
      throw new UnanimousError('LOG_POISONED', 'the log is poisoned', { cause })
    }
    this.trace.push('log durable')
    this.#registers.set(gtrid, 'commit')
    this.add(record)
    return 'commit'
  }

  async abort(gtrid: string): Promise<Decision> {
    const state = this.register(gtrid)
    if (state === 'commit') return 'commit'
    if (state === 'handed-over') {
      await this.force
      return 'commit'
    }
    this.#registers.set(gtrid, 'abort')
    this.trace.push('log abort')
    return 'abort'
  }

  release(gtrid: string): void {
    if (this.register(gtrid) !== 'commit') this.#registers.delete(gtrid)
  }

  async answered(gtrid: string, bqual: string, answer: BranchAnswer): Promise<void> {
    this.#pending.get(gtrid)?.answers.set(bqual, answer)
  }

  async end(gtrid: string): Promise<void> {
    const answers = [...(this.#pending.get(gtrid)?.answers.values() ?? [])]
    invariant(answers.every(isCommitted), 'an end before every answer')
    this.#pending.delete(gtrid)
    this.#registers.delete(gtrid)
    this.trace.push('log end')
  }

  pending(): readonly PendingDecision[] {
    return [...this.#pending.values()]
  }

  find(gtrid: string): PendingDecision | undefined {
    return this.#pending.get(gtrid)
  }

  async close(): Promise<void> {}

  /** Puts a decision of an earlier life into the log. */
  add(record: CommitRecord): void {
    this.#pending.set(record.gtrid, { record, answers: new Map() })
    this.#registers.set(record.gtrid, 'commit')
  }
}
