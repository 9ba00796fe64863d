/**
 * Three kinds of pools over two databases, each as code that was written for the plain pool uses it:
 * by promises, by callbacks, by streams.
 */
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import mysql2 from 'mysql2'
import { createPool, type Pool as PromisePool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import QueryStream from 'pg-query-stream'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { logDirectory } from './bank.ts'
import { type TestDatabases, testDatabases } from './databases.ts'

export interface Connection {
  run(text: string): Promise<unknown>
  insert(id: number): Promise<unknown>
  begin(): Promise<unknown>
  commit(): Promise<unknown>
  rollback(): Promise<unknown>
}

export interface Driver {
  readonly name: string
  query(text: string): Promise<unknown>
  insert(id: number): Promise<unknown>
  /** Takes a connection, and gives it back. */
  onConnection<T>(work: (connection: Connection) => Promise<T>): Promise<T>
  /** A thousand rows of `v` and much text. */
  stream(): Readable
  /** Inserts by the driver's callbacks, and runs `next` in the last one. */
  byCallback(id: number, next: () => Promise<unknown>): Promise<unknown>
  /** As others see it: not through the ambient pool. */
  ids(): Promise<readonly number[]>
  empty(): Promise<unknown>
}

const PG_ROWS = "select v, repeat('x', 5000) as t from generate_series(1, 1000) as v"
const MYSQL_ROWS = `with recursive n as (select 1 as v union all select v + 1 from n where v < 1000)
  select v, repeat('x', 5000) as t from n`

export async function openWorld() {
  const databases = await testDatabases()
  const plain = openPools(databases)
  await plain.ledger.query('create table item (id integer primary key, v integer)')
  await plain.shop.query('create table item (id integer primary key, v integer) engine = InnoDB')
  const coordinator = await Coordinator.open({
    log: await logDirectory(),
    participants: {
      ledger: postgres(plain.ledger),
      shop: mysql(plain.shop),
      callbacks: mysql(plain.callbacks),
    },
  })
  const seen = {
    ledger: async () => {
      const { rows } = await plain.ledger.query<{ id: number }>('select id from item order by id')
      return rows.map(({ id }) => id)
    },
    shop: async () => {
      const [rows] = await plain.shop.query<RowDataPacket[]>('select id from item order by id')
      return rows.map(({ id }) => Number(id))
    },
  }
  const drivers: readonly Driver[] = [
    overPg(coordinator.pool('ledger'), plain.ledger, seen.ledger),
    overPromises(coordinator.pool('shop'), plain.shop, seen.shop),
    overCallbacks(coordinator.pool('callbacks'), plain.shop, seen.shop),
  ]
  return {
    coordinator,
    plain,
    drivers,
    ids: () => Promise.all([seen.ledger(), seen.shop()]),
    elsewhere: (driver: Driver) => (driver === drivers[0] ? seen.shop() : seen.ledger()),
    async empty() {
      await plain.ledger.query('delete from item')
      await plain.shop.query('delete from item')
    },
    async close() {
      await coordinator.close()
      await plain.ledger.end()
      await plain.shop.end()
      await plain.callbacks.promise().end()
    },
  }
}

function openPools({ postgres: ledger, mysql: shop }: TestDatabases) {
  const options = { uri: shop.url, connectionLimit: 5 }
  return {
    ledger: new pg.Pool({ connectionString: ledger.url, max: 5 }),
    shop: createPool(options),
    callbacks: mysql2.createPool(options),
  }
}

function overPg(pool: pg.Pool, plain: pg.Pool, ids: Driver['ids']): Driver {
  return {
    name: 'pg.Pool',
    query: (text) => pool.query(text),
    insert: (id) => pool.query('insert into item values ($1, 1)', [id]),
    async onConnection(work) {
      const client = await pool.connect()
      try {
        return await work({
          run: (text) => client.query(text),
          insert: (id) => client.query('insert into item values ($1, 1)', [id]),
          begin: () => client.query('BEGIN'),
          commit: () => client.query('COMMIT'),
          rollback: () => client.query('ROLLBACK'),
        })
      } finally {
        client.release()
      }
    },
    stream() {
      const stream = new QueryStream(PG_ROWS)
      pool.connect((cause, client, release) => {
        if (client === undefined) {
          stream.destroy(cause)
          return
        }
        client.query(stream)
        stream.once('close', () => release())
      })
      return stream
    },
    byCallback: (id, next) =>
      new Promise((resolve, reject) => {
        pool.connect((cause, client, release) => {
          if (client === undefined) return reject(cause ?? new Error('no client'))
          client.query('insert into item values ($1, 1)', [id], (failed) => {
            release()
            if (failed) reject(failed)
            else resolve(next())
          })
        })
      }),
    ids,
    empty: () => plain.query('delete from item'),
  }
}

function overPromises(pool: PromisePool, plain: PromisePool, ids: Driver['ids']): Driver {
  return {
    name: 'mysql2/promise',
    query: (text) => pool.query(text),
    insert: (id) => pool.execute('insert into item values (?, 1)', [id]),
    async onConnection(work) {
      const connection = await pool.getConnection()
      try {
        return await work({
          run: (text) => connection.query(text),
          insert: (id) => connection.query('insert into item values (?, 1)', [id]),
          begin: () => connection.beginTransaction(),
          commit: () => connection.commit(),
          rollback: () => connection.rollback(),
        })
      } finally {
        connection.release()
      }
    },
    stream: () => pool.pool.query(MYSQL_ROWS).stream(),
    byCallback: (id, next) =>
      new Promise((resolve, reject) => {
        pool.pool.query('insert into item values (?, 1)', [id], (cause) => {
          if (cause) reject(cause)
          else resolve(next())
        })
      }),
    ids,
    empty: () => plain.query('delete from item'),
  }
}

function overCallbacks(pool: mysql2.Pool, plain: PromisePool, ids: Driver['ids']): Driver {
  const query = (text: string, values: readonly unknown[] = []) =>
    new Promise<unknown>((resolve, reject) => {
      pool.query(text, [...values], (cause, rows) => (cause ? reject(cause) : resolve(rows)))
    })
  return {
    name: 'mysql2',
    query,
    insert: (id) => query('insert into item values (?, 1)', [id]),
    async onConnection(work) {
      const connection = await promisify(pool.getConnection.bind(pool))()
      const run = (text: string): Promise<unknown> =>
        new Promise((resolve, reject) => {
          connection.query(text, (cause, rows) => (cause ? reject(cause) : resolve(rows)))
        })
      const call = (verb: 'beginTransaction' | 'commit' | 'rollback') =>
        new Promise<void>((resolve, reject) => {
          connection[verb]((cause) => (cause ? reject(cause) : resolve()))
        })
      try {
        return await work({
          run,
          insert: (id) => run(`insert into item values (${id}, 1)`),
          begin: () => call('beginTransaction'),
          commit: () => call('commit'),
          rollback: () => call('rollback'),
        })
      } finally {
        connection.release()
      }
    },
    stream: () => pool.query(MYSQL_ROWS).stream(),
    byCallback: (id, next) =>
      new Promise((resolve, reject) => {
        pool.getConnection((cause, connection) => {
          if (cause) return reject(cause)
          connection.execute('insert into item values (?, 1)', [id], (failed) => {
            connection.release()
            if (failed) reject(failed)
            else resolve(next())
          })
        })
      }),
    ids,
    empty: () => plain.query('delete from item'),
  }
}
