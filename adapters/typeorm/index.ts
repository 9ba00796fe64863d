/**
 * TypeORM over an ambient pool: inside `transaction()` what it does belongs to the branch.
 *
 * @packageDocumentation
 */
import { type AnyPool, callbackPool, isPgPool, lent } from '../dialect/lent.ts'
import { refusal, refuseOther } from './pool-options.ts'

/**
 * What a data source of TypeORM takes as its `driver`: with `type: 'postgres'` for a `pg` pool, with `type: 'mysql'`
 * or `'mariadb'` for a pool of `mysql2`, with promises or without.
 *
 * The pool is there already, so what says how to connect (`host`, `poolSize`, `timezone`, …) belongs to it.
 * An option of the data source that the pool was not made with is refused by `initialize()`, with
 * INVALID_OPTION; so is `replication`. For MySQL and MariaDB TypeORM relies on `supportBigNumbers`,
 * `bigNumberStrings` and `stringifyObjects`: make the pool with them, or overrule them in `extra`.
 *
 * `dataSource.destroy()` does not end the pool: it is yours.
 *
 * @example
 * const dataSource = new DataSource({
 *   type: 'postgres',
 *   driver: typeormOver(coordinator.pool('ledger')),
 *   entities: [Account],
 * })
 *
 * @param pool - answered by `coordinator.pool(name)`
 */
export function typeormOver(pool: AnyPool): object {
  return isPgPool(pool) ? likePg(pool) : likeMysql2(callbackPool(pool))
}

/** The part of the package `pg` that TypeORM uses. */
function likePg(pool: object): object {
  const own = lent(pool)
  const { options } = pool as { readonly options: object }
  // Called with `new`, whose answer an object then is.
  function Pool(asked: object): object {
    refuseOther(asked, options)
    return own
  }
  return { Pool }
}

/** The part of the package `mysql2` that TypeORM uses. */
function likeMysql2(pool: object): object {
  const own = lent(pool)
  const { config } = pool as { readonly config: { readonly connectionConfig: object } }
  return {
    createPool(asked: object): object {
      refuseOther(asked, config.connectionConfig, config)
      return own
    },
    createPoolCluster(): never {
      throw refusal('replication')
    },
  }
}
