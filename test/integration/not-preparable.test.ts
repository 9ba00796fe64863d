/** What does not work in a branch is refused by name, with the server's reason. */
import type { TransactionErrorCode } from 'unanimous'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { openWorld } from '../support/ambient-world.ts'
import { sharedServers } from '../support/databases.ts'
import { refused } from '../support/refused.ts'

const world = await openWorld()
const { coordinator, drivers, plain } = world
const ledger = coordinator.pool('ledger')
const shop = coordinator.pool('shop')
afterAll(() => world.close())
beforeEach(() => world.empty())

async function inBoth(): Promise<void> {
  for (const driver of drivers.slice(0, 2)) await driver.insert(1)
}

async function expectRefused(code: TransactionErrorCode, work: () => Promise<unknown>) {
  const error = await refused(
    coordinator.transaction(async () => {
      await inBoth()
      await work()
    }),
    { code, outcome: 'rolled-back', retryable: false, hint: false },
  )
  expect(await world.ids()).toEqual([[], []])
  return error
}

describe('PostgreSQL', () => {
  it.each([
    ['listen something', /LISTEN/],
    ['notify something', /NOTIFY/],
    ['create temp table passing (id int)', /temporary objects/],
    ['declare reading cursor with hold for select 1', /WITH HOLD/],
    ['select pg_export_snapshot()', /exported snapshots/],
  ])('cannot prepare after %s, and says why', async (text, reason) => {
    const error = await expectRefused('NOT_PREPARABLE', () => ledger.query(text))
    expect(error.message).toMatch(reason)
    // Alone it is committed in one phase, where nothing is prepared.
    await coordinator.transaction(() => ledger.query(text))
  })

  it('keeps the settings by which a branch is known as ours', async () => {
    const error = await expectRefused('TRANSACTION_CONTROL', () => ledger.query('reset  all;'))
    expect(error.message).toContain('RESET ALL')
  })
})

describe('MySQL and MariaDB', () => {
  const COMMITS_BY_ITSELF = [
    'create table other (id int)',
    'alter table item add column w int',
    'truncate table item',
    'lock tables item write',
  ]

  it.each(COMMITS_BY_ITSELF)('%s would commit, so it is refused', async (text) => {
    const error = await expectRefused('NOT_PREPARABLE', () => shop.query(text))
    expect(error.message).toContain('ACTIVE')
    expect(error.hint).toContain('outside')
    expect(error.cause).toMatchObject({ errno: 1399 })
    // MySQL takes back the one statement, and goes on.
    await coordinator.transaction(async () => {
      await inBoth()
      await shop.query(text).catch(() => undefined)
    })
    expect(await world.ids()).toEqual([[1], [1]])
    const [[columns]] = (await plain.shop.query(
      "select count(*) as n from information_schema.columns where table_schema = database() and table_name in ('item', 'other')",
    )) as unknown as [[{ n: number }]]
    expect(columns.n).toBe(2)
  })

  it('work with temporary tables, or say that they cannot', async () => {
    const work = async (): Promise<void> => {
      await inBoth()
      const connection = await shop.getConnection()
      await connection.query('create temporary table passing (id int)')
      await connection.query('insert into passing values (1)')
      connection.release()
    }
    if (sharedServers().mysql.flavour === 'mysql') {
      await refused(coordinator.transaction(work), { code: 'NOT_PREPARABLE', hint: false })
      expect(await world.ids()).toEqual([[], []])
      return
    }
    await coordinator.transaction(work)
    expect(await world.ids()).toEqual([[1], [1]])
  })
})

describe.each(drivers.map((driver) => [driver.name, driver] as const))('%s', (_, driver) => {
  it('a transaction that is begun on a connection given back must be ended all the same', async () => {
    await expectRefused('WORK_STILL_RUNNING', async () => {
      const kept = await driver.onConnection(async (connection) => connection)
      await kept.begin()
      await kept.insert(2)
    })
  })
})

it('new transactions inside transactions that hold the whole pool are refused in time', async () => {
  const started = performance.now()
  const five = Array.from({ length: 5 }, (_, id) =>
    coordinator.transaction(async () => {
      await ledger.query('insert into item values ($1, 1)', [id])
      await ledger.query('select pg_sleep(0.3)')
      await coordinator.transaction(() => ledger.query('select 1'), { propagation: 'new' })
    }),
  )
  const heard = await Promise.allSettled(five)
  const causes = heard.flatMap((each): unknown[] =>
    each.status === 'rejected' ? [each.reason] : [],
  )
  expect(causes.length).toBeGreaterThan(0)
  for (const cause of causes) {
    expect(cause).toMatchObject({
      code: 'CALLBACK_FAILED',
      outcome: 'rolled-back',
      cause: { code: 'ACQUIRE_TIMEOUT', retryable: true },
    })
  }
  // Not their deadline of 30 s, but `acquireMs`.
  expect(performance.now() - started).toBeLessThan(20_000)
})
