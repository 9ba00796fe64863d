/**
 * MySQL and MariaDB through `mysql2`.
 *
 * @packageDocumentation
 */
import type { FieldPacket, QueryResult } from 'mysql2/promise'
import type { ParticipantDefinition } from '../../src/adapter.ts'
import { checkAllow } from '../dialect/findings.ts'
import { checkLockTimeout } from '../dialect/lock-timeout.ts'
import { MYSQL_ALLOWS, type MysqlAllow } from '../dialect/mysql-findings.ts'
import type { MysqlHandle, MysqlOwnConnection, MysqlPool } from './driver-types.ts'
import { MysqlParticipant } from './participant.ts'

export type { MysqlAllow } from '../dialect/mysql-findings.ts'
export type { MysqlHandle, MysqlOwnConnection, MysqlPool } from './driver-types.ts'

export interface MysqlOptions {
  /** Database of the table `unanimous_branch`. Default: the connection's own. */
  readonly markerSchema?: string
  /**
   * How long the server may take to answer a verb of ours before the connection is given up, in ms: to
   * begin, vote, commit, settle or prove. Default: 10,000.
   */
  readonly answerMs?: number
  /**
   * How long a statement of a branch waits for a lock before it fails (1205), in ms, rounded up to
   * whole seconds, so that a deadlock that spans databases ends. Shorter waits of the session stay;
   * longer ones are given back to it with the connection. `0`: whatever the session has.
   * Default: 5,000.
   */
  readonly lockTimeoutMs?: number
  /**
   * A proxy (ProxySQL, MaxScale…) stands in between: branches then do not name their session, and no
   * session is ever ended to free one. Default: false, and a proxy is refused.
   */
  readonly proxy?: boolean
  /**
   * Makes the connected `mysql2/promise` connection on which branches are listed, settled and
   * proven. Default: one with the pool's host, user, database and TLS. It must belong to nobody else. Of
   * another user than the pool's it needs PROCESS and CONNECTION ADMIN on MariaDB.
   */
  readonly connect?: () => Promise<MysqlOwnConnection>
  /**
   * Findings of `unanimous doctor` that are taken as they are, by code: an unsafe setting then does
   * not refuse the participant, an unwise one is not warned of. Default: none.
   */
  readonly allow?: readonly MysqlAllow[]
}

/**
 * Makes a database behind a `mysql2` pool, of the promise or the callback kind, a participant.
 * Nothing is connected yet. The pool stays yours: it is never ended here.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function mysql<P extends MysqlPool>(
  pool: P,
  options: MysqlOptions = {},
): ParticipantDefinition<MysqlHandle, P, [QueryResult, FieldPacket[]]> {
  const settings = {
    markerSchema: options.markerSchema,
    answerMs: options.answerMs ?? 10_000,
    lockTimeoutMs: checkLockTimeout(options.lockTimeoutMs),
    proxy: options.proxy ?? false,
    connect: options.connect,
    allow: options.allow ?? [],
  }
  checkAllow(settings.allow, MYSQL_ALLOWS)
  return { create: (context) => new MysqlParticipant(pool, settings, context) }
}
