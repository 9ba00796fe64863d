/**
 * Every error that leaves this project.
 *
 *   UnanimousError        something could not be opened, configured or asked; no transaction is involved
 *     LogCorruptError     the decision log is damaged: where, and what to do
 *   TransactionError      a global transaction did not commit, or it is not known that it did
 *
 * A caller matches on `code`, and decides by `outcome`: what is known about the data.
 */
import type { Outcome, RefusalCode } from './protocol/vocabulary.ts'

/** Codes of errors that do not belong to a transaction. */
export type ErrorCode =
  /** An option, a name or an id has a wrong form. */
  | 'INVALID_OPTION'
  /** A participant cannot take part in two-phase commit as it is set up. */
  | 'PARTICIPANT_UNFIT'
  /** A participant could not be reached. */
  | 'PARTICIPANT_UNREACHABLE'
  /** The name stands for no configured participant. */
  | 'PARTICIPANT_UNKNOWN'
  /** Another process owns the log. */
  | 'LOG_LOCKED'
  /** The log directory cannot be read or written. */
  | 'LOG_UNREADABLE'
  /** The log is damaged: its decisions cannot be told for certain. */
  | 'LOG_CORRUPT'
  /** This log is a copy of another one, or its directory was moved or restored. */
  | 'LOG_COPIED'
  /** The log's file system gives no guarantee that two-phase commit could stand on. */
  | 'LOG_UNSAFE'
  /** The log has no room for another transaction's decision. */
  | 'LOG_FULL'
  /** A write to the log failed earlier: it takes no further decision. */
  | 'LOG_POISONED'
  /** The coordinator was closed, or is being drained. */
  | 'COORDINATOR_CLOSED'
  /** The running coordinator that holds the log did not answer on its socket. */
  | 'COORDINATOR_UNREACHABLE'
  /** The command line's configuration module is missing or wrong. */
  | 'CONFIG_INVALID'
  /** A gtrid is not known here. */
  | 'TRANSACTION_UNKNOWN'
  /** A connection that was taken outside of the transaction was used inside it. */
  | 'NOT_ENLISTED'
  /** An operator asked for the opposite of what the log decided, and did not insist. */
  | 'AGAINST_DECISION'

/** Codes of errors that a transaction ends with. */
export type TransactionErrorCode =
  | RefusalCode
  /** The callback threw. */
  | 'CALLBACK_FAILED'
  /** The transaction was rolled back by `rollback()`. */
  | 'ROLLED_BACK'
  /** Inside a branch the application ended what it had not begun, or asked for what a savepoint cannot be. */
  | 'TRANSACTION_CONTROL'
  /** The transaction has ended: it takes no further work. */
  | 'TRANSACTION_ENDED'
  | 'DEADLINE_EXCEEDED'
  | 'SIGNAL_ABORTED'
  /** No connection came free in time while the transaction held another. */
  | 'ACQUIRE_TIMEOUT'
  /** Too much is unsettled in a participant: it takes no new branches until recovery has settled some. */
  | 'PARTICIPANT_OVER_BUDGET'
  /** A branch could not be begun. */
  | 'ENLIST_FAILED'
  /** The commit decision could not be made durable, or not in time. */
  | 'DECISION_IN_DOUBT'
  /** Decided, but no branch is known to be committed yet. */
  | 'COMMIT_UNCONFIRMED'
  /** One branch, no log record, and the answer to its COMMIT was lost. */
  | 'ONE_PHASE_IN_DOUBT'
  /** A branch is proven to have ended against the decision. */
  | 'HEURISTIC_MIXED'
  /** A branch may have ended against the decision. */
  | 'HEURISTIC_HAZARD'
  | ErrorCode

export interface ErrorDetails {
  /** The setting or command that helps. */
  readonly hint?: string | undefined
  readonly cause?: unknown
}

const BRAND: unique symbol = Symbol.for('unanimous.error') as never

/** Base of every error of this library; `instanceof` works across duplicate installations. */
export class UnanimousError extends Error {
  override readonly name: string = 'UnanimousError'
  /** Stable: match on it. */
  readonly code: TransactionErrorCode
  /** The setting or command that helps. */
  readonly hint: string | undefined
  /** @internal */
  readonly [BRAND] = true

  constructor(code: TransactionErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.hint = details.hint
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (typeof value !== 'object' || value === null || !(BRAND in value)) return false
    return this === UnanimousError || ('name' in value && value.name === this.name)
  }
}

/** The decision log is damaged. It is never read as "no decision". */
export class LogCorruptError extends UnanimousError {
  override readonly name = 'LogCorruptError'
  readonly file: string
  /** Byte offset of the damage in the file. */
  readonly offset: number

  constructor(file: string, offset: number, what: string, details: ErrorDetails = {}) {
    super('LOG_CORRUPT', `${what} in ${file} at offset ${offset}`, {
      hint: 'Keep the directory as it is. `unanimous log verify` shows the extent; restore the file from the same disk, or finish the listed branches by hand.',
      ...details,
    })
    this.file = file
    this.offset = offset
  }
}

/** A branch as an error reports it. */
export interface BranchReport {
  readonly participant: string
  /** What is known of its data. */
  readonly outcome: Outcome | 'read-only'
  readonly reason?: string
}

export interface TransactionErrorDetails extends ErrorDetails {
  /** What happened to the data. */
  readonly outcome: Outcome
  readonly gtrid: string
  readonly branches?: readonly BranchReport[]
  readonly retryable?: boolean
  readonly recoverable?: boolean
}

/** A global transaction did not commit, or it is not known that it did. */
export class TransactionError extends UnanimousError {
  override readonly name = 'TransactionError'
  /** `rolled-back`: no database has the work or will have it. `in-doubt`: not known here. */
  readonly outcome: Outcome
  /** Empty when the transaction was refused before it began. */
  readonly gtrid: string
  readonly branches: readonly BranchReport[]
  /** The cause is transient: running the whole callback again may succeed. */
  readonly retryable: boolean
  /** `in-doubt` only: whether recovery will settle it. */
  readonly recoverable: boolean
  /** How often the callback was run; this error is the last one's. More than 1 with `retry` only. */
  attempts = 1

  constructor(code: TransactionErrorCode, message: string, details: TransactionErrorDetails) {
    super(code, message, details)
    this.outcome = details.outcome
    this.gtrid = details.gtrid
    this.branches = details.branches ?? []
    this.retryable = details.retryable ?? false
    this.recoverable = details.recoverable ?? details.outcome === 'in-doubt'
  }
}

/** A transaction's callers hear of it in one class of errors only: `cause` came before it had begun. */
export function asTransactionError(cause: unknown): unknown {
  if (cause instanceof TransactionError || !(cause instanceof UnanimousError)) return cause
  const { code, message, hint } = cause
  return new TransactionError(code, message, { outcome: 'rolled-back', gtrid: '', hint, cause })
}

/** What was thrown, as an error. */
export function errorOf(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(messageOf(cause))
}

/** The message of anything that was thrown, on one line: query libraries put the SQL below theirs. */
export function messageOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause)
  return message.trim().replace(/\s*\n\s*/g, ' ')
}
