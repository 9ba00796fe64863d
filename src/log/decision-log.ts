/**
 * DecisionLog: a write-once register per global transaction (PROOF.md §4).
 *
 *   register of a live transaction
 *     open ──decide(commit)──► handed over ──force returned──► commit        (durable, for ever)
 *       │                           └──────force failed─────► unknown, log poisoned
 *       └────decide(abort)───► abort                     (kept while the transaction is live)
 *
 * What every implementation keeps:
 *  1. `decide` answers what was decided, whoever decided first, and only what is durable.
 *  2. An abort offered after a commit was handed over waits for that force, and rejects if it fails.
 *  3. A commit for a gtrid that is not live is refused.
 *  4. After a failed write or force the log is poisoned: no retry, no further decision.
 *  5. A decision is forgotten only by `end`, after every branch answered, or by an operator.
 */
import type { BranchAnswer, BranchRecord, Decision } from '../protocol/vocabulary.ts'
import type { Incarnation } from '../xid.ts'

/** Longest JSON text of a transaction's `meta`, in bytes. */
export const MAX_META_BYTES = 1024
/** Longest name of a transaction, in bytes. */
export const MAX_NAME_BYTES = 128
/** Most branches of one global transaction: records have a bounded size. */
export const MAX_BRANCHES = 16

/** The commit record: all that recovery and an operator will have. */
export interface CommitRecord {
  readonly gtrid: string
  /** When the decision was handed to the log, in ms since the epoch. */
  readonly decidedAtMs: number
  readonly name?: string
  /** JSON text, at most {@link MAX_META_BYTES}. */
  readonly meta?: string
  readonly branches: readonly BranchRecord[]
}

/** A commit decision that is still needed: some branch has not answered, or answered heuristically. */
export interface PendingDecision {
  readonly record: CommitRecord
  /** Answers so far, by bqual. */
  readonly answers: ReadonlyMap<string, BranchAnswer>
}

/** How an incarnation found in a branch relates to this log. */
export type IncarnationStanding =
  | 'current'
  | 'older'
  /** Below the lowest epoch that the log still keeps: proves nothing, an orphan. */
  | 'forgotten'
  /** At or above it, and unknown: this log is a copy. */
  | 'alien'

/** What the register of a transaction holds. */
export type RegisterState = 'open' | 'handed-over' | 'abort' | 'commit' | 'none'

/** What a log has done since it was opened, and the room that it has. */
export interface LogUsage {
  /** Forces that were durable. */
  readonly forces: number
  /** What they wrote, in bytes: whole pages, twice. */
  readonly bytes: number
  /** Commit decisions that are still needed. */
  readonly decisions: number
  /** What the log takes on its disk, in bytes. */
  readonly sizeBytes: number
  /** A write failed: it takes no further decision. */
  readonly poisoned: boolean
}

export interface DecisionLog {
  readonly logId: string
  readonly usage: LogUsage
  readonly incarnation: Incarnation
  /** The write error that poisoned the log; `undefined` while it is sound. */
  readonly poison: Error | undefined

  /** How an incarnation relates to this log. */
  standing(incarnation: Incarnation): IncarnationStanding

  /**
   * Opens the register of a new global transaction and reserves the space of its decision.
   *
   * @throws UnanimousError LOG_FULL, LOG_POISONED or COORDINATOR_CLOSED
   */
  begin(): string

  /** What the register holds at this moment; `none` when the transaction is neither live nor logged. */
  register(gtrid: string): RegisterState

  /**
   * Offers a commit decision. Resolves with what was decided, once that is durable.
   *
   * @throws UnanimousError LOG_POISONED when the force failed: the decision is in doubt
   */
  decide(record: CommitRecord): Promise<Decision>

  /**
   * Offers an abort decision: durable by absence, so nothing is written.
   *
   * @throws UnanimousError LOG_POISONED when a commit had been handed over and its force failed
   */
  abort(gtrid: string): Promise<Decision>

  /** The transaction is not live any more: its register is dropped unless it holds a commit. */
  release(gtrid: string): void

  /**
   * Records how a branch of a logged commit ended. Rides on the next force, or is forced by itself
   * within a second. Resolves once durable. Nobody has to listen: a rejection is no unhandled one.
   */
  answered(gtrid: string, bqual: string, answer: BranchAnswer): Promise<void>

