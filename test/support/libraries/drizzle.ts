import { sql } from 'drizzle-orm'
import { int, mysqlTable, text as mysqlText } from 'drizzle-orm/mysql-core'
import { drizzle as drizzleMysql, type MySql2Database } from 'drizzle-orm/mysql2'
import { drizzle as drizzlePg, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { integer, pgTable } from 'drizzle-orm/pg-core'
import { drizzleOver } from 'unanimous/drizzle'
import { type Database, holding, type Library, type Pools, type Statements } from './library.ts'

const pgItem = pgTable('item', { id: integer('id').primaryKey(), v: integer('v') })
const mysqlItem = mysqlTable('item', { id: int('id').primaryKey(), v: int('v') })
const mysqlMany = mysqlTable('many', { v: int('v'), t: mysqlText('t') })

export function drizzleLibrary(database: Database, pools: Pools): Library {
  return database === 'ledger' ? overPg(pools) : overMysql(pools)
}

function overPg(pools: Pools): Library {
  const db = drizzlePg(drizzleOver(pools.ledger))
  const statements = (on: Pick<NodePgDatabase, 'insert' | 'execute'>): Statements => ({
    insert: (id) => on.insert(pgItem).values({ id, v: 1 }).execute(),
    run: (text) => on.execute(sql.raw(text)).execute(),
  })
  return {
    ...statements(db),
    name: 'Drizzle',
    database: 'ledger',
    nested: (work, isolationLevel) =>
      db.transaction(
        (tx) =>
          work({
            ...statements(tx),
            deeper: (inner) => tx.transaction((deep) => inner(statements(deep))),
          }),
        isolationLevel === undefined ? undefined : { isolationLevel },
      ),
    hold: () => holding((work) => db.transaction((tx) => work(statements(tx)))),
    // Drizzle has none for PostgreSQL.
    stream: undefined,
    useAndClose: () => drizzlePg(drizzleOver(pools.ledger)).$client.end(),
    close: () => db.$client.end(),
  }
}

function overMysql(pools: Pools): Library {
  const db = drizzleMysql(drizzleOver(pools.shop))
  const statements = (on: Pick<MySql2Database, 'insert' | 'execute'>): Statements => ({
    insert: (id) => on.insert(mysqlItem).values({ id, v: 1 }).execute(),
    run: (text) => on.execute(sql.raw(text)),
  })
  return {
    ...statements(db),
    name: 'Drizzle',
    database: 'shop',
    nested: (work, isolationLevel) =>
      db.transaction(
        (tx) =>
          work({
            ...statements(tx),
            deeper: (inner) => tx.transaction((deep) => inner(statements(deep))),
          }),
        isolationLevel === undefined ? undefined : { isolationLevel },
      ),
    hold: () => holding((work) => db.transaction((tx) => work(statements(tx)))),
    stream: async () => db.select().from(mysqlMany).iterator(),
    useAndClose: () => drizzleMysql(drizzleOver(pools.shop)).$client.end(),
    close: () => db.$client.end(),
  }
}
