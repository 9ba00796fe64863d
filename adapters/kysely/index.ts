/**
 * Kysely over an ambient pool: inside `transaction()` what it does belongs to the branch.
 *
 * @packageDocumentation
 */
import type { MysqlPool, PostgresPool } from 'kysely'
import {
  type AnyMysqlPool,
  type AnyMysqlPromisePool,
  type AnyPgPool,
  type AnyPool,
  callbackPool,
  isPgPool,
  lent,
} from '../dialect/lent.ts'

/**
 * What a dialect of Kysely takes as its `pool`: `PostgresDialect` for a `pg` pool, `MysqlDialect` for a
 * pool of `mysql2`, with promises or without.
 *
 * `db.destroy()` does not end the pool: it is yours.
 *
 * @example
 * const pool = kyselyOver(coordinator.pool('ledger'))
 * const db = new Kysely<Ledger>({ dialect: new PostgresDialect({ pool }) })
 *
 * @param pool - answered by `coordinator.pool(name)`
 */
export function kyselyOver(pool: AnyPgPool): PostgresPool
export function kyselyOver(pool: AnyMysqlPool | AnyMysqlPromisePool): MysqlPool
export function kyselyOver(pool: AnyPool): PostgresPool | MysqlPool {
  const own: unknown = lent(isPgPool(pool) ? pool : callbackPool(pool))
  return own as PostgresPool | MysqlPool
}
