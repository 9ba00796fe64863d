/**
 * PostgreSQL through `pg`.
 *
 * @packageDocumentation
 */
import type { ParticipantDefinition } from '../../src/adapter.ts'
import type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'
import { PgParticipant } from './participant.ts'

export type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'

export interface PostgresOptions {
  /** Schema of the table `unanimous_branch`. Default: `public`. */
  readonly markerSchema?: string
  /**
   * How long PostgreSQL may take to answer a verb of phase two or of recovery before the connection
   * is given up, in ms. Default: 10,000.
   */
  readonly answerMs?: number
  /**
   * Makes the connected client on which branches are listed, settled and proven. Default: one of the
   * pool's own class with the pool's own options. It must be the role that prepares, in the same
   * database, and belong to nobody else.
   */
  readonly connect?: () => Promise<PgOwnClient>
}

/**
 * Makes a database behind a `pg.Pool` a participant. Nothing is connected yet. The pool stays yours:
 * it is never ended here.
 */
export function postgres(
  pool: PgPool,
  options: PostgresOptions = {},
): ParticipantDefinition<PgHandle> {
  const settings = {
    markerSchema: options.markerSchema ?? 'public',
    answerMs: options.answerMs ?? 10_000,
    connect: options.connect,
  }
  return { create: (context) => new PgParticipant(pool, settings, context) }
}
