/**
 * Deadlines that bite: the caller is answered at once, and right after it no statement of the
 * transaction runs, no lock of it is held and nothing of it appears later, on either server. A deadlock
 * that spans the databases, which neither of them sees, ends by a lock timeout.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator, type TransactionError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { type BankCoordinator, openBank } from '../../examples/transfer/transfer.ts'
import { logDirectory, testBank } from '../support/bank.ts'
import { refused } from '../support/refused.ts'
import { startPgBouncer } from '../support/servers/pgbouncer.ts'

const db = await testBank({ markers: true })
const { accounts, wallets } = db.pools
const TIMEOUT_MS = 400
/** A server notices a dead client later than this, at the earliest. */
const AT_ONCE_MS = 900

let bank: BankCoordinator
beforeEach(async () => {
  // No pass of recovery helps: what is gone, the deadline took.
  bank = await openBank(accounts, wallets, {
    log: await logDirectory(),
    recoveryIntervalMs: 600_000,
  })
  db.observer.only(bank.logId)
})
afterEach(async () => {
  await bank.close()
  expect(await db.observer.inDoubt()).toEqual([])
  expect((await db.observer.accounts()).money).toBe(PLACES * START_BALANCE)
  expect((await db.observer.wallets()).money).toBe(PLACES * START_BALANCE)
})

/** A session that locks rows, until the function is called. */
async function locking(text: string, where: 'accounts' | 'wallets'): Promise<() => Promise<void>> {
  if (where === 'accounts') {
    const client = await accounts.connect()
    await client.query('begin')
    await client.query(text)
    return async () => {
      await client.query('rollback')
      client.release()
    }
  }
  const connection = await wallets.getConnection()
  await connection.query('begin')
  await connection.query(text)
  return async () => {
    await connection.query('rollback')
    connection.release()
  }
}

/** Sessions of this test's databases that run one of its statements. */
async function running(): Promise<readonly string[]> {
  const { rows } = await accounts.query<{ query: string }>(
    `select query from pg_stat_activity where datname = current_database()
     and state = 'active' and pid <> pg_backend_pid()`,
  )
  const [others] = await wallets.query(
    `select info as query from information_schema.processlist
     where db = database() and info is not null and id <> connection_id()`,
  )
  return [...rows, ...(others as { query: string }[])].map(({ query }) => query)
}

/** How long until no statement runs and every row can be locked. */
async function freeAfter(startedAt: number): Promise<number> {
  const free = async (): Promise<readonly unknown[]> => {
    const locked = await db.observer.lockAll().then(
      () => [],
      (cause: unknown) => [cause],
    )
    return [...locked, ...(await running())]
  }
  await expect.poll(free, { interval: 20 }).toEqual([])
  return performance.now() - startedAt
}

/** Whether both connections live on, in nobody's hands. */
async function areIdle(backend: unknown, thread: unknown): Promise<boolean> {
  const { rows } = await accounts.query(
    "select pid from pg_stat_activity where pid = $1 and (state = 'idle' or pid = pg_backend_pid())",
    [backend],
  )
  const [others] = await wallets.query(
    `select id from information_schema.processlist where id = ? and command in ('Sleep', 'Query')`,
    [thread],
  )
  return rows.length === 1 && (others as unknown[]).length === 1
}

