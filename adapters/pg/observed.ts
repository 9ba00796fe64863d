/**
 * What the application's statements showed. The vote depends on it: whether the block is aborted,
 * whether the application ended it, and whether anything can have been written.
 */
import { messageOf, type Refusal } from '../../src/adapter.ts'
import { mayHideControl } from '../dialect/control.ts'
import {
  ABORTED_BLOCK,
  asPostgresError,
  endedByApplication,
  isTransient,
  refusalOf,
} from '../dialect/postgres-errors.ts'
import { connectionLost } from '../dialect/reach.ts'

/** What an answer says about the transaction. */
export interface Tagged {
  readonly command: string | null
  readonly rowCount: number | null
}

/** Tags after which a transaction may still be without a transaction id. */
const MAY_READ_ONLY = new Set(
  'SELECT SHOW SET RESET BEGIN START COMMIT SAVEPOINT RELEASE ROLLBACK DECLARE FETCH MOVE CLOSE EXPLAIN LOCK PREPARE DEALLOCATE DO CALL'.split(
    ' ',
  ),
)
const COUNTED = new Set('INSERT UPDATE DELETE MERGE COPY'.split(' '))

export class Observed {
  /** The error that aborted the block: no statement has succeeded since. */
  abortedBy: unknown
  /** A COMMIT of the application was seen. */
  committed = false
  /** The text that aborted the block may have ended ours before: the vote packet cannot look. */
  suspect = false
  /** A tag was seen that only a writing transaction gives. */
  wrote = false

  succeeded(results: readonly Tagged[]): void {
    this.abortedBy = undefined
    this.suspect = false
    for (const { command, rowCount } of results) {
      if (command === 'COMMIT') this.committed = true
      if (command === null || MAY_READ_ONLY.has(command)) continue
      this.wrote ||= !COUNTED.has(command) || rowCount !== 0
    }
  }

  failed(cause: unknown, text: unknown): void {
    const error = asPostgresError(cause)
    if (error === undefined) return
    if (error.code !== ABORTED_BLOCK || this.abortedBy === undefined) this.abortedBy = cause
    if (typeof text === 'string' && mayHideControl(text)) this.suspect = true
  }

  /** Whether part of the branch may be committed already. */
  get ended(): boolean {
    return this.committed || this.suspect
  }

  /** What speaks against committing; the vote packet finds the same, one trip later. */
  refusal(): Refusal | undefined {
    if (this.ended) return endedByApplication(this.abortedBy)
    return this.abortedBy === undefined ? undefined : swallowed(this.abortedBy)
  }

  /** What stands behind an error of a verb. */
  refusalOf(cause: unknown): Refusal {
    const error = asPostgresError(cause)
    if (error === undefined) return connectionLost(cause)
    if (error.code !== ABORTED_BLOCK) return refusalOf(error, cause)
    return this.refusal() ?? swallowed(cause)
  }
}

/** The block is aborted, yet the callback returned. */
function swallowed(cause: unknown): Refusal {
  return {
    code: 'STATEMENT_FAILED',
    reason: `an SQL error was swallowed: ${messageOf(cause)}`,
    retryable: isTransient(asPostgresError(cause)),
    hint: 'let the error leave the callback, or put the statement behind a SAVEPOINT',
    cause,
  }
}
