/**
 * The handle that the application holds: a `pg` client's query methods over a branch.
 *
 * It also reads what the server answered, because the vote depends on it: whether the block is
 * aborted, whether the application ended it, and whether anything can have been written.
 */
import { messageOf, type Refusal, UnanimousError } from '../../src/adapter.ts'
import { mayHideControl } from '../dialect/control.ts'
import type { Gate } from '../dialect/gate.ts'
import { identifier, literal } from '../dialect/postgres.ts'
import {
  ABORTED_BLOCK,
  asPostgresError,
  endedByApplication,
  isTransient,
} from '../dialect/postgres-errors.ts'
import type { PgHandle, PgResult } from './driver-types.ts'
import type { Session } from './pool.ts'

/** Tags after which a transaction may still be without a transaction id. */
const MAY_READ_ONLY = new Set(
  'SELECT SHOW SET RESET BEGIN START COMMIT SAVEPOINT RELEASE ROLLBACK DECLARE FETCH MOVE CLOSE EXPLAIN LOCK PREPARE DEALLOCATE DO CALL'.split(
    ' ',
  ),
)
const COUNTED = new Set('INSERT UPDATE DELETE MERGE COPY'.split(' '))

/** What the application's statements showed. */
export class Observed {
  /** The error that aborted the block: no statement has succeeded since. */
  abortedBy: unknown
  /** A COMMIT of the application was seen. */
  committed = false
  /** The text that aborted the block may have ended ours before: the vote packet cannot look. */
  suspect = false
  /** A tag was seen that only a writing transaction gives. */
  wrote = false

  succeeded(results: readonly PgResult[]): void {
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
}

/** The block is aborted, yet the callback returned. */
export function swallowed(cause: unknown): Refusal {
  return {
    code: 'STATEMENT_FAILED',
    reason: `an SQL error was swallowed: ${messageOf(cause)}`,
    retryable: isTransient(asPostgresError(cause)),
    hint: 'let the error leave the callback, or put the statement behind a SAVEPOINT',
    cause,
  }
}

export interface FacadeHost {
  readonly participant: string
  readonly gate: Gate
  readonly observed: Observed
  /** The branch's connection; called only after the gate has opened. */
  session(): Session
  /** The connection is dead or its state unknown: the branch can only be rolled back. */
  broken(cause: unknown): Error
}

type Callback = (cause: unknown, result?: unknown) => void

export function facade(host: FacadeHost): PgHandle {
  const query = (config: unknown, values?: unknown, callback?: unknown): unknown => {
    const form = field(config, 'submit')
    if (form !== undefined) throw refuseSubmittable(host.participant)
    const done = [values, callback, field(config, 'callback')].find(isCallback)
    const text = typeof config === 'string' ? config : field(config, 'text')
    const answer = host.gate.run(text, () => send(host, text, config, values))
    if (done === undefined) return answer
    answer.then(
      (result) => process.nextTick(done, null, result),
      (cause: unknown) => process.nextTick(done, cause),
    )
    return undefined
  }
  return {
    // One function behind the driver's nine overloads.
    query: query as PgHandle['query'],
    escapeIdentifier: identifier,
    escapeLiteral: literal,
  }
}

async function send(host: FacadeHost, text: unknown, config: unknown, values: unknown) {
  const session = host.session()
  if (session.lost !== undefined) throw host.broken(session.lost)
  try {
    const plain = isCallback(field(config, 'callback')) ? withoutCallback(config) : config
    const answer = await session.client.query(plain, isCallback(values) ? undefined : values)
    host.observed.succeeded(Array.isArray(answer) ? answer : [answer])
    return answer
  } catch (cause) {
    host.observed.failed(cause, text)
    // A time-out of the driver leaves the statement running, and the next one would queue behind it.
    if (session.lost !== undefined || isDriverFailure(cause)) throw host.broken(cause)
    throw cause
  }
}

/** Neither the server's answer nor the caller's own mistake: the connection is not to be trusted. */
function isDriverFailure(cause: unknown): boolean {
  return asPostgresError(cause) === undefined && !(cause instanceof TypeError)
}

function withoutCallback(config: unknown): object {
  return { ...(config as object), callback: undefined }
}

function refuseSubmittable(participant: string): UnanimousError {
  return new UnanimousError('INVALID_OPTION', `${participant}: no cursors or query streams here`, {
    hint: 'read with LIMIT, or DECLARE and FETCH a cursor by plain queries',
  })
}

function isCallback(value: unknown): value is Callback {
  return typeof value === 'function'
}

function field(config: unknown, name: string): unknown {
  if (typeof config !== 'object' || config === null) return undefined
  return (config as Readonly<Record<string, unknown>>)[name]
}
