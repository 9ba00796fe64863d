/**
 * Which errors of PostgreSQL are answers, verb by verb (rule 3). What is not listed is unknown.
 */
import type { Refusal } from '../../src/adapter.ts'
import { NOT_OURS } from './postgres.ts'

/** An ErrorResponse of the server, as far as we read it. */
export interface PostgresError {
  readonly code: string
  readonly severity: string
  readonly message: string
}

/**
 * Reads an error as the server's own. The severity tells it from a socket error whose code happens
 * to have five letters (EPIPE). What ends the session answers nothing; servers translate the word
 * FATAL, so the codes that end a session are read as well.
 */
export function asPostgresError(cause: unknown): PostgresError | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined
  const { code, severity, message } = cause as Partial<Record<string, unknown>>
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return undefined
  if (typeof severity !== 'string' || typeof message !== 'string') return undefined
  if (severity === 'FATAL' || severity === 'PANIC' || ENDS_SESSION.test(code)) return undefined
  return { code, severity, message }
}

/** Terminated, shut down, timed out while idle or in a transaction, protocol violation. */
const ENDS_SESSION = /^(?:57P..|25P03|25P04|08...)$/

/**
 * PREPARE TRANSACTION and COMMIT, and all that runs before them in their packet: deferred
 * constraints and triggers of users included. They raise before the transaction's record is
 * written; from then on PostgreSQL only panics. Not listed on purpose: 08 (protocol), 40003
 * (completion unknown), 57P (shutdown), 58 (system), XX (internal).
 */
const NO_EFFECT_CLASSES = new Set(
  '09 0A 0B 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 42 44 53 54 55 72 HV P0'.split(
    ' ',
  ),
)
const NO_EFFECT = new Set(['40000', '40001', '40002', '40P01', '57014'])

/** Whether the error proves that PREPARE or COMMIT took no effect. */
export function provesNoEffect(error: PostgresError): boolean {
  return NO_EFFECT.has(error.code) || NO_EFFECT_CLASSES.has(error.code.slice(0, 2))
}

const TRANSIENT = new Set(['40001', '40P01', '53200', '53300', '55P03'])

/** Whether the same work may succeed when it is run again. */
export function isTransient(error: PostgresError | undefined): boolean {
  return error !== undefined && TRANSIENT.has(error.code)
}

/** Shut down (by an administrator, by a crash), starting, out of connections: each ends the session. */
export const COMES_BACK: readonly string[] = ['57P01', '57P02', '57P03', '53300']

export const NO_BLOCK = '25P01'
export const ABORTED_BLOCK = '25P02'
export const DUPLICATE_KEY = '23505'
export const NO_TABLE = '42P01'
export const DENIED = '42501'

/** Whether the vote packet found that the block is not the one that we began. */
export function saysNotOurs(error: PostgresError): boolean {
  return error.code === NO_BLOCK || (error.code === '22P02' && error.message.includes(NOT_OURS))
}

/** The refusal behind an error of PREPARE or COMMIT. */
export function refusalOf(error: PostgresError, cause: unknown): Refusal {
  if (saysNotOurs(error)) return endedByApplication(cause)
  const hint = HINTS.get(error.code)
  return {
    code: error.code === '0A000' ? 'NOT_PREPARABLE' : 'PREPARE_REFUSED',
    reason: error.message,
    retryable: isTransient(error),
    cause,
    ...(hint === undefined ? {} : { hint }),
  }
}

export function endedByApplication(cause?: unknown): Refusal {
  return {
    code: 'ENDED_BY_APPLICATION',
    reason: 'the branch was ended by a COMMIT, ROLLBACK or BEGIN of the application',
    retryable: false,
    hint: 'what ran before it may be committed; let the callback return or throw instead',
    cause,
  }
}

/** How COMMIT PREPARED and ROLLBACK PREPARED answer; every other code is unknown. */
export const SETTLE_ANSWERS: ReadonlyMap<string, { kind: 'absent' | 'later'; hint?: string }> =
  new Map([
    ['42704', { kind: 'absent' }],
    ['55000', { kind: 'later' }],
    ['42501', { kind: 'later', hint: 'connect as the role that prepared it, or as a superuser' }],
    ['0A000', { kind: 'later', hint: 'the branch belongs to another database of this server' }],
  ])

const HINTS: ReadonlyMap<string, string> = new Map([
  ['53200', 'raise max_prepared_transactions to the number of concurrent branches, and restart'],
  ['55000', 'ALTER SYSTEM SET max_prepared_transactions = 100, and restart PostgreSQL'],
  [NO_TABLE, 'the table unanimous_branch is gone: run `unanimous init`'],
])
