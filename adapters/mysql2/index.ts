/**
 * MySQL and MariaDB through `mysql2`.
 *
 * @packageDocumentation
 */
import type { ParticipantDefinition } from '../../src/adapter.ts'
import {
  type MysqlHandle,
  type MysqlOwnConnection,
  type MysqlPool,
  promisePool,
} from './driver-types.ts'
import { MysqlParticipant } from './participant.ts'

export type { MysqlHandle, MysqlOwnConnection, MysqlPool } from './driver-types.ts'

export interface MysqlOptions {
  /** Database of the table `unanimous_branch`. Default: the connection's own. */
  readonly markerSchema?: string
  /**
   * How long the server may take to answer a verb of phase two or of recovery before the connection
   * is given up, in ms. Default: 10,000.
   */
  readonly answerMs?: number
  /**
   * A proxy (ProxySQL, MaxScale…) stands in between: branches then do not name their session, and no
   * session is ever ended to free one. Default: false, and a proxy is refused.
   */
  readonly proxy?: boolean
  /**
   * Makes the connected `mysql2/promise` connection on which branches are listed, settled and
   * proven. Default: one with the pool's host, user, database and TLS. It must belong to nobody else.
   */
  readonly connect?: () => Promise<MysqlOwnConnection>
}

/**
 * Makes a database behind a `mysql2` pool, of the promise or the callback kind, a participant.
 * Nothing is connected yet. The pool stays yours: it is never ended here.
 */
export function mysql(
  pool: MysqlPool,
  options: MysqlOptions = {},
): ParticipantDefinition<MysqlHandle> {
  const settings = {
    markerSchema: options.markerSchema,
    answerMs: options.answerMs ?? 10_000,
    proxy: options.proxy ?? false,
    connect: options.connect,
  }
  return { create: (context) => new MysqlParticipant(promisePool(pool), settings, context) }
}
