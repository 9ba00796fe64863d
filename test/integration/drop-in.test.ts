/** The ambient pools have the faces of the pools that they stand for, in a transaction and outside. */
import { promisify } from 'node:util'
import mysql2 from 'mysql2'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, expect, it } from 'vitest'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'

const databases = await testDatabases()
const plain = {
  ledger: new pg.Pool({ connectionString: databases.postgres.url, max: 3 }),
  shop: createPool({ uri: databases.mysql.url, connectionLimit: 3, namedPlaceholders: true }),
  callbacks: mysql2.createPool({ uri: databases.mysql.url, connectionLimit: 3 }),
}
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
const ledger: pg.Pool = coordinator.pool('ledger')
const shop = coordinator.pool('shop')
const callbacks: mysql2.Pool = coordinator.pool('callbacks')

/** Runs the same code outside of a transaction and inside one. */
async function bothWays(work: () => Promise<void>): Promise<void> {
  await work()
  await coordinator.transaction(work)
}

it('pg.Pool: class, options, counts, events', async () => {
  expect(coordinator.pool('ledger')).toBe(ledger)
  expect(ledger).toBeInstanceOf(pg.Pool)
  expect(ledger.options).toBe(plain.ledger.options)
  let acquired = 0
  const listener = (): void => {
    acquired += 1
  }
  expect(ledger.on('acquire', listener)).toBe(ledger)
  await ledger.query('select 1')
  expect(acquired).toBe(1)
  expect(ledger.removeListener('acquire', listener)).toBe(ledger)
  expect(plain.ledger.listenerCount('acquire')).toBe(0)
  expect([ledger.totalCount, ledger.idleCount, ledger.waitingCount]).toEqual([1, 1, 0])
})

it('pg.Pool: every form of query', async () => {
  await bothWays(async () => {
    expect((await ledger.query('select 1 as n')).rows).toEqual([{ n: 1 }])
    expect((await ledger.query('select $1::int as n', [2])).rows).toEqual([{ n: 2 }])
    const config = { text: 'select $1::int as n', values: [3], rowMode: 'array' as const }
    expect((await ledger.query(config)).rows).toEqual([[3]])
    const heard = await new Promise((resolve, reject) => {
      ledger.query('select 4 as n', (cause, { rows }) => (cause ? reject(cause) : resolve(rows)))
    })
    expect(heard).toEqual([{ n: 4 }])
    const client = await ledger.connect()
    const cursor = client.query(new Cursor('select generate_series(1, 9) as n'))
    expect(await cursor.read(2)).toEqual([{ n: 1 }, { n: 2 }])
    await cursor.close()
    await client.query('begin')
    const failing = client.query(new Cursor('select 1 / (n - 3) from generate_series(1, 9) as n'))
    await expect(failing.read(9)).rejects.toThrow('division by zero')
    await client.query('rollback')
    expect((await client.query('select 5 as n')).rows).toEqual([{ n: 5 }])
    client.release()
    const { Query } = pg
    const rows: unknown[] = []
    const other = await ledger.connect()
    await new Promise((resolve, reject) => {
      const query = other.query(new Query('select generate_series(6, 7) as n'))
      query.on('row', (row) => rows.push(row)).on('end', resolve)
      query.on('error', reject)
    })
    other.release()
    expect(rows).toEqual([{ n: 6 }, { n: 7 }])
    expect(client.escapeLiteral("it's")).toBe("'it''s'")
  })
})

