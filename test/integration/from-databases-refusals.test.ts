/** Every reason for which `unanimous recover --from-databases` must roll back nothing, and says why. */
import { rename } from 'node:fs/promises'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { TransactionError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { openPools } from '../../examples/transfer/environment.ts'
import { type BankCoordinator, openBank, participants } from '../../examples/transfer/transfer.ts'
import type { CliConfig } from '../../src/config.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readLog } from '../../src/log/read-log.ts'
import { createMarkerTables, logDirectory, testBank } from '../support/bank.ts'
import { crash } from '../support/crash.ts'
import { testDatabases } from '../support/databases.ts'
import { Left, LostLogs, NOWHERE, operator } from '../support/lost-log.ts'
import { refused as refusedTransaction } from '../support/refused.ts'

const bank = await testBank({ markers: true })
const { accounts, wallets } = bank.pools
const command = await operator()
const logs = new LostLogs(bank, command)
const bare = await testBank({ markers: false })
const bareLogs = new LostLogs(bare, command)
const other = await testDatabases()
const elsewhere = openPools(other.postgres.url, other.mysql.url)
afterAll(() => elsewhere.close())
await createMarkerTables(elsewhere)

/** The log whose branches stay until a test has seen the refusal. */
let open = ''
afterEach(async () => {
  if (open !== '') await logs.recoverAll(open)
  open = ''
  await logs.agree()
})

/** Applies, and nothing happens. Answers every kind of reason that was given for the log's branches. */
async function refused(config: CliConfig, ...words: readonly string[]) {
  const before = await logs.prepared(open)
  expect(before.length).toBeGreaterThan(0)
  const applied = await command(config, ...words, '--apply', '--json')
  expect(await logs.prepared(open)).toEqual(before)
  const { left } = Left.parse(JSON.parse(applied.out))
  const ours = left.filter(({ logId }) => logId === open)
  const told = await command(config, ...words)
  expect(told.out).toContain('Left alone:')
  expect(told.err).toContain('Left alone because ')
  const kinds = ours.flatMap(({ hindrances }) => hindrances.map(({ kind }) => kind))
  return { code: applied.code, kinds: [...new Set(kinds)], err: told.err }
}

/** A coordinator of this process that stays before its decision, everything prepared. */
async function undecided(place: number) {
  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const alive: BankCoordinator = await openBank(accounts, wallets, {
    log: await logDirectory(),
    seams: { failpoints: (name) => (name === 'decide:before' ? held : undefined) },
  })
  const id = `alive-${place}`
  const transfer = alive.transaction(async (tx) => {
    await tx.accounts.query('insert into transfer values ($1, $2, 0)', [id, place])
    await tx.wallets.query('insert into transfer (id, wallet, amount) values (?, ?, 0)', [
      id,
      place,
    ])
  })
  await expect.poll(() => logs.prepared(alive.logId)).toEqual(['accounts', 'wallets'])
  return {
    logId: alive.logId,
    /** Decides, and answers what the caller heard. */
    async decide(): Promise<string> {
      release()
      const heard = await transfer.then(
        () => 'committed',
        (error: unknown) => (error instanceof TransactionError ? error.outcome : String(error)),
      )
      await alive.close()
      expect((await logs.agree()).has(id)).toBe(heard === 'committed')
      return heard
    },
  }
}

describe('rolls nothing back', () => {
  it('without the operator’s word', async () => {
    open = (await logs.loseBoth()).logId
    const { code, kinds, err } = await refused(logs.config())
    expect([code, kinds]).toEqual([3, ['no-word']])
    expect(err).toContain(`--owner-is-dead ${open}, if no process works with that log any more`)
  })

  it('of a live sibling’s log that the operator did not name', async () => {
    const dead = await logs.loseBoth()
    const sibling = await undecided(2)
    open = sibling.logId
    const { kinds } = await refused(logs.config(), '--owner-is-dead', dead.logId)
    expect(kinds).toContain('no-word')
    expect(await logs.prepared(dead.logId), 'the one that was named').toEqual([])
    expect(await sibling.decide()).toBe('committed')
  })

  it('of a live owner that the operator took for dead: its sessions have voted', async () => {
    const alive = await undecided(3)
    open = alive.logId
    const { kinds, err } = await refused(logs.config(), '--owner-is-dead', open)
    expect(kinds).toEqual(['session'])
    // Each server gives it away by itself.
    expect(err).toMatch(/session \d+ of accounts works for its log/)
    expect(err).toMatch(/session \d+ of wallets works for its log/)
    expect(await alive.decide()).toBe('committed')
  })

  it.each(['accounts', 'wallets'] as const)(
    'with %s left out of the configuration',
    async (out) => {
      open = (await logs.loseBoth()).logId
      const all = participants(accounts, wallets)
      const rest = out === 'accounts' ? { wallets: all.wallets } : { accounts: all.accounts }
      const config = { log: NOWHERE, participants: rest }
      const { code, kinds, err } = await refused(config, '--owner-is-dead', open)
      expect([code, kinds]).toEqual([3, ['not-configured']])
      expect(err).toContain(`${out} is not configured`)
    },
  )

  it('while a participant does not answer: 5', async () => {
    open = (await logs.loseBoth()).logId
    const nobody = new pg.Pool({ connectionString: 'postgres://app@127.0.0.1:1/ledger' })
    nobody.on('error', () => undefined)
    const config = logs.config({ accounts: postgres(nobody) })
    const { code, kinds } = await refused(config, '--owner-is-dead', open)
    expect([code, kinds]).toEqual([5, ['silent']])
    await nobody.end()
  })

  it.each(['accounts', 'wallets'] as const)(
    'with another database under the name of %s, which hides what the right one has committed',
    async (wrong) => {
      open = (await logs.loseBoth('decide:after')).logId
      await logs.commitIn(wrong, open)
      const config = logs.config(
        wrong === 'accounts'
          ? { accounts: postgres(elsewhere.accounts) }
          : { wallets: mysql(elsewhere.wallets) },
      )
      const { code, kinds } = await refused(config, '--owner-is-dead', open)
      expect([code, kinds]).toEqual([3, ['not-announced']])
    },
  )

  it('while a session names the log, and goes on when it has ended', async () => {
    open = (await logs.loseBoth()).logId
    const text = `una1-${open}-`
    for (const slow of [
      () => accounts.query(`select pg_sleep(3) /* ${text} */`),
      () => wallets.query(`select sleep(3) /* ${text} */`),
    ]) {
      const running = slow()
      await expect
        .poll(async () => (await command(logs.config(), '--owner-is-dead', open)).out)
        .toContain('works for its log')
      const { kinds, err } = await refused(logs.config(), '--owner-is-dead', open)
      expect(kinds).toEqual(['session'])
      expect(err).toMatch(/wait \(--wait 30s\), or end it: pg_terminate_backend\(\d+\), KILL \d+/)
      await running
    }
    const running = wallets.query(`select sleep(1) /* ${text} */`)
    await logs.recoverAll(open)
    await running
  })
})

it('without marker tables, nor with tables that were made since; the log settles it', async () => {
  const log = await logDirectory()
  await crash(bareLogs.urls, log, { SCENARIO: 'commit', POINT: 'prepare:after-all', RUN: 'bare' })
  const { logId } = await readLog(log, nodeFileSystem)
  await rename(log, `${log}-away`)
  await expect.poll(() => bareLogs.prepared(logId)).toEqual(['accounts', 'wallets'])
  for (const reason of ['has not both tables', 'does not know its incarnation']) {
    const { code, out } = await command(bareLogs.config(), '--owner-is-dead', logId, '--apply')
    expect(code).toBe(3)
    expect(out).toContain(`accounts ${reason}; wallets ${reason}`)
    expect(await bareLogs.prepared(logId)).toEqual(['accounts', 'wallets'])
    await createMarkerTables(bare.pools)
  }
  await rename(`${log}-away`, log)
  const settled = await openBank(bare.pools.accounts, bare.pools.wallets, { log })
  await expect.poll(() => bareLogs.prepared(logId)).toEqual([])
  await settled.close()
})

describe('the log of the configuration', () => {
  it('that is sound speaks for itself: 2; held: 6; its transactions are left to it', async () => {
    const log = await logDirectory()
    await crash(logs.urls, log, { SCENARIO: 'commit', POINT: 'decide:after', RUN: 'here' })
    const { logId } = await readLog(log, nodeFileSystem)
    const config = { ...logs.config(), log }
    await expect.poll(() => logs.prepared(logId)).toEqual(['accounts', 'wallets'])
    const sound = await command(config, '--owner-is-dead', logId, '--apply')
    expect([sound.code, sound.out]).toEqual([2, ''])
    expect(sound.err).toContain('`unanimous recover --apply`')
    await logs.commitIn('accounts', logId)
    const left = await command(config, '--apply')
    expect([left.code, left.out]).toEqual([0, expect.stringContaining('its log is here')])
    expect(await logs.prepared(logId)).toEqual(['wallets'])

    const settled = await openBank(accounts, wallets, { log })
    const held = await command(config, '--owner-is-dead', logId, '--apply')
    expect([held.code, held.out]).toEqual([6, ''])
    expect(held.err).toContain(`is held by process ${process.pid} on`)
    // It was begun after a loss: what the lost log left is settled while it works.
    const lost = await logs.loseBoth()
    const words = ['--owner-is-dead', lost.logId, '--apply', '--wait', '20s']
    expect((await command(config, ...words)).code).toBe(0)
    expect(await logs.prepared(lost.logId)).toEqual([])
    await settled.close()
    expect(await logs.agree()).toContain('here-last')
  })
})

it('ordinary roles see enough if the branch is their own (PostgreSQL), or with PROCESS (XA)', async () => {
  const role = `teller_${bank.postgres.name}`
  await accounts.query(`create role ${role} login password 'teller'`)
  await accounts.query(`grant all on all tables in schema public to ${role}`)
  const user = role.slice(0, 30)
  await wallets.query(`create user '${user}'@'%' identified by 'teller'`)
  await wallets.query(`grant all on \`${bank.mysql.name}\`.* to '${user}'@'%'`)
  if (bank.mysql.flavour === 'mysql') {
    await wallets.query(`grant xa_recover_admin on *.* to '${user}'@'%'`)
  }
  const login = (url: string, name: string): string => {
    const own = new URL(url)
    own.username = name
    own.password = 'teller'
    return own.href
  }
  const from = {
    accounts: login(logs.urls.accounts, role),
    wallets: login(logs.urls.wallets, user),
  }
  const { logId } = await logs.lose('prepare:after-all', { from })
  await expect.poll(() => logs.prepared(logId)).toEqual(['accounts', 'wallets'])
  const ledger = new pg.Pool({ connectionString: from.accounts })
  const words = ['--owner-is-dead', logId, '--apply', '--wait', '5s']
  const apply = async () => {
    const pool = createPool({ uri: from.wallets })
    const config = { log: NOWHERE, participants: participants(ledger, pool) }
    const ran = await command(config, ...words)
    await pool.end()
    return ran
  }
  const { code, out, err } = await apply()
  expect([code, await logs.prepared(logId)]).toEqual([3, ['accounts', 'wallets']])
  expect(out).toMatch(/accounts, wallets {2}sessions of wallets are hidden\n/)
  expect(err).toContain('GRANT PROCESS ON *.* TO the user')
  await wallets.query(`grant process on *.* to '${user}'@'%'`)
  expect([(await apply()).code, await logs.prepared(logId)]).toEqual([0, []])
  await ledger.end()
  await wallets.query(`drop user '${user}'@'%'`)
  await accounts.query(`drop owned by ${role}`)
  await accounts.query(`drop role ${role}`)
})

it('a role that may not announce its participants is refused before anything is prepared', async () => {
  const role = `clerk_${bank.postgres.name}`
  await accounts.query(`create role ${role} login password 'clerk'`)
  await accounts.query(`grant all on account, transfer, unanimous_branch to ${role}`)
  const url = new URL(logs.urls.accounts)
  url.username = role
  url.password = 'clerk'
  const own = new pg.Pool({ connectionString: url.href })
  const clerk = await openBank(own, wallets, { log: await logDirectory() })
  const transfer = clerk.transaction(async (tx) => {
    await tx.accounts.query("insert into transfer values ('denied', 1, 0)")
    await tx.wallets.query("insert into transfer (id, wallet, amount) values ('denied', 1, 0)")
  })
  const error = await refusedTransaction(transfer, { outcome: 'rolled-back', retryable: true })
  expect([error.code, error.hint]).toEqual([
    'PREPARE_REFUSED',
    'GRANT SELECT, INSERT ON the table unanimous_log TO the user',
  ])
  expect(await logs.prepared(clerk.logId)).toEqual([])
  await accounts.query(`grant select, insert on unanimous_log to ${role}`)
  // No restart: the next transaction announces again.
  await clerk.transaction(async (tx) => {
    await tx.accounts.query("insert into transfer values ('allowed', 1, 0)")
    await tx.wallets.query("insert into transfer (id, wallet, amount) values ('allowed', 1, 0)")
  })
  await clerk.close()
  await own.end()
  await accounts.query(`drop owned by ${role}`)
  await accounts.query(`drop role ${role}`)
})
