/**
 * The handle that the application holds: a `mysql2/promise` connection's query methods over a branch.
 *
 * XA rolls nothing back by itself when a statement fails, so the facade remembers what dooms the
 * branch: a lock wait that ran out, a deadlock, a killed statement, a lost connection.
 */
import { messageOf, type Refusal } from '../../src/adapter.ts'
import type { Gate } from '../dialect/gate.ts'
import { asMysqlError, doomsBranch, isTransient } from '../dialect/mysql-errors.ts'
import type { MysqlConnection, MysqlHandle, MysqlPromisePool } from './driver-types.ts'
import type { Session } from './pool.ts'

export interface FacadeHost {
  readonly gate: Gate
  /** For `format`, `escape` and `escapeId`, which follow the pool's settings. */
  readonly pool: MysqlPromisePool
  /** The branch's connection; called only after the gate has opened. */
  session(): Session
  /** The connection is dead or its state unknown: the branch can only be rolled back. */
  broken(cause: unknown): Error
}

export function facade(host: FacadeHost): MysqlHandle {
  const { pool } = host
  const through =
    (verb: 'query' | 'execute') =>
    (config: unknown, values?: unknown): Promise<unknown> =>
      host.gate.run(textOf(config), () => send(host, (to) => to[verb](config, values)))
  return {
    // One function behind each verb's overloads.
    query: through('query') as MysqlHandle['query'],
    execute: through('execute') as MysqlHandle['execute'],
    format: (text, values) => pool.format(text, values),
    escape: (value) => pool.escape(value),
    escapeId: (value) => pool.escapeId(value),
  }
}

async function send(
  host: FacadeHost,
  statement: (to: MysqlConnection) => Promise<unknown>,
): Promise<unknown> {
  const session = host.session()
  if (session.lost !== undefined) throw host.broken(session.lost)
  try {
    return await statement(session.connection)
  } catch (cause) {
    const error = asMysqlError(cause)
    // A time-out of the driver leaves the statement running, and the next one would wait behind it.
    if (error === undefined && !(cause instanceof TypeError)) throw host.broken(cause)
    if (error !== undefined && doomsBranch(error)) host.gate.doom(statementFailed(cause))
    throw cause
  }
}

function statementFailed(cause: unknown): Refusal {
  return {
    code: 'STATEMENT_FAILED',
    reason: `a statement failed in a way that leaves nothing to commit: ${messageOf(cause)}`,
    retryable: isTransient(asMysqlError(cause)),
    hint: 'let the error leave the callback',
    cause,
  }
}

function textOf(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || !('sql' in config)) return config
  return config.sql
}
