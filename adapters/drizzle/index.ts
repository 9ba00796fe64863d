/**
 * Drizzle over an ambient pool: inside `transaction()` what it does belongs to the branch.
 *
 * @packageDocumentation
 */
import {
  type AnyMysqlPool,
  type AnyMysqlPromisePool,
  type AnyPgPool,
  type AnyPool,
  isPgPool,
  lent,
  promisePool,
} from '../dialect/lent.ts'
import { overIterators } from './iterator.ts'

/**
 * What Drizzle takes as its client: `drizzle-orm/node-postgres` for a `pg` pool, `drizzle-orm/mysql2` for a pool of
 * `mysql2`, with promises or without (the client is one with promises then).
 *
 * `db.$client.end()` does not end the pool: it is yours.
 *
 * @example
 * const db = drizzle(drizzleOver(coordinator.pool('ledger')), { schema })
 *
 * @param pool - answered by `coordinator.pool(name)`
 */
export function drizzleOver<P extends AnyPgPool | AnyMysqlPromisePool>(pool: P): P
export function drizzleOver<P>(pool: AnyMysqlPool & { promise(): P }): P
export function drizzleOver(pool: AnyPool): object {
  return isPgPool(pool) ? lent(pool) : overIterators(promisePool(pool))
}
