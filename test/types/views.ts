/** The views as a compiler sees them, with each library's own constructor; checked by `npm run types`. */
import { drizzle as drizzleMysql, type MySql2Database } from 'drizzle-orm/mysql2'
import { drizzle as drizzlePg, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import knex, { type Knex } from 'knex'
import { Kysely, MysqlDialect, type MysqlPool, PostgresDialect, type PostgresPool } from 'kysely'
import type { Pool as CallbackPool } from 'mysql2'
import type { Pool as PromisePool } from 'mysql2/promise'
import type { Pool } from 'pg'
import { DataSource } from 'typeorm'
import { Coordinator } from 'unanimous'
import { drizzleOver } from 'unanimous/drizzle'
import { knexOver } from 'unanimous/knex'
import { kyselyOver } from 'unanimous/kysely'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { typeormOver } from 'unanimous/typeorm'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <T extends true>(): T | undefined => undefined

interface Tables {
  item: { id: number }
}

export async function views(pgPool: Pool, promises: PromisePool, callbacks: CallbackPool) {
  const coordinator = await Coordinator.open({
    log: './decisions',
    participants: { ledger: postgres(pgPool), shop: mysql(promises), other: mysql(callbacks) },
  })
  const ledger = coordinator.pool('ledger')
  const shop = coordinator.pool('shop')
  const other = coordinator.pool('other')

  const knexes: Knex[] = [
    knex({ client: 'pg', connectionPool: knexOver(ledger) }),
    knex({ client: 'mysql2', connectionPool: knexOver(shop) }),
    knex({ client: 'mysql2', connectionPool: knexOver(other) }),
  ]

  const pgForKysely = kyselyOver(ledger)
  const promisesForKysely = kyselyOver(shop)
  const callbacksForKysely = kyselyOver(other)
  holds<Equal<typeof pgForKysely, PostgresPool>>()
  holds<Equal<typeof promisesForKysely, MysqlPool>>()
  holds<Equal<typeof callbacksForKysely, MysqlPool>>()
  const kyselys: Kysely<Tables>[] = [
    new Kysely<Tables>({ dialect: new PostgresDialect({ pool: pgForKysely }) }),
    new Kysely<Tables>({ dialect: new MysqlDialect({ pool: promisesForKysely }) }),
  ]
  // @ts-expect-error the pool is one of mysql2
  const wrong = new PostgresDialect({ pool: kyselyOver(shop) })

  const onPg = drizzlePg(drizzleOver(ledger))
  const onPromises = drizzleMysql(drizzleOver(shop))
  const onCallbacks = drizzleMysql(drizzleOver(other))
  holds<Equal<typeof onPg.$client, Pool>>()
  holds<Equal<typeof onPromises.$client, PromisePool>>()
  holds<Equal<typeof onCallbacks.$client, PromisePool>>()
  const drizzles: [NodePgDatabase, MySql2Database, MySql2Database] = [onPg, onPromises, onCallbacks]
  // @ts-expect-error the pool is one of pg
  drizzleMysql(drizzleOver(ledger))

  const sources: DataSource[] = [
    new DataSource({ type: 'postgres', driver: typeormOver(ledger) }),
    new DataSource({ type: 'mariadb', driver: typeormOver(shop) }),
    new DataSource({ type: 'mysql', driver: typeormOver(other) }),
  ]
  // @ts-expect-error a view is over a pool, not over its name
  typeormOver('ledger')
  // @ts-expect-error there is no such participant
  knexOver(coordinator.pool('lager'))
  return { knexes, kyselys, wrong, drizzles, sources }
}
