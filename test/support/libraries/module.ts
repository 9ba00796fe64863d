/**
 * A module as an application has it: ten pieces of work over pools and query libraries, each with a
 * transaction of its own, one that is taken back inside that, and one that is taken back whole. It
 * knows nothing of a transaction around it.
 *
 * A piece of work leaves the rows `base` and `base + 1`, and neither `base + 2` nor `base + 3`.
 */

import { int, mysqlTable } from 'drizzle-orm/mysql-core'
import { drizzle as drizzleMysql } from 'drizzle-orm/mysql2'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { integer, pgTable } from 'drizzle-orm/pg-core'
import makeKnex from 'knex'
import { type Dialect, Kysely, MysqlDialect, PostgresDialect } from 'kysely'
import { DataSource, EntitySchema } from 'typeorm'
import { drizzleOver } from 'unanimous/drizzle'
import { knexOver } from 'unanimous/knex'
import { kyselyOver } from 'unanimous/kysely'
import { typeormOver } from 'unanimous/typeorm'
import type { Database, Pools } from './library.ts'

export interface Piece {
  readonly name: string
  readonly database: Database
  readonly work: (base: number) => Promise<void>
}

class Undo extends Error {}

/** The work throws, and what it did is taken back by whoever ran it. */
async function undone(work: Promise<unknown>): Promise<void> {
  await work.catch((cause: unknown) => {
    if (!(cause instanceof Undo)) throw cause
  })
}

export async function openModule(
  pools: Pools,
  type: 'mysql' | 'mariadb',
): Promise<readonly Piece[]> {
  const { ledger, shop } = pools
  return [
    { name: 'pg', database: 'ledger', work: byPg(ledger) },
    { name: 'mysql2', database: 'shop', work: byMysql2(shop) },
    { name: 'knex', database: 'ledger', work: byKnex('pg', ledger) },
    { name: 'knex', database: 'shop', work: byKnex('mysql2', shop) },
    {
      name: 'Kysely',
      database: 'ledger',
      work: byKysely(new PostgresDialect({ pool: kyselyOver(ledger) })),
    },
    {
      name: 'Kysely',
      database: 'shop',
      work: byKysely(new MysqlDialect({ pool: kyselyOver(shop) })),
    },
    { name: 'Drizzle', database: 'ledger', work: byDrizzleOnPg(ledger) },
    { name: 'Drizzle', database: 'shop', work: byDrizzleOnMysql(shop) },
    { name: 'TypeORM', database: 'ledger', work: await byTypeorm('postgres', ledger) },
    { name: 'TypeORM', database: 'shop', work: await byTypeorm(type, shop) },
  ]
}

function byPg(pool: Pools['ledger']): Piece['work'] {
  const insert = 'insert into item values ($1, 1)'
  return async (base) => {
    await pool.query(insert, [base])
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      await client.query(insert, [base + 1])
      await client.query('SAVEPOINT inner_one')
      await client.query(insert, [base + 2])
      await client.query('ROLLBACK TO SAVEPOINT inner_one')
      await client.query('COMMIT')
      await client.query('BEGIN')
      await client.query(insert, [base + 3])
      await client.query('ROLLBACK')
    } finally {
      client.release()
    }
  }
}

function byMysql2(pool: Pools['shop']): Piece['work'] {
  const insert = 'insert into item values (?, 1)'
  return async (base) => {
    await pool.execute(insert, [base])
    const connection = await pool.getConnection()
    try {
      await connection.beginTransaction()
      await connection.execute(insert, [base + 1])
      await connection.query('SAVEPOINT inner_one')
      await connection.execute(insert, [base + 2])
      await connection.query('ROLLBACK TO SAVEPOINT inner_one')
      await connection.commit()
      await connection.beginTransaction()
      await connection.query(insert, [base + 3])
      await connection.rollback()
    } finally {
      connection.release()
    }
  }
}

