/**
 * What a first statement, which travels with the begin of its branch, once did to those behind it.
 * Each test is named after its cause.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { Patience } from '../../adapters/dialect/patience.ts'
import { Kept } from '../../adapters/mysql2/kept.ts'
import { acquire, giveBack } from '../../adapters/mysql2/pool.ts'
import { sendFirst } from '../../adapters/pg/first.ts'
import { Session } from '../../adapters/pg/pool.ts'
import { LATE, systemClock } from '../../src/adapter.ts'
import { openWorld } from '../support/ambient-world.ts'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'
import { refused } from '../support/refused.ts'

const world = await openWorld()
const databases = await testDatabases()
const { coordinator, plain } = world
const patience = new Patience(systemClock, 10_000)
afterAll(() => world.close())
beforeEach(() => world.empty())

it('a first text that the server cannot parse takes the begin of the branch with it', async () => {
  let heard: unknown
  const asked = coordinator.transaction(async (tx) => {
    await tx.shop.query('insert into item values (1, 1)')
    heard = await tx.ledger.query('selec 1').catch((cause: unknown) => cause)
    await tx.ledger.query('insert into item values (1, 1)')
  })
  await refused(asked, { code: 'CALLBACK_FAILED', outcome: 'rolled-back', hint: false })
  // Outside of the callback: whatever throws there is CALLBACK_FAILED.
  expect(heard).toMatchObject({ code: '42601', position: '1' })
  expect(await world.ids()).toEqual([[], []])
})

it('a first statement has the time-out of its own, and its error', async () => {
  const slow = { text: 'select pg_sleep(20)', query_timeout: 100 }
  const asked = coordinator.transaction(async (tx) => {
    await expect(tx.ledger.query(slow)).rejects.toThrow(/^Query read timeout$/)
  })
  await refused(asked, { code: 'CONNECTION_LOST', outcome: 'rolled-back', hint: false })
})

it('a first statement that is more than the server takes is told as such, and not as a begin that failed', async () => {
  const pool = createPool({ uri: databases.mysql.url, multipleStatements: true })
  const [[own]] = await pool.query<RowDataPacket[]>('select @@max_allowed_packet as n')
  await pool.query('create table item (id integer primary key, v longtext)')
  await pool.query('set global max_allowed_packet = 1024')
  onTestFinished(async () => {
    await pool.query('set global max_allowed_packet = ?', [Number(own?.['n'])])
    await pool.end()
  })
  const large = createPool({ uri: databases.mysql.url, multipleStatements: true })
  const opened = await Coordinator.open({
    log: await logDirectory(),
    participants: { shop: mysql(large) },
  })
  for (const before of [[], ['select 1']]) {
    const heard: unknown[] = []
    const asked = opened.transaction(async ({ shop }) => {
      for (const text of before) await shop.query(text)
      const insert = (v: string) => shop.query('insert into item values (1, ?)', [v])
      for (const v of ['x'.repeat(40_000), 'x'])
        await insert(v).catch((one: unknown) => heard.push(one))
    })
    const because = { code: 'CONNECTION_LOST', outcome: 'rolled-back', hint: false } as const
    await refused(asked, because)
    expect(heard).toMatchObject([{ errno: 1153 }, {}])
  }
  expect((await pool.query('select id from item'))[0]).toEqual([])
  await opened.close()
  await large.end()
})

it('the error of a first statement names the line that asked', async () => {
  for (const values of [[], [1]]) {
    let heard: unknown
    const asked = coordinator.transaction(async (tx) => {
      heard = await tx.ledger.query('select nope', values).catch((cause: unknown) => cause)
      throw heard
    })
    await refused(asked, { code: 'CALLBACK_FAILED', outcome: 'rolled-back', hint: false })
    expect((heard as Error).stack).toContain('first-statement.test')
  }
})

it('the error of a first statement names who asked for the transaction, which frames of ours crowded out', async () => {
  // That of Node.js; the runner of these tests has another one.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 10
  onTestFinished(() => {
    Error.stackTraceLimit = stackTraceLimit
  })
  const heard: unknown[] = []
  const hear = (cause: unknown) => heard.push(cause)
  await (async function whoAsked() {
    await coordinator.transaction((tx) => tx.ledger.query('select nope')).catch(hear)
    await coordinator.transaction((tx) => tx.shop.query('select nope')).catch(hear)
  })()
  const stack = expect.stringContaining('whoAsked')
  expect(heard).toMatchObject([{ cause: { stack } }, { cause: { stack } }])
})

it('a first statement that is said again, alone, is still said where it was asked', async () => {
  const asker = new AsyncLocalStorage<string>()
  const saidBy: unknown[] = []
  const client = pg.Client.prototype as unknown as Record<'query', (...args: unknown[]) => unknown>
  const { query } = client
  const said = vi.spyOn(client, 'query').mockImplementation(function (this: object, ...args) {
    if (args[0] === 'selec nope') saidBy.push(asker.getStore())
    return Reflect.apply(query, this, args)
  })
  const asked = coordinator.transaction((tx) =>
    asker.run('the callback', () => tx.ledger.query('selec nope')),
  )
  await expect(asked).rejects.toThrow()
  said.mockRestore()
  expect(saidBy).toEqual(['the callback'])
})

it('a name behind a begin that failed is prepared when it is asked for again', async () => {
  const client = await plain.ledger.connect()
  const session = new Session(client, patience)
  const named = { name: 'once', text: 'select $1::int as n', values: [1] }
  session.opens(['BEGIN', 'SET LOCAL no_such_setting = 1'])
  let begun: boolean | undefined
  const first = sendFirst(session, named, undefined, (cause, isBegun) => {
    begun = isBegun
    return Promise.reject(cause)
  })
  await expect(first).rejects.toMatchObject({ code: '42704' })
  expect(begun).toBe(false)
  await client.query('ROLLBACK')
  expect((await client.query<{ n: number }>(named)).rows).toEqual([{ n: 1 }])
  session.release()
})

it('a name without its text is what the driver makes of it outside: what it was given for, or nothing', async () => {
  const once = new pg.Pool({ ...plain.ledger.options, max: 1 })
  const opened = await Coordinator.open({
    log: await logDirectory(),
    participants: { ledger: postgres(once) },
  })
  await once.query({ name: 'known', text: 'select $1::int as n', values: [1] })
  for (const values of [[2], ['x'], [3]]) {
    const named = { name: 'known', values } as unknown as pg.QueryConfig
    const asked = opened.transaction((tx) => tx.ledger.query<{ n: number }>(named))
    if (values[0] === 'x') await expect(asked).rejects.toMatchObject({ cause: { code: '22P02' } })
    else expect((await asked).rows).toEqual([{ n: values[0] }])
  }
  const unknown = { name: 'unknown' } as pg.QueryConfig
  const inside = await opened.transaction((tx) => tx.ledger.query(unknown))
  const client = await plain.ledger.connect()
  const outside = await client.query(unknown)
  client.release()
  expect([inside.rows, inside.command]).toEqual([outside.rows, outside.command])
  await opened.close()
  await once.end()
})

it('a statement that is given again was not left with a callback of ours, which pg < 8.23 writes into it', async () => {
  const { Query } = pg as unknown as { Query: new (...given: readonly unknown[]) => object }
  class WritingQuery extends Query {
    constructor(config: object, values: unknown, callback: unknown) {
      super(callback === undefined ? config : Object.assign(config, { callback }), values, callback)
    }
  }
  class WritingClient extends pg.Client {
    static readonly Query = WritingQuery
  }
  const pool = new pg.Pool({ ...plain.ledger.options, Client: WritingClient })
  const given = { text: 'select $1::int as n', values: [1] }
  const frozen = Object.freeze({ ...given })
  for (const config of [given, given, frozen]) {
    const client = await pool.connect()
    const session = new Session(client, patience)
    session.opens(['BEGIN'])
    const answer = await sendFirst(session, config, undefined, (cause) => Promise.reject(cause))
    expect(answer).toMatchObject({ rows: [{ n: 1 }] })
    await client.query('ROLLBACK')
    session.release()
  }
  expect(Object.keys(given)).toEqual(['text', 'values'])
  await pool.end()
})

it('a begin that was said already is not passed over in silence: what follows would commit alone', async () => {
  const ledger = new Session(await plain.ledger.connect(), patience)
  ledger.opens(['BEGIN'])
  await ledger.begin()
  await expect(ledger.begin()).rejects.toThrow('said once')
  ledger.destroy(new Error('the test has ended'))
  const seat = { taken: () => undefined, left: () => undefined, onceHeld: () => undefined }
  const kept = new Kept(plain.shop, giveBack)
  const lender = { pool: plain.shop, clock: systemClock, patience, kept }
  const shop = await acquire(lender, 10_000, seat)
  if (shop === LATE) throw new Error('no connection came')
  shop.opens(['BEGIN'], 'MySQL')
  await shop.begin()
  await expect(shop.begin()).rejects.toThrow('said once')
  shop.destroy(new Error('the test has ended'))
})
