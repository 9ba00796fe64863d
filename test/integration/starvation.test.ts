/**
 * Rule 9: two pools cannot starve each other, settlement and recovery wait for no application code, and
 * a participant out of service slows nobody else.
 */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator, TransactionError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { describe, expect, it } from 'vitest'
import { wireProxy } from '../../adapters/contract/wire-proxy.ts'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { logDirectory, testBank } from '../support/bank.ts'
import { crash } from '../support/crash.ts'
import { refused } from '../support/refused.ts'

const db = await testBank({ markers: false })
const CALLERS = 64
const POOL_SIZE = 4

async function smallBank(mysqlUrl: string = db.mysql.url, log?: string, acquireMs = 200) {
  const accounts = new pg.Pool({ connectionString: db.postgres.url, max: POOL_SIZE })
  accounts.on('error', () => undefined)
  const wallets = createPool({ uri: mysqlUrl, connectionLimit: POOL_SIZE })
  const open = async () =>
    Coordinator.open({
      log: log ?? (await logDirectory()),
      acquireMs,
      recoveryIntervalMs: 100,
      participants: { accounts: postgres(accounts), wallets: mysql(wallets) },
    })
  const idle = () => {
    const core = wallets.pool as unknown as Record<
      '_allConnections' | '_freeConnections' | '_connectionQueue',
      { length: number }
    >
    return {
      busy: [
        accounts.totalCount - accounts.idleCount,
        core._allConnections.length - core._freeConnections.length,
      ],
      waiting: [accounts.waitingCount, core._connectionQueue.length],
    }
  }
  const end = async () => {
    await Promise.all([accounts.end(), wallets.end()])
  }
  return { accounts, wallets, open, idle, end }
}

/** Of twenty times, one after the other, in ms. */
async function median(timed: () => Promise<number>): Promise<number> {
  const times: number[] = []
  for (let time = 0; time < 20; time += 1) times.push(await timed())
  return times.toSorted((a, b) => a - b)[10] ?? Number.NaN
}

type SmallBank = Awaited<ReturnType<typeof smallBank>>
type Bank = Awaited<ReturnType<SmallBank['open']>>

/** All at once, half of them the other way round. */
function inOppositeOrders(bank: Bank, callers: number): Promise<PromiseSettledResult<void>[]> {
  return Promise.allSettled(
    Array.from({ length: callers }, (_, index) => {
      const place = 1 + (index % PLACES)
      return bank.transaction(
        async (tx) => {
          const pay = () =>
            tx.accounts.query('update account set balance = balance - 1 where id = $1', [place])
          const earn = () =>
            tx.wallets.query('update wallet set balance = balance + 1 where id = ?', [place])
          for (const step of index % 2 === 0 ? [pay, earn] : [earn, pay]) await step()
        },
        { timeoutMs: 25_000 },
      )
    }),
  )
}

async function money(): Promise<readonly [number, number]> {
  const whole = PLACES * START_BALANCE
  return [whole - (await db.observer.accounts()).money, (await db.observer.wallets()).money - whole]
}

describe('two pools of four, and callers in opposite orders', () => {
  it('sixty-four at once all commit, and none has to try again', async () => {
    // Starved callers would wait for ever; merely slow ones, on a machine at its limit, would not.
    const small = await smallBank(db.mysql.url, undefined, 5_000)
    const bank = await small.open()
    const [before] = await money()
    const ends = await inOppositeOrders(bank, CALLERS)
    expect(ends.filter(({ status }) => status === 'rejected')).toEqual([])
    expect(await money()).toEqual([before + CALLERS, before + CALLERS])
    await expect.poll(small.idle).toEqual({ busy: [0, 0], waiting: [0, 0] })
    await bank.close()
    await small.end()
  })

  it('are refused as retryable where the application itself holds the other connections', async () => {
    const small = await smallBank()
    const bank = await small.open()
    const [before] = await money()
    const held = await Promise.all([
      ...Array.from({ length: POOL_SIZE - 1 }, () => small.accounts.connect()),
      ...Array.from({ length: POOL_SIZE - 1 }, () => small.wallets.getConnection()),
    ])
    const startedAt = performance.now()
    const ends = await inOppositeOrders(bank, 12)
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    const committed = ends.filter(({ status }) => status === 'fulfilled').length
    expect(committed).toBeLessThan(12)
    for (const end of ends) {
      if (end.status === 'fulfilled') continue
      expect(end.reason).toBeInstanceOf(TransactionError)
      expect(end.reason).toMatchObject({
        code: 'ACQUIRE_TIMEOUT',
        outcome: 'rolled-back',
        retryable: true,
      })
    }
    for (const connection of held) connection.release()
    await expect.poll(small.idle).toEqual({ busy: [0, 0], waiting: [0, 0] })
    expect(await money()).toEqual([before + committed, before + committed])
    await bank.close()
    await small.end()
  })
})

