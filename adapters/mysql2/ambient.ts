/**
 * A drop-in for the user's `mysql2` pool, of either kind: for the callback pool, and mysql2's own
 * promises over that where the user's pool has them.
 *
 *   query, execute, getConnection   inside a transaction: the branch; outside: the pool as it is
 *   the rest                        the pool
 *
 * A connection that was taken outside is refused inside: dialect/taken-outside.ts.
 */
import type { AmbientBranch, Branch } from '../../src/adapter.ts'
import { answeredOutside, dropIn, type Method } from '../dialect/drop-in.ts'
import { refuseInside } from '../dialect/taken-outside.ts'
import {
  corePool,
  type MysqlCorePool,
  type MysqlDone,
  type MysqlHandle,
  type MysqlPool,
} from './driver-types.ts'
import type { BranchConnection } from './facade.ts'

type Ambient = AmbientBranch<MysqlHandle>

/** The statements of a pool, in either form. */
interface Statements {
  query: Method
  execute: Method
}

/** Of the same kind: what the user gave is what the user gets. */
export function ambientPool<P extends MysqlPool>(pool: P, ambient: Ambient): P {
  const given: unknown = pool
  if ('promise' in pool) return ambientCore(given as MysqlCorePool, ambient) as unknown as P
  const core = ambientCore(corePool(pool), ambient)
  return ambientPromises(pool, core, ambient) as unknown as P
}

function ambientCore(pool: MysqlCorePool, ambient: Ambient): MysqlCorePool {
  const through =
    (verb: 'query' | 'execute'): Method =>
    (...args) => {
      const branch = ambient.current()
      const to = (branch === undefined ? pool : coreOf(branch)) as unknown as Statements
      return to[verb](...(branch === undefined ? answeredOutside(ambient, args) : args))
    }
  const proxy: MysqlCorePool = dropIn(pool, {
    query: through('query'),
    execute: through('execute'),
    getConnection(...args) {
      const branch = ambient.current()
      const done = args[0] as MysqlDone
      if (branch === undefined) getConnectionOutside(pool, ambient, done)
      else process.nextTick(done, null, coreOf(branch))
    },
    // The pool's own would skip what its connections have on them until their release.
    releaseConnection: (connection) => (connection as { release(): void }).release(),
    promise: (chosen) =>
      ambientPromises(pool.promise(chosen as PromiseConstructor | undefined), proxy, ambient),
  })
  return proxy
}

function getConnectionOutside(pool: MysqlCorePool, ambient: Ambient, done: MysqlDone): void {
  const answer: MysqlDone = (cause, connection) => {
    if (connection !== undefined) {
      refuseInside(connection as object, {
        verbs: ['query', 'execute', 'prepare'],
        ambient,
        refuse,
      })
    }
    done(cause, connection)
  }
  pool.getConnection(...(answeredOutside(ambient, [answer]) as [MysqlDone]))
}

function refuse(args: unknown[], cause: Error): void {
  const done = args.at(-1)
  if (typeof done !== 'function') throw cause
  process.nextTick(done, cause)
}

/** Promises of the same class; outside of a transaction the plain ones answer, which costs nothing. */
function ambientPromises(plain: unknown, core: MysqlCorePool, ambient: Ambient): object {
  const like = plain as Statements & {
    readonly constructor: new (core: MysqlCorePool, promise: unknown) => Statements
    readonly Promise: unknown
  }
  const PromisePool = like.constructor
  const pool = new PromisePool(core, like.Promise)
  for (const verb of ['query', 'execute'] as const) {
    const inBranch = pool[verb].bind(pool)
    // By name: what every query outside of a transaction runs through spreads nothing.
    pool[verb] = (sql, values) =>
      ambient.current() === undefined ? like[verb](sql, values) : inBranch(sql, values)
  }
  return pool
}

function coreOf(branch: Branch<MysqlHandle>): BranchConnection {
  return branch.checkOut().connection as unknown as BranchConnection
}