describe('a deadline', () => {
  it('answers at once, and ends what both servers run', async () => {
    let backend: unknown
    let thread: unknown
    const startedAt = performance.now()
    const asked = bank.transaction(
      async (tx) => {
        await tx.accounts.query('update account set balance = balance - 1 where id = 1')
        await tx.wallets.query('update wallet set balance = balance + 1 where id = 1')
        const asked = await tx.accounts.query<{ id: number }>('select pg_backend_pid() as id')
        backend = asked.rows[0]?.id
        const [rows] = await tx.wallets.query('select connection_id() as id')
        thread = (rows as { id: number }[])[0]?.id
        await Promise.all([
          tx.accounts.query('select pg_sleep(30)'),
          tx.wallets.query('select sleep(30)'),
        ])
      },
      { timeoutMs: TIMEOUT_MS },
    )
    await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
    const heardAfter = performance.now() - startedAt
    expect(heardAfter).toBeGreaterThan(TIMEOUT_MS - 20)
    expect(heardAfter).toBeLessThan(TIMEOUT_MS + 200)
    expect(await freeAfter(startedAt)).toBeLessThan(TIMEOUT_MS + AT_ONCE_MS)
    expect(await areIdle(backend, thread), 'both connections went back to their pools').toBe(true)
  })

  it.each(['accounts', 'wallets'] as const)(
    'and not the wait is what the caller hears of, without a connection of %s',
    async (name) => {
      const pool = { accounts: () => accounts.connect(), wallets: () => wallets.getConnection() }
      const held = await Promise.all(Array.from({ length: 20 }, () => pool[name]()))
      const reach: Parameters<typeof bank.transaction>[0] = (tx) =>
        name === 'accounts' ? tx.accounts.query('select 1') : tx.wallets.query('select 1')
      try {
        for (let times = 0; times < 5; times += 1) {
          const asked = bank.transaction(reach, { timeoutMs: 50 })
          await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
        }
      } finally {
        // Before the hooks, which ask through the same pools.
        for (const connection of held) connection.release()
      }
    },
  )

  it('ends waits for locks', async () => {
    const unlock = await locking('update account set balance = balance where id = 2', 'accounts')
    const unlockToo = await locking('update wallet set balance = balance where id = 2', 'wallets')
    const startedAt = performance.now()
    const asked = bank.transaction(
      async (tx) => {
        await Promise.all([
          tx.accounts.query('update account set balance = balance - 1 where id = 2'),
          tx.wallets.query('update wallet set balance = balance + 1 where id = 2'),
        ])
      },
      { timeoutMs: TIMEOUT_MS },
    )
    await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
    await expect.poll(running, { interval: 20 }).toEqual([])
    expect(performance.now() - startedAt).toBeLessThan(TIMEOUT_MS + AT_ONCE_MS)
    await Promise.all([unlock(), unlockToo()])
  })

  it.each(['accounts', 'wallets'] as const)(
    'T4: fences a vote of %s that waits, and rolls the other side back',
    async (slow) => {
      const text =
        slow === 'accounts' ? 'lock table unanimous_branch in share mode' : gapOfMarkers(bank.logId)
      const unlock = await locking(text, slow)
      const startedAt = performance.now()
      const asked = bank.transaction(
        async (tx) => {
          await tx.accounts.query('update account set balance = balance - 1 where id = 3')
          await tx.wallets.query('update wallet set balance = balance + 1 where id = 3')
        },
        { timeoutMs: TIMEOUT_MS },
      )
      await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
      const voted = await db.observer.inDoubt()
      expect(voted.length).toBeLessThan(2)
      expect(await freeAfter(startedAt)).toBeLessThan(TIMEOUT_MS + AT_ONCE_MS)
      expect(await db.observer.inDoubt()).toEqual([])
      await unlock()
      await sleep(1_500)
      expect(await db.observer.inDoubt(), 'nothing appears later').toEqual([])
    },
  )

  it('does not turn a handed-over decision back', async () => {
    const late = await openBank(accounts, wallets, {
      log: await logDirectory(),
      seams: {
        failpoints: async (name) => {
          if (name === 'decide:before') await sleep(TIMEOUT_MS * 2)
        },
      },
    })
    await late.transaction(
      async (tx) => {
        await tx.accounts.query('update account set balance = balance where id = 4')
        await tx.wallets.query('update wallet set balance = balance where id = 4')
      },
      { timeoutMs: TIMEOUT_MS },
    )
    await late.close()
  })
})

it('a signal does what a deadline does', async () => {
  const controller = new AbortController()
  const startedAt = performance.now()
  const asked = bank.transaction(
    async (tx) => {
      await tx.accounts.query('update account set balance = balance - 1 where id = 1')
      setTimeout(() => controller.abort(), 100)
      await tx.accounts.query('select pg_sleep(30)')
    },
    { signal: controller.signal },
  )
  await refused(asked, { code: 'SIGNAL_ABORTED', outcome: 'rolled-back', hint: false })
  expect(await freeAfter(startedAt)).toBeLessThan(100 + AT_ONCE_MS)
})

it('a callback that throws while a statement runs does not wait for it', async () => {
  const startedAt = performance.now()
  const asked = bank.transaction(async (tx) => {
    await tx.accounts.query('update account set balance = balance - 1 where id = 1')
    await Promise.all([
      tx.accounts.query('select pg_sleep(30)'),
      tx.wallets.query('select * from no_such_table'),
    ])
  })
  await refused(asked, { code: 'CALLBACK_FAILED', outcome: 'rolled-back' })
  // Its locks are gone before the caller goes on.
  await db.observer.lockAll()
  expect(performance.now() - startedAt).toBeLessThan(AT_ONCE_MS)
})

