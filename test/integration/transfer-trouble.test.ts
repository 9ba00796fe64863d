/**
 * Trouble around the transactions: databases that are unfit, down or come back, logs that are held
 * or unreadable, and closing while work is running. Each gives one clear error, and nothing
 * half-done.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator, UnanimousError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openPools } from '../../examples/transfer/environment.ts'
import { openBank, transfer } from '../../examples/transfer/transfer.ts'
import { systemClock } from '../../src/clock.ts'
import { logDirectory, testBank } from '../support/bank.ts'
import { crash } from '../support/crash.ts'
import { doorTo } from '../support/door.ts'
import { refused } from '../support/refused.ts'
import { startUnfitPostgres } from '../support/unfit-postgres.ts'

const db = await testBank({ markers: true })
const { accounts, wallets } = db.pools
const WORKER = fileURLToPath(new URL('../../examples/transfer/worker.ts', import.meta.url))

/** The error that an opening ends with; closes what opened all the same. */
async function unopened(opening: Promise<{ close(): Promise<unknown> }>): Promise<UnanimousError> {
  const error = await opening.then(
    async (opened) => {
      await opened.close()
      return expect.fail('it opened')
    },
    (cause: unknown) => cause,
  )
  if (!(error instanceof UnanimousError)) throw error
  expect(error.message).toMatch(/^\S.*\S$/)
  expect(error.hint).toMatch(/\w+/)
  return error
}

describe('refuses to open', () => {
  it('on a log that this process holds already, and opens once it is closed', async () => {
    const log = await logDirectory()
    const first = await openBank(accounts, wallets, { log })
    const error = await unopened(openBank(accounts, wallets, { log }))
    expect(error.code).toBe('LOG_LOCKED')
    expect(error.message).toContain(`${process.pid}`)
    // The refused one took nothing away from the owner.
    await transfer(first, { id: 'held', from: { account: 1 }, to: { wallet: 1 }, amount: 1 })
    await first.close()
    await (await openBank(accounts, wallets, { log })).close()
  })

  it('on a log directory that is a file', async () => {
    const log = await logDirectory()
    await writeFile(log, 'not a directory')
    expect((await unopened(openBank(accounts, wallets, { log }))).code).toBe('LOG_UNREADABLE')
  })

  it('on a log directory whose parent is a file', async () => {
    const parent = await logDirectory()
    await writeFile(parent, 'not a directory')
    const opening = openBank(accounts, wallets, { log: `${parent}/decisions` })
    expect((await unopened(opening)).code).toBe('LOG_UNREADABLE')
  })

  it.each(['n'.repeat(41), 'with.dot', 'with space', '1st', '', 'then', 'gtrid'])(
    'with a participant that is named %o',
    async (name) => {
      const participants = { [name]: postgres(accounts) }
      const opening = Coordinator.open({ log: await logDirectory(), participants })
      expect((await unopened(opening)).code).toBe('INVALID_OPTION')
    },
  )

  it('with a PostgreSQL that cannot prepare, and says which setting helps', async () => {
    const server = await startUnfitPostgres()
    onTestFinished(() => server.stop())
    const pool = new pg.Pool({ connectionString: server.url })
    pool.on('error', () => undefined)
    const participants = { accounts: postgres(pool), wallets: mysql(wallets) }
    const log = await logDirectory()
    const error = await unopened(Coordinator.open({ log, participants }))
    expect(error.code).toBe('PARTICIPANT_UNFIT')
    expect(error.message).toContain('accounts')
    expect(error.hint).toContain('max_prepared_transactions')
    await server.mend()
    // The refusal left nothing behind: the same log opens as soon as the server is fit.
    await (await Coordinator.open({ log, participants })).close()
    await pool.end()
  })

  it('with a MySQL user who may not list prepared branches; MariaDB lets everyone', async () => {
    const url = new URL(db.mysql.url)
    const user = `teller_${db.mysql.name}`
    await wallets.query(`create user '${user}'@'%' identified by 'teller'`)
    onTestFinished(async () => {
      await wallets.query(`drop user '${user}'@'%'`)
    })
    await wallets.query(`grant all on \`${db.mysql.name}\`.* to '${user}'@'%'`)
    const pool = createPool({
      host: url.hostname,
      port: Number(url.port),
      user,
      password: 'teller',
      database: db.mysql.name,
    })
    const participants = { accounts: postgres(accounts), wallets: mysql(pool) }
    const log = await logDirectory()
    if (db.mysql.flavour === 'mysql') {
      const error = await unopened(Coordinator.open({ log, participants }))
      expect(error.code).toBe('PARTICIPANT_UNFIT')
      expect(error.hint).toContain('GRANT XA_RECOVER_ADMIN')
      await wallets.query(`grant xa_recover_admin on *.* to '${user}'@'%'`)
    }
    const bank = await Coordinator.open({ log, participants })
    await bank.transaction(async (tx) => {
      await tx.accounts.query('update account set balance = balance where id = 1')
      await tx.wallets.query('update wallet set balance = balance where id = 1')
    })
    await bank.close()
    await pool.end()
  })
})

it('an ordinary PostgreSQL role takes part', async () => {
  await accounts.query(`create role teller_${db.postgres.name} login password 'teller'`)
  await accounts.query(`grant all on all tables in schema public to teller_${db.postgres.name}`)
  const url = new URL(db.postgres.url)
  url.username = `teller_${db.postgres.name}`
  url.password = 'teller'
  const pool = new pg.Pool({ connectionString: url.href })
  const participants = { accounts: postgres(pool), wallets: mysql(wallets) }
  const bank = await Coordinator.open({ log: await logDirectory(), participants })
  await bank.transaction(async (tx) => {
    await tx.accounts.query('update account set balance = balance where id = 1')
    await tx.wallets.query('update wallet set balance = balance where id = 1')
  })
  await bank.close()
  await pool.end()
  await accounts.query(`drop owned by teller_${db.postgres.name}`)
  await accounts.query(`drop role teller_${db.postgres.name}`)
})