describe('whoever waits for a connection when its transaction gets another', () => {
  const PAY = 'update account set balance = balance where id = 1'
  const EARN = 'update wallet set balance = balance where id = 1'
  const both: readonly (readonly [string, (bank: Bank, timeoutMs: number) => Promise<unknown>])[] =
    [
      [
        'in a callback',
        (bank, timeoutMs) =>
          bank.transaction((tx) => Promise.all([tx.wallets.query(EARN), tx.accounts.query(PAY)]), {
            timeoutMs,
          }),
      ],
      [
        'the other way round',
        (bank, timeoutMs) =>
          bank.transaction((tx) => Promise.all([tx.accounts.query(PAY), tx.wallets.query(EARN)]), {
            timeoutMs,
            settle: 'behind',
          }),
      ],
      [
        'in advance',
        (bank, timeoutMs) =>
          bank.execute(
            [
              { on: 'wallets', text: EARN },
              { on: 'accounts', text: PAY },
            ],
            { timeoutMs },
          ),
      ],
    ]

  it.each(both)('waits no longer than acquireMs from then: %s', async (_, ask) => {
    const small = await smallBank()
    const bank = await small.open()
    // Met, and every pool in order.
    await ask(bank, 20_000)
    for (const pool of [small.wallets, small.accounts]) {
      const held: { release(): void }[] = []
      for (let at = 0; at < POOL_SIZE; at += 1) {
        held.push(
          await (pool === small.wallets ? small.wallets.getConnection() : small.accounts.connect()),
        )
      }
      const startedAt = performance.now()
      await refused(ask(bank, 20_000), { code: 'ACQUIRE_TIMEOUT', outcome: 'rolled-back' })
      expect(performance.now() - startedAt).toBeLessThan(3_000)
      for (const connection of held) connection.release()
      await expect.poll(small.idle).toEqual({ busy: [0, 0], waiting: [0, 0] })
    }
    await bank.close()
    await small.end()
  })
})

it('recovery and settlement wait for no application code that holds every connection', async () => {
  const log = await logDirectory()
  const urls = { accounts: db.postgres.url, wallets: db.mysql.url }
  await crash(urls, log, { SCENARIO: 'commit', POINT: 'decide:after', RUN: 'starved' })
  const small = await smallBank(db.mysql.url, log)
  const held = await Promise.all([
    ...Array.from({ length: POOL_SIZE }, () => small.accounts.connect()),
    ...Array.from({ length: POOL_SIZE }, () => small.wallets.getConnection()),
  ])
  // Others queue up as well.
  const waiting = [small.accounts.query('select 1'), small.wallets.query('select 1')]
  const startedAt = performance.now()
  const bank = await small.open()
  db.observer.only(bank.logId)
  expect(await db.observer.inDoubt()).toEqual([])
  expect(performance.now() - startedAt).toBeLessThan(3_000)
  for (const connection of held) connection.release()
  await Promise.all(waiting)
  await bank.close()
  await small.end()
})

describe('a participant that went silent', () => {
  it('slows nobody who does not use it, and keeps nobody who does', async () => {
    const target = new URL(db.mysql.url)
    const proxy = await wireProxy(target.hostname, Number(target.port))
    target.host = `127.0.0.1:${proxy.port}`
    const small = await smallBank(target.href)
    const bank = await small.open()
    const alone = async (): Promise<number> => {
      const startedAt = performance.now()
      await bank.transaction((tx) =>
        tx.accounts.query('update account set balance = balance where id = 9'),
      )
      return performance.now() - startedAt
    }
    await bank.transaction((tx) => tx.wallets.query('update wallet set balance = balance'))
    await alone()
    const before = await median(alone)
    proxy.stall(true)
    const asked = Array.from({ length: 6 }, (_, index) =>
      refused(
        bank.transaction(
          async (tx) => {
            await tx.wallets.query('update wallet set balance = balance where id = ?', [index])
          },
          { timeoutMs: 600 },
        ),
        { outcome: 'rolled-back' },
      ),
    )
    // Whoever waited with the others would take until their deadline.
    expect(await median(alone), 'of those who do not use it').toBeLessThan(4 * before + 100)
    const errors = await Promise.all(asked)
    // Whose deadline is a moment behind its bound on the wait hears of the wait.
    for (const { code } of errors) expect(['DEADLINE_EXCEEDED', 'ACQUIRE_TIMEOUT']).toContain(code)
    proxy.stall(false)
    proxy.dropAll()
    // It comes back, and its connections with it.
    await expect
      .poll(
        () =>
          bank
            .transaction((tx) => tx.wallets.query('update wallet set balance = balance'))
            .then(() => 'committed', String),
        { timeout: 20_000 },
      )
      .toBe('committed')
    await expect.poll(small.idle).toEqual({ busy: [0, 0], waiting: [0, 0] })
    await bank.close()
    await small.end()
    await proxy.close()
  })
})
