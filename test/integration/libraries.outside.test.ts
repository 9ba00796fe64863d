/**
 * What a query library does with its pool apart from transactions of ours: it is its plain self, except
 * where that would end the pool, the process or the next query.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { eq, sql } from 'drizzle-orm'
import { int, mysqlTable, text } from 'drizzle-orm/mysql-core'
import { drizzle as drizzleMysql } from 'drizzle-orm/mysql2'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { integer, pgTable } from 'drizzle-orm/pg-core'
import makeKnex from 'knex'
import mysql2 from 'mysql2'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { DataSource, type DataSourceOptions } from 'typeorm'
import { Coordinator } from 'unanimous'
import { drizzleOver } from 'unanimous/drizzle'
import { knexOver } from 'unanimous/knex'
import { kyselyOver } from 'unanimous/kysely'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { typeormOver } from 'unanimous/typeorm'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'

const databases = await testDatabases()
const plain = {
  ledger: new pg.Pool({ connectionString: databases.postgres.url, max: 2 }),
  // One connection: whoever keeps it makes the next one wait for ever.
  shop: createPool({ uri: databases.mysql.url, connectionLimit: 1 }),
  callbacks: mysql2.createPool({ uri: databases.mysql.url, connectionLimit: 1 }),
}
await plain.ledger.query('create table item (id integer primary key)')
await plain.shop.query('create table item (id integer primary key) engine = InnoDB')
await plain.shop.query('create table many (id integer primary key, t text) engine = InnoDB')
await plain.shop.query(`insert into many with recursive n as
  (select 1 as id union all select id + 1 from n where id < 1000) select id, repeat('x', 5000) from n`)
const coordinator = await Coordinator.open({
  log: await logDirectory(),
  participants: {
    ledger: postgres(plain.ledger),
    shop: mysql(plain.shop),
    callbacks: mysql(plain.callbacks),
  },
})
afterAll(async () => {
  await coordinator.close()
  await plain.ledger.end()
  await plain.shop.end()
  await plain.callbacks.promise().end()
})
beforeEach(async () => {
  await plain.ledger.query('delete from item')
  await plain.shop.query('delete from item')
})
const ledger = coordinator.pool('ledger')
const shop = coordinator.pool('shop')
const callbacks = coordinator.pool('callbacks')

async function ledgerIds(): Promise<readonly number[]> {
  const { rows } = await plain.ledger.query<{ id: number }>('select id from item order by id')
  return rows.map(({ id }) => id)
}

describe('knex', () => {
  it('survives a server that ends its connection, in a transaction of its own', async () => {
    const db = makeKnex({ client: 'pg', connectionPool: knexOver(ledger) })
    const uncaught: unknown[] = []
    const listener = (cause: unknown): unknown => uncaught.push(cause)
    process.on('uncaughtException', listener)
    const dies = db.transaction(async (trx) => {
      const { rows } = await trx.raw<{ rows: { pid: number }[] }>('select pg_backend_pid() as pid')
      await plain.ledger.query('select pg_terminate_backend($1)', [rows[0]?.pid])
      await sleep(100)
      await trx.raw('select 1')
    })
    await expect(dies).rejects.toThrow(/connection/i)
    process.removeListener('uncaughtException', listener)
    expect(uncaught).toEqual([])
    for (const id of [1, 2, 3]) await db('item').insert({ id })
    expect(await ledgerIds()).toEqual([1, 2, 3])
    expect(plain.ledger.listenerCount('error')).toBe(1)
  })

  it('takes a provider of transactions inside: the transaction is the branch', async () => {
    const db = makeKnex({ client: 'pg', connectionPool: knexOver(ledger) })
    const provider = db.transactionProvider()
    await coordinator.transaction(async (tx) => {
      const trx = await provider()
      await trx('item').insert({ id: 1 })
      await trx.commit()
      await tx.shop.query('insert into item values (1)')
      expect(await ledgerIds()).toEqual([])
    })
    expect(await ledgerIds()).toEqual([1])
    const kept = await provider()
    await expect(kept('item').insert({ id: 2 })).rejects.toThrow(/already complete/)
  })

  it('times a query out, and the transaction does not commit without it', async () => {
    const db = makeKnex({ client: 'pg', connectionPool: knexOver(ledger) })
    const ended = coordinator.transaction(async (tx) => {
      await tx.shop.query('insert into item values (1)')
      await db('item').insert({ id: 1 })
      await db
        .raw('select pg_sleep(2)')
        .timeout(100)
        .catch(() => undefined)
    })
    await expect(ended).rejects.toMatchObject({ code: 'WORK_STILL_RUNNING' })
    expect(await ledgerIds()).toEqual([])
  })
})

describe('Drizzle', () => {
  const many = mysqlTable('many', { id: int('id').primaryKey(), t: text('t') })

  it.each([
    ['mysql2/promise', () => drizzleMysql(drizzleOver(shop))],
    ['mysql2', () => drizzleMysql(drizzleOver(callbacks))],
  ])('leaves an iterator half-way, and the connection is free: %s', async (_, make) => {
    const db = make()
    for (let turn = 0; turn < 3; turn += 1) {
      let rows = 0
      for await (const _row of db.select().from(many).iterator()) {
        rows += 1
        if (rows === 10) break
      }
      expect(await db.select({ id: many.id }).from(many).where(eq(many.id, 7))).toEqual([{ id: 7 }])
    }
    let all = 0
    for await (const _row of db.select().from(many).iterator()) all += 1
    expect(all).toBe(1000)
  })

  it('has prepared a statement outside, and it belongs to the branch inside', async () => {
    const table = pgTable('item', { id: integer('id').primaryKey() })
    const db = drizzlePg(drizzleOver(ledger))
    const insert = db
      .insert(table)
      .values({ id: sql.placeholder('id') })
      .prepare('insert_item')
    await insert.execute({ id: 1 })
    const ended = coordinator.transaction(async () => {
      await insert.execute({ id: 2 })
      throw new Error('no')
    })
    await expect(ended).rejects.toMatchObject({ code: 'CALLBACK_FAILED' })
    await coordinator.transaction(() => insert.execute({ id: 3 }))
    await insert.execute({ id: 4 })
    expect(await ledgerIds()).toEqual([1, 3, 4])
  })
})

describe('TypeORM', () => {
  const asking = (options: object): Promise<DataSource> =>
    new DataSource(options as DataSourceOptions).initialize()

  it.each([
    ['what it relies on', {}, /supportBigNumbers: true, bigNumberStrings: true/],
    ['a host', { host: 'elsewhere' }, /\bhost\b/],
    ['a password, which is not said', { password: 'secret' }, /^(?!.*secret).*password/],
    ['a size of the pool', { poolSize: 3 }, /connectionLimit/],
    ['replicas', { replication: { master: {}, slaves: [] } }, /replication/],
  ])('is refused for MySQL what the pool was not made with: %s', async (_, options, message) => {
    const made = asking({ type: 'mysql', driver: typeormOver(shop), ...options })
    await expect(made).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message) as string,
    })
  })

  it.each([
    ['a URL', { url: 'postgres://elsewhere/x' }, /connectionString/],
    ['a size of the pool', { poolSize: 3 }, /max/],
    ['replicas', { replication: { master: {}, slaves: [{ host: 'elsewhere' }] } }, /host/],
  ])(
    'is refused for PostgreSQL what the pool was not made with: %s',
    async (_, options, message) => {
      const made = asking({ type: 'postgres', driver: typeormOver(ledger), ...options })
      await expect(made).rejects.toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringMatching(message) as string,
      })
    },
  )

  it('takes options that the pool has, and those that overrule what it relies on', async () => {
    const { connectionString } = plain.ledger.options
    const onLedger = { url: connectionString, poolSize: 2 }
    const extra = { supportBigNumbers: false, bigNumberStrings: false, stringifyObjects: false }
    for (const options of [
      { type: 'postgres', driver: typeormOver(ledger), ...onLedger },
      { type: 'mysql', driver: typeormOver(shop), database: databases.mysql.name, extra },
      { type: 'mysql', driver: typeormOver(callbacks), extra },
    ]) {
      const source = await asking(options)
      await source.query('select 1')
      await source.destroy()
    }
    expect(await ledgerIds()).toEqual([])
  })
})

it('no library ends a pool, whatever it is told', async () => {
  await kyselyOver(ledger).end()
  await new Promise((resolve) => kyselyOver(shop).end(resolve))
  await drizzleOver(ledger).end()
  await drizzleOver(shop).end()
  await makeKnex({ client: 'mysql2', connectionPool: knexOver(callbacks) }).destroy()
  await ledger.query('select 1')
  await shop.query('select 1')
  await callbacks.promise().query('select 1')
})
