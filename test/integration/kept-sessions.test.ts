/**
 * Sessions keep the lock waits of branches while they lie in the pool, and whoever is no branch finds
 * them as they were. `Com_set_option` counts what the session itself was told. And what an earlier
 * borrower left on a session.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Connection } from 'mysql2'
import { createPool, type Pool } from 'mysql2/promise'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { logDirectory, testBank } from '../support/bank.ts'

const db = await testBank({ markers: false })
const isMariadb = db.mysql.flavour === 'mariadb'
/** Does not name the two as they are spelled: of a statement that does, a session keeps nothing. */
const WAITS = "show session variables where variable_name rlike 'lock_wait.timeout$'"
const TOLD = "show session status like 'Com_set_option'"

interface PoolOptions {
  readonly multipleStatements?: boolean
  readonly connectionLimit?: number
}

/** A pool of one connection, and a coordinator over it whose branches wait for two seconds. */
async function open(options: PoolOptions = {}, pool: Pool = newPool(options)) {
  const own = await Coordinator.open({
    log: await logDirectory(),
    recoveryIntervalMs: 600_000,
    participants: { wallets: mysql(pool, { lockTimeoutMs: 2_000 }) },
  })
  onTestFinished(async () => {
    await own.close()
  })
  const inBranch = (text: string): Promise<unknown> =>
    own.transaction(async (tx) => valuesIn(await tx.wallets.query(text)))
  const outside = async (text: string): Promise<unknown> => valuesIn(await pool.query(text))
  /** What the session was told since it began. */
  const told = async (): Promise<number> => Number(await inBranch(TOLD))
  return { own, pool, inBranch, outside, told }
}

/** The values that a SHOW answers. */
function valuesIn([rows]: readonly [unknown, unknown]): string {
  return (rows as readonly { Value: string }[]).map(({ Value }) => Value).join(' ')
}

function newPool(options: PoolOptions): Pool {
  const pool = createPool({ uri: db.mysql.url, connectionLimit: 1, ...options })
  onTestFinished(() => pool.end())
  return pool
}

const LIMITED = '2 2'

/** How often a branch tells its session of the limits when it has them. MariaDB counts what stands in a block twice. */
function each({ multipleStatements = false }: PoolOptions): number {
  if (!isMariadb) return 0
  return multipleStatements ? 1 : 2
}

/** What sets another wait, with the name in its text or in its values. */
const MISCHIEF: readonly (readonly [text: string, values?: unknown[]])[] = [
  ['set session innodb_lock_wait_timeout = 1000'],
  ['set session ?? = ?', ['innodb_lock_wait_timeout', 1000]],
  ['set ?', [{ innodb_lock_wait_timeout: 1000 }]],
]

describe.each([false, true])('with multipleStatements %s', (multipleStatements) => {
  it('tells a session of its limits once on MySQL, and never gives them back between branches', async () => {
    const { inBranch, told } = await open({ multipleStatements })
    const first = await told()
    for (let n = 0; n < 5; n += 1) expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBe(first + 6 * each({ multipleStatements }))
  })

  it('a branch finds its own limits, whatever a statement of the one before set', async () => {
    const { own, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch(TOLD)
    for (const [text, values = []] of MISCHIEF) {
      await own.transaction((tx) => tx.wallets.query(text, values))
      expect(await inBranch(WAITS)).toEqual(LIMITED)
      await own.execute([{ on: 'wallets', text, values }])
      expect(await inBranch(WAITS)).toEqual(LIMITED)
    }
    expect(await outside(WAITS)).toEqual(before)
  })

  it('gives whoever else takes it its own waits, and then each branch its limits', async () => {
    const { inBranch, outside, told } = await open({ multipleStatements })
    const own = await outside(WAITS)
    expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await outside(WAITS)).toEqual(own)
    // Others borrow here: the next branches leave them nothing to wait for.
    const apart = await told()
    for (let n = 0; n < 3; n += 1) expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBeGreaterThanOrEqual(
      apart + 8 * Math.max(1, each({ multipleStatements })),
    )
    for (let n = 0; n < 100; n += 1) await inBranch(TOLD)
    const alone = await told()
    expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBe(alone + 2 * each({ multipleStatements }))
    expect(await outside(WAITS)).toEqual(own)
  })

  it('gives whoever waits in the queue its own waits', async () => {
    const { own, pool, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch(TOLD)
    let waits: Promise<unknown> | undefined
    await own.transaction(async (tx) => {
      await tx.wallets.query('select 1')
      waits = own.outside(() => pool.query(WAITS)).then(valuesIn)
    })
    expect(await waits).toEqual(before)
  })

  it('gives a session back that a branch took and did not use', async () => {
    const { own, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch(TOLD)
    const controller = new AbortController()
    const ended = own.transaction(
      async (tx) => {
        const asked = tx.wallets.query('select 1')
        controller.abort()
        await asked
      },
      { signal: controller.signal },
    )
    await expect(ended).rejects.toMatchObject({ code: 'SIGNAL_ABORTED' })
    expect(await outside(WAITS)).toEqual(before)
  })

  it('leaves no session behind at its close', async () => {
    const { own, pool, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch(TOLD)
    await own.close()
    expect(await outside(WAITS)).toEqual(before)
    expect(
      (pool.pool as unknown as { listenerCount(event: string): number }).listenerCount('acquire'),
    ).toBe(0)
  })
})

it('keeps the limits of two coordinators over one pool apart', async () => {
  const one = await open()
  const before = await one.outside(WAITS)
  for (let n = 0; n < 101; n += 1) await one.inBranch(TOLD)
  const other = await open({}, one.pool)
  for (const each of [other, one, other]) {
    expect(await each.inBranch(WAITS)).toEqual(LIMITED)
    expect(await each.outside(WAITS)).toEqual(before)
  }
})

it('a first statement whose XA START had a transaction in its way is said again where it was asked', async () => {
  const asker = new AsyncLocalStorage<string>()
  const said: unknown[] = []
  const core = Connection.prototype as unknown as Record<'query', (...args: unknown[]) => unknown>
  const { query } = core
  const spy = vi.spyOn(core, 'query').mockImplementation(function (this: object, ...args) {
    const [{ sql }] = args as [{ sql?: unknown }]
    if (sql === 'select 7 as n') said.push(asker.getStore())
    return Reflect.apply(query, this, args)
  })
  const { own, pool } = await open({ multipleStatements: true })
  // With autocommit off, what only reads leaves a transaction open.
  await pool.query('set autocommit = 0')
  await pool.query('select * from wallet')
  const [rows] = await own.transaction((tx) =>
    asker.run('the callback', () => tx.wallets.query('select 7 as n')),
  )
  spy.mockRestore()
  expect(rows).toEqual([{ n: 7 }])
  expect(said).toEqual(['the callback'])
})
