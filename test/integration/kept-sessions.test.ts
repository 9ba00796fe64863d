/**
 * Sessions keep the lock waits of branches while they lie in the pool, and whoever is no branch finds
 * them as they were. `Com_set_option` counts what the session itself was told.
 */
import { createPool, type Pool } from 'mysql2/promise'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { describe, expect, it, onTestFinished } from 'vitest'
import { logDirectory, testBank } from '../support/bank.ts'

const db = await testBank({ markers: false })
const WAITS = 'select @@innodb_lock_wait_timeout as a, @@lock_wait_timeout as b'
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
  const inBranch = <T>(text: string): Promise<T> =>
    own.transaction(async (tx) => {
      const [rows] = await tx.wallets.query(text)
      return (rows as T[])[0] as T
    })
  const outside = async <T>(text: string): Promise<T> => {
    const [rows] = await pool.query(text)
    return (rows as T[])[0] as T
  }
  /** What the session was told since it began. */
  const told = async (): Promise<number> => Number((await inBranch<{ Value: string }>(TOLD)).Value)
  return { own, pool, inBranch, outside, told }
}

function newPool(options: PoolOptions): Pool {
  const pool = createPool({ uri: db.mysql.url, connectionLimit: 1, ...options })
  onTestFinished(() => pool.end())
  return pool
}

const LIMITED = { a: 2, b: 2 }

describe.each([false, true])('with multipleStatements %s', (multipleStatements) => {
  it('tells a session once, and not each branch', async () => {
    const { inBranch, told } = await open({ multipleStatements })
    const first = await told()
    for (let n = 0; n < 5; n += 1) expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBe(first)
  })

  it('gives whoever else takes it its own waits, and then each branch its limits', async () => {
    const { inBranch, outside, told } = await open({ multipleStatements })
    const own = await outside(WAITS)
    expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await outside(WAITS)).toEqual(own)
    // Others borrow here: the next branches leave them nothing to wait for.
    const apart = await told()
    for (let n = 0; n < 3; n += 1) expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBeGreaterThanOrEqual(apart + 8)
    for (let n = 0; n < 100; n += 1) await inBranch('select 1')
    const alone = await told()
    expect(await inBranch(WAITS)).toEqual(LIMITED)
    expect(await told()).toBe(alone)
    expect(await outside(WAITS)).toEqual(own)
  })

  it('gives whoever waits in the queue its own waits', async () => {
    const { own, pool, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch('select 1')
    let waits: Promise<unknown> | undefined
    await own.transaction(async (tx) => {
      await tx.wallets.query('select 1')
      waits = own.outside(() => pool.query(WAITS)).then(([rows]) => (rows as unknown[])[0])
    })
    expect(await waits).toEqual(before)
  })

  it('gives a session back that a branch took and did not use', async () => {
    const { own, inBranch, outside } = await open({ multipleStatements })
    const before = await outside(WAITS)
    for (let n = 0; n < 101; n += 1) await inBranch('select 1')
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
    for (let n = 0; n < 101; n += 1) await inBranch('select 1')
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
  for (let n = 0; n < 101; n += 1) await one.inBranch('select 1')
  const other = await open({}, one.pool)
  for (const each of [other, one, other]) {
    expect(await each.inBranch(WAITS)).toEqual(LIMITED)
    expect(await each.outside(WAITS)).toEqual(before)
  }
})