it('mysql2/promise: every form of query, placeholders and formats', async () => {
  expect(shop).toBeInstanceOf(plain.shop.constructor)
  expect(shop.pool.config).toBe(plain.shop.pool.config)
  await bothWays(async () => {
    const [named] = await shop.query<RowDataPacket[]>('select :n as n', { n: 1 })
    expect(named).toEqual([{ n: 1 }])
    const [prepared] = await shop.execute<RowDataPacket[]>('select :n as n', { n: 2 })
    expect(Number(prepared[0]?.['n'])).toBe(2)
    const [arrays] = await shop.query({ sql: 'select 3 as n', rowsAsArray: true })
    expect(arrays).toEqual([[3]])
    const connection = await shop.getConnection()
    expect(connection.format('? ??', [1, 'a'])).toBe('1 `a`')
    expect(connection.format(':n', { n: 4 })).toBe('4')
    expect(connection.escape("it's")).toBe("'it\\'s'")
    expect((await connection.query('select 5 as n'))[0]).toEqual([{ n: 5 }])
    await connection.ping()
    shop.releaseConnection(connection)
    expect(() => shop.query('select 1', (() => undefined) as never)).toThrow(/Callback function/)
    await expect(shop.execute('select ?', [undefined as never])).rejects.toThrow(TypeError)
    expect((await shop.query('select 6 as n'))[0]).toEqual([{ n: 6 }])
  })
})

it('mysql2: callbacks, events, promises on top', async () => {
  expect(callbacks).toBeInstanceOf(plain.callbacks.constructor)
  await bothWays(async () => {
    const events = await new Promise((resolve, reject) => {
      const seen: unknown[] = []
      callbacks
        .query('select 1 as n union all select 2')
        .on('error', reject)
        .on('result', (row) => seen.push(row))
        .on('end', () => resolve(seen))
    })
    expect(events).toEqual([{ n: 1 }, { n: 2 }])
    const [rows] = await callbacks.promise().query('select 3 as n')
    expect(rows).toEqual([{ n: 3 }])
    const failed = await new Promise((resolve) => {
      callbacks.query('select nothing', (cause) => resolve(cause))
    })
    expect(failed).toMatchObject({ errno: 1054 })
    await expect(callbacks.promise().query('select nothing')).rejects.toMatchObject({ errno: 1054 })
  })
})

it('mysql2: what would end the branch with its connection is refused, and changes nothing', async () => {
  await coordinator.transaction(async (tx) => {
    await tx.shop.query('select 1')
    for (const verb of ['reset', 'prepare', 'changeUser'] as const) {
      const call: Promise<unknown> = verb === 'reset' ? tx.shop.reset() : tx.shop[verb]({} as never)
      await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
    tx.shop.destroy()
    await tx.shop.end()
    expect((await tx.shop.query('select 1 as n'))[0]).toEqual([{ n: 1 }])
  })
})

it('a connection that was taken outside is refused inside, and is sound afterwards', async () => {
  const refusal = { code: 'NOT_ENLISTED' }
  const client = await ledger.connect()
  const connection = await shop.getConnection()
  const core = await promisify(callbacks.getConnection.bind(callbacks))()
  await coordinator.transaction(async () => {
    await expect(client.query('select 1')).rejects.toMatchObject(refusal)
    expect(() => client.query(new Cursor('select 1'))).toThrow(expect.objectContaining(refusal))
    const heard = await new Promise((resolve) => {
      client.query('select 1', (cause: unknown) => resolve(cause))
    })
    expect(heard).toMatchObject(refusal)
    for (const asked of [
      connection.query('select 1'),
      connection.execute('select 1'),
      connection.prepare('select 1'),
      connection.beginTransaction(),
    ]) {
      await expect(asked).rejects.toMatchObject(refusal)
    }
    const begun = await new Promise((resolve) => core.beginTransaction(resolve))
    expect(begun).toMatchObject(refusal)
    expect(() => core.query('select 1')).toThrow(expect.objectContaining(refusal))
    await coordinator.outside(() => client.query('select 1'))
    await coordinator.outside(() => connection.query('select 1'))
  })
  expect((await client.query('select 1 as n')).rows).toEqual([{ n: 1 }])
  expect((await connection.query('select 1 as n'))[0]).toEqual([{ n: 1 }])
  client.release()
  connection.release()
  callbacks.releaseConnection(core)
  for (const plain of [client, core]) expect(Object.keys(plain)).not.toContain('query')
  // Whoever has these connections next: here, branches on every connection of the pools.
  await Promise.all(
    [1, 2, 3].map(() =>
      coordinator.transaction(async (tx) => {
        await tx.ledger.query('select 1')
        await tx.shop.query('select 1')
        await tx.callbacks.query('select 1')
      }),
    ),
  )
})
