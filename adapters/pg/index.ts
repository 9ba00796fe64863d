/**
 * PostgreSQL through `pg`.
 *
 * @packageDocumentation
 */
import type { QueryResult } from 'pg'
import type { ParticipantDefinition } from '../../src/adapter.ts'
import { checkAllow } from '../dialect/findings.ts'
import { checkLockTimeout } from '../dialect/lock-timeout.ts'
import { POSTGRES_ALLOWS, type PostgresAllow } from '../dialect/postgres-findings.ts'
import type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'
import { PgParticipant } from './participant.ts'

export type { PostgresAllow } from '../dialect/postgres-findings.ts'
export type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'

export interface PostgresOptions {
  /** Schema of the table `unanimous_branch`. Default: `public`. */
  readonly markerSchema?: string
  /**
   * How long PostgreSQL may take to answer a verb of ours before the connection is given up, in ms:
   * to begin, vote, commit, settle or prove. Default: 10,000.
   */
  readonly answerMs?: number
  /**
   * How long a statement of a branch waits at most for a lock before it fails (55P03), in ms, so that
   * a deadlock that spans databases ends. Each branch waits 70 to 90 % of it: of two that wait for each
   * other one lets go first. A shorter `lock_timeout` of the role or the database stays. `0`: whatever
   * the session has. Default: 5,000.
   */
  readonly lockTimeoutMs?: number
  /**
   * Makes the connected client on which branches are listed, settled and proven. Default: one of the
   * pool's own class with the pool's own options. It must be the role that prepares, in the same
   * database, and belong to nobody else. Where the pool goes through PgBouncer, one that goes to the
   * server itself: then no branch waits for a server connection to be committed.
   */
  readonly connect?: () => Promise<PgOwnClient>
  /**
   * Findings of `unanimous doctor` that are taken as they are, by code: an unsafe setting then does
   * not refuse the participant, an unwise one is not warned of. Default: none.
   */
  readonly allow?: readonly PostgresAllow[]
}

/**
 * Makes a database behind a `pg.Pool` a participant. Nothing is connected yet. The pool stays yours:
 * it is never ended here.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function postgres<P extends PgPool>(
  pool: P,
  options: PostgresOptions = {},
): ParticipantDefinition<PgHandle, P, QueryResult> {
  const settings = {
    markerSchema: options.markerSchema ?? 'public',
    answerMs: options.answerMs ?? 10_000,
    lockTimeoutMs: checkLockTimeout(options.lockTimeoutMs),
    connect: options.connect,
    allow: options.allow ?? [],
  }
  checkAllow(settings.allow, POSTGRES_ALLOWS)
  return { create: (context) => new PgParticipant(pool, settings, context) }
}
