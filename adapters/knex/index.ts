/**
 * knex over an ambient pool: inside `transaction()` what it does belongs to the branch.
 *
 * @packageDocumentation
 */
import type { Knex } from 'knex'
import { type AnyPgPool, type AnyPool, callbackPool, isPgPool, lent } from '../dialect/lent.ts'

/**
 * What knex takes as its `connectionPool` (knex 3.3), with `client: 'pg'` for a `pg` pool and
 * `client: 'mysql2'` for a pool of `mysql2`, with promises or without.
 *
 * `knex.destroy()` does not end the pool: it is yours. What knex does when it makes connections (`pool`,
 * `searchPath`, `connection`) it does not do to those of a pool: set them there.
 *
 * @example
 * const db = knex({ client: 'pg', connectionPool: knexOver(coordinator.pool('ledger')) })
 *
 * @param pool - answered by `coordinator.pool(name)`
 */
export function knexOver(pool: AnyPool): Knex.ConnectionPool {
  const own: unknown = isPgPool(pool) ? listening(pool) : lent(callbackPool(pool))
  return own as Knex.ConnectionPool
}

/** A `pg` client in knex's hands. */
interface Held {
  /** knex gives back for good what has this mark. */
  __knex__disposed?: Error
  on(event: 'error', listener: (cause: Error) => void): unknown
  removeListener(event: 'error', listener: (cause: Error) => void): unknown
  release(destroy?: boolean): void
}

/**
 * On connections that it makes by itself knex listens for errors, on those of a pool it does not: one
 * that the server ends while a transaction holds it would end the process.
 */
function listening(pool: AnyPgPool): object {
  return lent(pool, {
    async connect() {
      const client = (await pool.connect()) as Held
      const died = (cause: Error): void => {
        client.__knex__disposed ??= cause
      }
      client.on('error', died)
      const release = client.release.bind(client)
      client.release = (destroy) => {
        // The pool puts its own listener on before ours goes.
        release(destroy)
        client.removeListener('error', died)
      }
      return client
    },
  })
}
