/**
 * A drop-in for the user's `mysql2` pool, of either kind: for the callback pool, and mysql2's own
 * promises over that where the user's pool has them.
 *
 *   query, execute, getConnection   inside a transaction: the branch; outside: the pool as it is
 *   the rest                        the pool
 */
import type { AmbientBranch, Branch } from '../../src/adapter.ts'
import { answeredOutside, dropIn, type Method } from '../dialect/drop-in.ts'
import {
  corePool,
  type MysqlCorePool,
  type MysqlDone,
  type MysqlHandle,
  type MysqlPool,
} from './driver-types.ts'
import { BranchConnection } from './facade.ts'

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
      if (branch !== undefined) process.nextTick(args[0] as MysqlDone, null, coreOf(branch))
      else pool.getConnection(...(answeredOutside(ambient, args) as [MysqlDone]))
    },
    releaseConnection(connection) {
      if (connection instanceof BranchConnection) connection.release()
      else pool.releaseConnection(connection)
    },
    promise: (chosen) =>
      ambientPromises(pool.promise(chosen as PromiseConstructor | undefined), proxy, ambient),
  })
  return proxy
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
    pool[verb] = (...args) =>
      ambient.current() === undefined ? like[verb](...args) : inBranch(...args)
  }
  return pool
}

function coreOf(branch: Branch<MysqlHandle>): BranchConnection {
  return branch.checkOut().connection as unknown as BranchConnection
}