  /**
   * Forgets a commit decision. Resolves once durable.
   *
   * @throws InvariantError unless every branch answered `committed` or `committed-unproven`
   */
  end(gtrid: string): Promise<void>

  /** Commit decisions that are still needed, oldest first. */
  pending(): readonly PendingDecision[]

  /** A pending decision by its gtrid. */
  find(gtrid: string): PendingDecision | undefined

  /** Forces what is waiting and releases the lock. Idempotent. */
  close(): Promise<void>
}

/** What an operator did by hand, and why. The log keeps the newest of them, 256 or 16 KiB. */
export interface OperatorEntry {
  /** What was done, one word or two. At most 64 bytes, as `gtrid` and `bqual`. */
  readonly action: string
  readonly gtrid: string
  /** The branch that it was done to; absent when it concerns the whole transaction. */
  readonly bqual?: string
  /** At most 128 bytes. */
  readonly who: string
  /** At most 255 bytes. */
  readonly host: string
  /** At most 1,024 bytes. */
  readonly reason: string
}

/** A decision log that an operator can write to. */
export interface OperatedLog extends DecisionLog {
  /** What operators did by hand, oldest first, as far as the log keeps it. */
  readonly operators: readonly OperatorNote[]

  /**
   * Puts on record what an operator did. Resolves once durable.
   *
   * @throws UnanimousError INVALID_OPTION, LOG_FULL or LOG_POISONED
   */
  operator(entry: OperatorEntry): Promise<void>

  /**
   * Forgets a commit decision although a branch did not answer, or answered against it; who did so stays
   * on record. Resolves once durable.
   *
   * @throws UnanimousError INVALID_OPTION, LOG_FULL, LOG_POISONED, or TRANSACTION_UNKNOWN when no such
   * decision is pending
   */
  forget(entry: OperatorEntry): Promise<void>
}

/** A log that was replayed and is owned, but has not forced an incarnation of its own yet. */
export interface OpenedLog {
  readonly logId: string
  /** As {@link DecisionLog.standing}; nothing is `current` yet. */
  standing(incarnation: Incarnation): IncarnationStanding
  /** Makes what recovery will act on durable again, then forces a new incarnation. Once. */
  start(): Promise<OperatedLog>
  /** Releases the lock without having started. */
  close(): Promise<void>
}

/** A pending decision, and what only the files of the log tell of it: a coordinator forgets that. */
export interface LoggedDecision extends PendingDecision {
  /** When each branch answered, by bqual, in ms since the epoch. */
  readonly answeredAtMs?: ReadonlyMap<string, number>
}

/** Where a commit record lies: the segment, and where the batch begins that holds it, in bytes. */
export interface LogPlace {
  readonly file: string
  readonly offset: number
}

/** An operator's entry as it is on record. */
export interface OperatorNote extends OperatorEntry {
  readonly atMs: number
}

/** What can be read of a log without owning it. */
export interface LogSnapshot {
  readonly logId: string
  /** Of the newest incarnation: one more for each owner that it has had. From its files only. */
  readonly lastEpoch?: number
  readonly pending: readonly LoggedDecision[]
  /** A pending decision by its gtrid. */
  find(gtrid: string): LoggedDecision | undefined
  /** What operators did by hand, oldest first, as far as the log keeps it; from its files only. */
  readonly operators?: readonly OperatorNote[]
  /** Of a pending decision's commit record; from the files only. */
  placeOf?(gtrid: string): LogPlace | undefined
  /** As {@link DecisionLog.standing} for a reader: nothing is `current`. */
  standing(incarnation: Incarnation): IncarnationStanding
  /** The process that holds the log's lock, when one does. */
  readonly owner: LogOwner | undefined
}

export interface LogOwner {
  readonly pid: number
  readonly host: string
  readonly sinceMs: number
}

/** Somebody who left no word of who it is. */
export const UNKNOWN_OWNER: LogOwner = { pid: 0, host: 'unknown', sinceMs: 0 }

/** Something about the log that an operator should see. */
export type LogEvent =
  | {
      readonly kind: 'tail-cut'
      readonly file: string
      readonly offset: number
      readonly bytes: number
      /** Where what was cut is kept. */
      readonly copy: string
    }
  | { readonly kind: 'copy-repaired'; readonly file: string; readonly offset: number }
  | { readonly kind: 'poisoned'; readonly cause: Error }
  /** A guarantee is weaker than it should be: which, and why. */
  | { readonly kind: 'warning'; readonly message: string }
