/**
 * A pool as a library may have it: to use, and not to end. Libraries end the pool that they were given
 * when they are closed; this one is the user's, other libraries use it too, and the coordinator
 * settles on its connections.
 *
 * Pools are told apart by what only one kind has, so that no driver need be installed.
 */
import { dropIn, type Method } from './drop-in.ts'

/** A `pg.Pool`. */
export interface AnyPgPool {
  connect(): Promise<unknown>
  readonly totalCount: number
}

/** A pool of `mysql2`. */
export interface AnyMysqlPool {
  getConnection(done: (cause: unknown, connection: unknown) => void): void
  promise(): unknown
}

/** A pool of `mysql2/promise`. */
export interface AnyMysqlPromisePool {
  getConnection(): Promise<unknown>
  readonly pool: unknown
}

export type AnyPool = AnyPgPool | AnyMysqlPool | AnyMysqlPromisePool

/** The pool, whose `end` has no effect; `own` stands in place of other members. */
export function lent<P extends object>(pool: P, own: Readonly<Record<string, Method>> = {}): P {
  return dropIn(pool, { end: stay, ...own })
}

function stay(...args: unknown[]): unknown {
  const [done] = args
  if (typeof done !== 'function') return Promise.resolve()
  process.nextTick(done)
  return undefined
}

export function isPgPool(pool: AnyPool): pool is AnyPgPool {
  return 'totalCount' in pool
}

/** The pool with callbacks, which a pool with promises has beneath it. */
export function callbackPool(pool: AnyMysqlPool | AnyMysqlPromisePool): AnyMysqlPool {
  return 'promise' in pool ? pool : (pool.pool as AnyMysqlPool)
}

/** The pool with promises; each one made of a callback pool is a new one. */
export function promisePool(pool: AnyMysqlPool | AnyMysqlPromisePool): AnyMysqlPromisePool {
  return 'promise' in pool ? (pool.promise() as AnyMysqlPromisePool) : pool
}