function byKnex(client: string, pool: Pools[Database]): Piece['work'] {
  const db = makeKnex({ client, connectionPool: knexOver(pool) })
  return async (base) => {
    await db('item').insert({ id: base, v: 1 })
    await db.transaction(async (trx) => {
      await trx('item').insert({ id: base + 1, v: 1 })
      const inner = trx.transaction(async (deep) => {
        await deep('item').insert({ id: base + 2, v: 1 })
        throw new Undo()
      })
      await undone(inner)
    })
    const trx = await db.transaction()
    await trx('item').insert({ id: base + 3, v: 1 })
    await trx.rollback()
  }
}

function byKysely(dialect: Dialect): Piece['work'] {
  const db = new Kysely<{ item: { id: number; v: number } }>({ dialect })
  return async (base) => {
    await db.insertInto('item').values({ id: base, v: 1 }).execute()
    const trx = await db.startTransaction().execute()
    await trx
      .insertInto('item')
      .values({ id: base + 1, v: 1 })
      .execute()
    const deep = await trx.savepoint('inner_one').execute()
    await deep
      .insertInto('item')
      .values({ id: base + 2, v: 1 })
      .execute()
    await deep.rollbackToSavepoint('inner_one').execute()
    await trx.commit().execute()
    const taken = db.transaction().execute(async (outer) => {
      await outer
        .insertInto('item')
        .values({ id: base + 3, v: 1 })
        .execute()
      throw new Undo()
    })
    await undone(taken)
  }
}

function byDrizzleOnPg(pool: Pools['ledger']): Piece['work'] {
  const item = pgTable('item', { id: integer().primaryKey(), v: integer() })
  const db = drizzlePg(drizzleOver(pool))
  return async (base) => {
    await db.insert(item).values({ id: base, v: 1 })
    await db.transaction(async (tx) => {
      await tx.insert(item).values({ id: base + 1, v: 1 })
      const inner = tx.transaction(async (deep) => {
        await deep.insert(item).values({ id: base + 2, v: 1 })
        throw new Undo()
      })
      await undone(inner)
    })
    const taken = db.transaction(async (tx) => {
      await tx.insert(item).values({ id: base + 3, v: 1 })
      throw new Undo()
    })
    await undone(taken)
  }
}

function byDrizzleOnMysql(pool: Pools['shop']): Piece['work'] {
  const item = mysqlTable('item', { id: int().primaryKey(), v: int() })
  const db = drizzleMysql(drizzleOver(pool))
  return async (base) => {
    await db.insert(item).values({ id: base, v: 1 })
    await db.transaction(async (tx) => {
      await tx.insert(item).values({ id: base + 1, v: 1 })
      const inner = tx.transaction(async (deep) => {
        await deep.insert(item).values({ id: base + 2, v: 1 })
        throw new Undo()
      })
      await undone(inner)
    })
    const taken = db.transaction(async (tx) => {
      await tx.insert(item).values({ id: base + 3, v: 1 })
      throw new Undo()
    })
    await undone(taken)
  }
}

async function byTypeorm(
  type: 'postgres' | 'mysql' | 'mariadb',
  pool: Pools[Database],
): Promise<Piece['work']> {
  const Item = new EntitySchema<{ id: number; v: number }>({
    name: 'item',
    columns: { id: { type: 'int', primary: true }, v: { type: 'int' } },
  })
  const db = new DataSource({ type, driver: typeormOver(pool), entities: [Item] })
  await db.initialize()
  return async (base) => {
    await db.getRepository(Item).save({ id: base, v: 1 })
    await db.transaction(async (manager) => {
      await manager.insert(Item, { id: base + 1, v: 1 })
      const inner = manager.transaction(async (deep) => {
        await deep.insert(Item, { id: base + 2, v: 1 })
        throw new Undo()
      })
      await undone(inner)
    })
    const runner = db.createQueryRunner()
    await runner.startTransaction()
    await runner.manager.insert(Item, { id: base + 3, v: 1 })
    await runner.rollbackTransaction()
    await runner.release()
  }
}
