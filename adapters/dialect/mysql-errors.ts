/**
 * Which errors of MySQL and MariaDB are answers, verb by verb (rule 3). What is not listed is unknown.
 */
import type { Refusal } from '../../src/adapter.ts'

/** An error packet of the server, as far as we read it. */
export interface MysqlError {
  readonly errno: number
  readonly message: string
}

/** Shut down, killed, timed out while idle, network: they end the session and answer nothing. */
const ENDS_SESSION = new Set([1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927, 3169, 4031])

/** Reads an error as the server's own; connect errors carry a negative errno, lost ones `fatal`. */
export function asMysqlError(cause: unknown): MysqlError | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined
  const { errno, sqlState, fatal, message } = cause as Partial<Record<string, unknown>>
  if (typeof errno !== 'number' || errno <= 0 || typeof sqlState !== 'string') return undefined
  if (fatal === true || ENDS_SESSION.has(errno) || typeof message !== 'string') return undefined
  return { errno, message }
}

/** Out of connections (the server's, the user's), shutting down: nothing was begun. */
export const COMES_BACK: readonly number[] = [1040, 1203, 1053]

/** The whole packet is more than the server takes: it reads none of it, and ends the session. */
export const PACKET_TOO_LARGE = 1153
export const DUPLICATE_KEY = 1062
export const NO_TABLE = 1146
/** The server logs statements, which it cannot at READ COMMITTED. */
export const STATEMENTS_ONLY = 1665
/** A privilege on the server is missing; on a table. */
export const NEEDS_PRIVILEGE = 1227
export const TABLE_DENIED = 1142
export const NO_SUCH_THREAD = 1094
export const LOCK_WAIT_TIMEOUT = 1205
export const NOTA = 1397
/** XA RECOVER without XA_RECOVER_ADMIN (MySQL). */
export const RMERR = 1401
export const UNKNOWN_VARIABLE = 1193

/** XA START (1400), or SET TRANSACTION before it (1568), found a transaction open in the session. */
export function saysTransactionOpen(error: MysqlError): boolean {
  return error.errno === 1400 || error.errno === 1568
}

/** XA_RBROLLBACK, XA_RBTIMEOUT, XA_RBDEADLOCK: the server has rolled the branch back. */
const ROLLED_BACK = new Set([1402, 1613, 1614])

export function saysRolledBack(error: MysqlError): boolean {
  return ROLLED_BACK.has(error.errno)
}

/** The server takes no writes (read_only, super_read_only), as before a planned failover. */
const READ_ONLY_SERVER = 1290

/**
 * XA PREPARE and XA COMMIT … ONE PHASE. NOTA, INVAL and RMFAIL are raised before the engines are
 * asked, and so is 1290 (measured on MariaDB 10.11 and 11.8, MySQL 9.7: nothing is there afterwards);
 * the others say that the branch was rolled back; 4091 is MySQL's temporary table.
 */
const NO_EFFECT = new Set([NOTA, 1398, 1399, ...ROLLED_BACK, 4091, READ_ONLY_SERVER])
/** In a merged packet the INSERT of the marker may have failed instead, and stopped the rest. */
const NO_EFFECT_MERGED = new Set([...NO_EFFECT, DUPLICATE_KEY, NO_TABLE, 1142, 1792])

/** Whether the error proves that XA PREPARE or XA COMMIT … ONE PHASE took no effect. */
export function provesNoEffect(error: MysqlError, merged: boolean): boolean {
  return (merged ? NO_EFFECT_MERGED : NO_EFFECT).has(error.errno)
}

/**
 * After these a branch can only be rolled back, although the server would prepare it: the failed
 * statement's effect is gone and the branch goes on (1205, 1317, 1969), or the branch is dead.
 */
const DOOMS = new Set([LOCK_WAIT_TIMEOUT, 1213, 1317, 1969, ...ROLLED_BACK])

export function doomsBranch(error: MysqlError): boolean {
  return DOOMS.has(error.errno) || saysRollbackOnly(error)
}

const TRANSIENT = new Set([LOCK_WAIT_TIMEOUT, 1213, 1613, 1614])

/** Whether the same work may succeed when it is run again. */
export function isTransient(error: MysqlError | undefined): boolean {
  return error !== undefined && (TRANSIENT.has(error.errno) || saysRollbackOnly(error))
}

/** MariaDB's way to say that a deadlock or a time-out has doomed the branch. */
function saysRollbackOnly(error: MysqlError): boolean {
  return error.errno === 1399 && error.message.includes('ROLLBACK ONLY')
}

/**
 * Refused in a branch before it ran: what would commit by itself (1399: DDL, LOCK TABLES, a COMMIT in a
 * procedure), and MySQL's temporary tables (4091).
 */
export function saysNotInBranch({ errno, message }: MysqlError): boolean {
  return errno === 4091 || (errno === 1399 && /\bACTIVE\b/.test(message))
}

/** Whether XA END says that the branch is not the one that we began. */
function saysNotOurs(error: MysqlError): boolean {
  return error.errno === NOTA || (error.errno === 1399 && !saysRollbackOnly(error))
}

/** The refusal behind an error of XA END, XA PREPARE, XA COMMIT … ONE PHASE or the marker. */
export function refusalOf(error: MysqlError, cause: unknown): Refusal {
  const base = { reason: error.message, retryable: isTransient(error), cause }
  if (error.errno === 4091) return { ...base, code: 'NOT_PREPARABLE' }
  if (doomsBranch(error)) return { ...base, code: 'STATEMENT_FAILED' }
  if (saysNotOurs(error)) {
    return {
      ...base,
      code: 'ENDED_BY_APPLICATION',
      hint: 'what ran before it may be committed; let the callback return or throw instead',
    }
  }
  const hint = HINTS.get(error.errno)
  return { ...base, code: 'PREPARE_REFUSED', ...(hint === undefined ? {} : { hint }) }
}

const HINTS: ReadonlyMap<number, string> = new Map([
  [NO_TABLE, 'the table unanimous_branch is gone: run `unanimous init`'],
  [1142, 'GRANT SELECT, INSERT, DELETE ON the table unanimous_branch TO the user'],
  [1792, 'the branch was declared read-only'],
])