describe('a deadlock that spans the databases', () => {
  /** Each has what the other waits for, in the other database. */
  async function crossed(options: { retry?: { attempts: number } }) {
    const fast = await Coordinator.open({
      log: await logDirectory(),
      participants: {
        accounts: postgres(accounts, { lockTimeoutMs: 1_000 }),
        wallets: mysql(wallets, { lockTimeoutMs: 1_000 }),
      },
    })
    onTestFinished(async () => void (await fast.close()))
    let holding = 0
    let meet = (): void => undefined
    const met = new Promise<void>((resolve) => {
      meet = resolve
    })
    const together = async (): Promise<void> => {
      holding += 1
      if (holding === 2) meet()
      await met
    }
    const startedAt = performance.now()
    const ends = await Promise.allSettled([
      fast.transaction(async (tx) => {
        await tx.accounts.query('update account set balance = balance - 7 where id = 5')
        await together()
        await tx.wallets.query('update wallet set balance = balance + 7 where id = 5')
      }, options),
      fast.transaction(async (tx) => {
        await tx.wallets.query('update wallet set balance = balance - 7 where id = 5')
        await together()
        await tx.accounts.query('update account set balance = balance + 7 where id = 5')
      }, options),
    ])
    return { ends, tookMs: performance.now() - startedAt }
  }

  async function undo(): Promise<void> {
    await accounts.query('update account set balance = $1 where id = 5', [START_BALANCE])
    await wallets.query('update wallet set balance = ? where id = 5', [START_BALANCE])
  }

  async function balances(): Promise<readonly [number, number]> {
    const { rows } = await accounts.query<{ balance: string }>(
      'select balance from account where id = 5',
    )
    const [others] = await wallets.query('select balance from wallet where id = 5')
    const [other] = others as { balance: number }[]
    return [Number(rows[0]?.balance), Number(other?.balance)]
  }

  it('ends within the lock timeout: one commits, the other may be run again', async () => {
    const { ends, tookMs } = await crossed({})
    // InnoDB looks once a second.
    expect(tookMs).toBeLessThan(3_500)
    const failed = ends.filter((end) => end.status === 'rejected')
    expect(failed.length).toBeLessThan(2)
    for (const { reason } of failed) {
      expect(reason).toMatchObject({ outcome: 'rolled-back', retryable: true, attempts: 1 })
    }
    const [account, wallet] = await balances()
    expect(account + wallet).toBe(2 * START_BALANCE)
    expect(account === START_BALANCE).toBe(failed.length !== 1)
    await undo()
  })

  it('with a retry both commit', async () => {
    const { ends } = await crossed({ retry: { attempts: 5 } })
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    expect(await balances()).toEqual([START_BALANCE, START_BALANCE])
  })
})

it('each attempt is a transaction of its own, and the last error counts them', async () => {
  const gtrids: string[] = []
  const asked = bank.transaction(
    async (tx) => {
      gtrids.push(tx.gtrid)
      await tx.accounts.query("do $$ begin raise 'busy' using errcode = '40001'; end $$")
    },
    { retry: { attempts: 3, minDelayMs: 1 } },
  )
  const error: TransactionError = await refused(asked, { code: 'CALLBACK_FAILED', retryable: true })
  expect(error.attempts).toBe(3)
  expect(new Set(gtrids).size).toBe(3)
  expect(error.gtrid).toBe(gtrids[2])
})

it('through PgBouncer, a cancel hits the backend of the branch and no other', async () => {
  const bouncer = await startPgBouncer(db.postgres.url, (line) => console.error(line))
  const pool = new pg.Pool({ connectionString: bouncer.url, max: 3 })
  pool.on('error', () => undefined)
  const other = new pg.Client({ connectionString: bouncer.url })
  await other.connect()
  let bystander: Promise<unknown> | undefined
  // Between our look at the session and its BEGIN, somebody else comes by the backend that we saw.
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...asked: unknown[]) => Promise<unknown>
    const inBetween = async (asked: unknown, ...rest: unknown[]): Promise<unknown> => {
      const { text = '' } = asked as { readonly text?: string }
      if (text.startsWith('BEGIN') && bystander === undefined) {
        bystander = other.query('begin; select pg_sleep(1.5); commit')
        await sleep(100)
      }
      return query(asked, ...rest)
    }
    Object.assign(client, { query: inBetween })
  })
  const pooled = await Coordinator.open({
    log: await logDirectory(),
    participants: { accounts: postgres(pool, { allow: ['pooler'] }) },
  })
  const startedAt = performance.now()
  await refused(
    pooled.transaction(
      async (tx) => {
        await tx.accounts.query('update account set balance = balance - 1 where id = 6')
        await tx.accounts.query('select pg_sleep(30)')
      },
      { timeoutMs: TIMEOUT_MS },
    ),
    { code: 'DEADLINE_EXCEEDED' },
  )
  await expect.poll(() => db.observer.lockAll().then(() => 'free'), { interval: 20 }).toBe('free')
  expect(performance.now() - startedAt).toBeLessThan(TIMEOUT_MS + AT_ONCE_MS)
  expect(bystander).toBeDefined()
  await bystander
  await other.end()
  await pooled.close()
  await pool.end()
  await bouncer.stop()
})

it('a session of the application keeps its own lock waits, with and without merged packets', async () => {
  for (const multipleStatements of [false, true]) {
    const pool = createPool({ uri: db.mysql.url, connectionLimit: 1, multipleStatements })
    const own = await Coordinator.open({
      log: await logDirectory(),
      participants: { wallets: mysql(pool) },
    })
    const waits = async (): Promise<unknown> =>
      (await pool.query('select @@innodb_lock_wait_timeout as a, @@lock_wait_timeout as b'))[0]
    const before = await waits()
    await own.transaction((tx) => tx.wallets.query('select * from wallet where id = 1 for update'))
    expect(await waits()).toEqual(before)
    await own.close()
    await pool.end()
  }
})

/** Locks the place in the index where every marker of this log is to be put. */
function gapOfMarkers(logId: string): string {
  return `select * from unanimous_branch where gtrid > 'una1-${logId}' and gtrid < 'una1-${logId}~' for update`
}