it.each(['accounts', 'wallets'] as const)(
  'a database that is down at open delays its own branches and nothing else: %s',
  async (down) => {
    const door = await doorTo(down === 'accounts' ? db.postgres.url : db.mysql.url)
    const other = down === 'accounts' ? db.mysql.url : db.postgres.url
    const urls =
      down === 'accounts'
        ? { accounts: door.url, wallets: other }
        : { accounts: other, wallets: door.url }
    const log = await logDirectory()
    await crash(urls, log, { SCENARIO: 'commit', POINT: 'decide:after', RUN: down })
    const pools = openPools(urls.accounts, urls.wallets)
    await door.shut()

    const begin = performance.now()
    const bank = await openBank(pools.accounts, pools.wallets, { log })
    expect(performance.now() - begin).toBeLessThan(10_000)
    db.observer.only(bank.logId)
    // The other one's branch is settled without waiting.
    const databases = async (): Promise<readonly string[]> =>
      (await db.observer.inDoubt()).map(({ database }) => database)
    await expect.poll(databases).toEqual([down])
    // It works alone, and nothing is half-done with both.
    await bank.transaction(async (tx) => {
      if (down === 'accounts') await tx.wallets.query('delete from wallet where id = -1')
      else await tx.accounts.query('delete from account where id = -1')
    })
    const id = `while ${down} is down`
    const asked = transfer(bank, { id, from: { account: 2 }, to: { wallet: 2 }, amount: 1 })
    const error = await refused(asked, { outcome: 'rolled-back' })
    expect(['PARTICIPANT_UNREACHABLE', 'ENLIST_FAILED']).toContain(error.code)
    expect(error.retryable, 'it may be back for another try').toBe(true)

    await door.open()
    await expect.poll(() => db.observer.inDoubt()).toEqual([])
    const sides = [await db.observer.accounts(), await db.observer.wallets()]
    for (const side of sides) {
      expect(side.transfers).toContain(`${down}-last`)
      expect(side.transfers).not.toContain(id)
    }
    await transfer(bank, { id, from: { account: 2 }, to: { wallet: 2 }, amount: 1 })
    await db.observer.lockAll()
    await bank.close()
    await pools.close()
  },
)

describe('closing', () => {
  it('waits for a running transaction, which commits, and refuses new ones', async () => {
    const bank = await openBank(accounts, wallets, { log: await logDirectory() })
    let begun = (): void => undefined
    let go = (): void => undefined
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve
    })
    const goesOn = new Promise<void>((resolve) => {
      go = resolve
    })
    const running = bank.transaction(async (tx) => {
      await tx.accounts.query("insert into transfer values ('closing', 1, 0)")
      begun()
      await goesOn
      await tx.wallets.query("insert into transfer (id, wallet, amount) values ('closing', 1, 0)")
      return 'done'
    })
    await isBegun
    const closed = bank.close().then(() => 'closed')
    await refused(
      bank.transaction(() => undefined),
      {
        code: 'COORDINATOR_CLOSED',
        outcome: 'rolled-back',
      },
    )
    go()
    expect(await Promise.race([running, closed])).toBe('done')
    expect(await closed).toBe('closed')
    for (const side of [await db.observer.accounts(), await db.observer.wallets()]) {
      expect(side.transfers).toContain('closing')
    }
    expect(await bank.close()).toEqual({ ended: 1, aborted: 0, running: 0, left: 0 })
  })

  it('rolls back a transaction that goes on for longer than it waits', async () => {
    // Time runs twenty times as fast: close() waits ten seconds.
    const fast: typeof systemClock = {
      ...systemClock,
      timer: (delayMs, fire, holds) => systemClock.timer(delayMs / 20, fire, holds),
    }
    const bank = await openBank(accounts, wallets, {
      log: await logDirectory(),
      seams: { clock: fast },
    })
    db.observer.only(bank.logId)
    let finish: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      finish = resolve
    })
    const running = bank.transaction(
      async (tx) => {
        await tx.accounts.query("insert into transfer values ('outlives', 1, 0)")
        await tx.wallets.query(
          "insert into transfer (id, wallet, amount) values ('outlives', 1, 0)",
        )
        await held
      },
      { timeoutMs: Number.POSITIVE_INFINITY },
    )
    const heard = refused(running, { outcome: 'rolled-back' })
    await bank.close()
    finish()
    await heard
    expect(await db.observer.inDoubt()).toEqual([])
    await db.observer.lockAll()
    for (const side of [await db.observer.accounts(), await db.observer.wallets()]) {
      expect(side.transfers).not.toContain('outlives')
    }
  })
})

it('a process whose last act is close() ends in order, though only idle sockets are left', async () => {
  const urls = { accounts: db.postgres.url, wallets: db.mysql.url }
  const log = await logDirectory()
  await crash(urls, log, { SCENARIO: 'commit', POINT: 'decide:after', RUN: 'last-act' })
  const child = spawn(process.execPath, ['--import', 'tsx', WORKER], {
    env: {
      ...process.env,
      ACCOUNTS_URL: urls.accounts,
      WALLETS_URL: urls.wallets,
      DECISIONS: log,
      TRANSFERS: '0',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [out, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
  expect(out).toMatch(/"event":"done"/)
  expect(code).toBe(0)
})
