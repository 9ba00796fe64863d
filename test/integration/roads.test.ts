/**
 * Other roads to the same servers: PgBouncer in transaction mode, TLS, Unix sockets. On each of them
 * a transfer commits, a refused one leaves nothing, connections that are killed after the decision
 * are settled all the same, and our own connections take the road of the pool.
 */
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createPool, type PoolOptions, type RowDataPacket } from 'mysql2/promise'
import { Client, Pool, type PoolConfig } from 'pg'
import { Coordinator } from 'unanimous'
import { type BranchRequest, systemClock } from 'unanimous/adapter'
import { mysql } from 'unanimous/mysql2'
import { type PostgresOptions, postgres } from 'unanimous/pg'
import { afterAll, describe, expect, it } from 'vitest'
import { logDirectory } from '../support/bank.ts'
import { makeCertificate } from '../support/certificate.ts'
import { sharedServers, testDatabases } from '../support/databases.ts'
import { serverAccount } from '../support/servers/account.ts'
import {
  createDatabase,
  type Server,
  startMysqlFamily,
  startPostgres,
} from '../support/servers/index.ts'
import { BOUNCER_POOL_SIZE, startPgBouncer } from '../support/servers/pgbouncer.ts'

const shared = sharedServers()
const quiet = (): void => undefined
const SETTINGS = ['max_prepared_transactions=50', 'max_connections=100']

/** For files that the servers read: short, since a socket's path may have 107 bytes. */
const folder = mkdtempSync('/tmp/unanimous-road-')
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const account = await serverAccount()
if (account !== undefined) chownSync(folder, account.uid, account.gid)

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  if (account !== undefined) chownSync(path, account.uid, account.gid)
  return path
}

interface Road {
  readonly ledger: PoolConfig
  readonly shop: PoolOptions
  /** Plain logins to the same databases, for looking and killing. */
  readonly ledgerUrl: string
  readonly shopAdmin: PoolOptions
  /** Of the participant's own connection. Default: made like the pool's. */
  readonly settleUrl?: string
}

interface Bank {
  readonly coordinator: Coordinator<{
    ledger: ReturnType<typeof postgres>
    shop: ReturnType<typeof mysql>
  }>
  readonly pool: Pool
  readonly looking: Client
  readonly admin: ReturnType<typeof createPool>
  /** Called once, after the decision. */
  afterDecision(work: () => Promise<void>): void
  balances(): Promise<readonly [number, number]>
  close(): Promise<void>
}

async function openBank(road: Road): Promise<Bank> {
  const looking = new Client({ connectionString: road.ledgerUrl })
  looking.on('error', quiet)
  await looking.connect()
  const admin = createPool({ ...road.shopAdmin, connectionLimit: 1 })
  await looking.query('create table if not exists account (id int primary key, balance int)')
  await looking.query('insert into account values (1, 100) on conflict do nothing')
  await admin.query('create table if not exists wallet (id int primary key, balance int)')
  await admin.query('insert ignore into wallet values (1, 100)')
  const pool = new Pool({ max: 8, ...road.ledger })
  pool.on('error', quiet)
  const shop = createPool({ ...road.shop, connectionLimit: 8 })
  let after: (() => Promise<void>) | undefined
  const coordinator = await Coordinator.open({
    log: await logDirectory(),
    participants: {
      ledger: postgres(pool, { allow: ['pooler'], answerMs: 2_000, ...ownRoad(road) }),
      shop: mysql(shop),
    },
    recoveryIntervalMs: 100,
    seams: {
      failpoints: async (name) => {
        const work = name === 'decide:after' ? after : undefined
        if (work === undefined) return
        after = undefined
        await work()
      },
    },
  })
  return {
    coordinator,
    pool,
    looking,
    admin,
    afterDecision: (work) => {
      after = work
    },
    async balances() {
      const { rows } = await looking.query<{ balance: number }>('select balance from account')
      const [wallets] = await admin.query<RowDataPacket[]>('select balance from wallet')
      return [Number(rows[0]?.balance), Number(wallets[0]?.['balance'])]
    },
    async close() {
      await coordinator.close()
      await Promise.all([pool.end(), shop.end(), admin.end(), looking.end()])
    },
  }
}

function ownRoad({ settleUrl }: Pick<Road, 'settleUrl'>): Pick<PostgresOptions, 'connect'> {
  if (settleUrl === undefined) return {}
  return {
    async connect() {
      const client = new Client({ connectionString: settleUrl })
      client.on('error', quiet)
      await client.connect()
      return client
    },
  }
}

async function transfer(
  { coordinator }: Bank,
  amount: number,
  then = quiet,
  timeoutMs = 30_000,
): Promise<void> {
  await coordinator.transaction(
    async (tx) => {
      await tx.ledger.query('update account set balance = balance - $1 where id = 1', [amount])
      await tx.shop.query('update wallet set balance = balance + ? where id = 1', [amount])
      then()
    },
    { timeoutMs },
  )
}

/** Ends every session of the coordinator in both databases, as an administrator would. */
async function killAll({ looking, admin }: Bank): Promise<number> {
  const { rows } = await looking.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
  )
  const [sessions] = await admin.query<RowDataPacket[]>(
    'select id from information_schema.processlist where db = database() and id <> connection_id()',
  )
  for (const session of sessions) {
    const id = Number(session['id'] ?? session['ID'])
    await admin.query(`kill ${id}`).catch(quiet)
  }
  return rows.length + sessions.length
}

async function prepared({ looking, admin }: Bank): Promise<number> {
  const { rows } = await looking.query(
    'select gid from pg_prepared_xacts where database = current_database()',
  )
  const [branches] = await admin.query<RowDataPacket[]>('xa recover')
  return rows.length + branches.filter((row) => String(row['data']).includes('una1-')).length
}

function everyRoad(open: () => Promise<Bank>): void {
  let bank: Bank
  it('opens', async () => {
    bank = await open()
    afterAll(() => bank.close())
    expect(await bank.balances()).toEqual([100, 100])
  })

  it('a transfer commits on both sides, a refused one on neither', async () => {
    await transfer(bank, 10)
    expect(await bank.balances()).toEqual([90, 110])
    const refused = transfer(bank, 10, () => {
      throw new Error('changed my mind')
    })
    await expect(refused).rejects.toMatchObject({ outcome: 'rolled-back' })
    expect(await bank.balances()).toEqual([90, 110])
    expect(await prepared(bank)).toBe(0)
  })

  it('sessions killed before the vote: nothing; killed after the decision: settled', async () => {
    const refused = bank.coordinator.transaction(async (tx) => {
      await tx.ledger.query('update account set balance = balance - 1 where id = 1')
      await tx.shop.query('update wallet set balance = balance + 1 where id = 1')
      expect(await killAll(bank)).toBeGreaterThanOrEqual(2)
    })
    await expect(refused).rejects.toMatchObject({ outcome: 'rolled-back' })
    expect(await bank.balances()).toEqual([90, 110])
    let killed = 0
    bank.afterDecision(async () => {
      killed = await killAll(bank)
    })
    await transfer(bank, 10)
    expect(killed).toBeGreaterThanOrEqual(2)
    await expect.poll(() => prepared(bank)).toBe(0)
    expect(await bank.balances()).toEqual([80, 120])
  })

  it('goes on afterwards, many at a time', async () => {
    await Promise.all(Array.from({ length: 24 }, () => transfer(bank, 1)))
    expect(await bank.balances()).toEqual([56, 144])
    expect(await prepared(bank)).toBe(0)
  })
}

describe('PgBouncer, pool_mode = transaction', async () => {
  const { postgres: ledger, mysql: shop } = await testDatabases()
  const bouncer = await startPgBouncer(ledger.url, quiet)
  afterAll(() => bouncer.stop())
  let bank: Bank
  everyRoad(async () => {
    bank = await openBank({
      // One less than it has server connections: see docs/servers.md.
      ledger: { connectionString: bouncer.url, max: BOUNCER_POOL_SIZE - 1 },
      shop: { uri: shop.url },
      ledgerUrl: ledger.url,
      shopAdmin: { uri: shop.url },
    })
    return bank
  })

  it('SET LOCAL of a branch reaches no other client', async () => {
    await Promise.all(
      Array.from({ length: 12 }, () =>
        bank.coordinator.transaction(async (tx) => {
          await tx.ledger.query(`set local application_name = 'leaky'`)
          await tx.ledger.query('update account set balance = balance where id = 1')
          await tx.shop.query('update wallet set balance = balance where id = 1')
        }),
      ),
    )
    const asked = Array.from({ length: 16 }, () =>
      bank.pool.query<{ branch: string; name: string; pid: number }>(
        `select coalesce(current_setting('unanimous.branch', true), '') as branch,
         current_setting('application_name') as name, pg_backend_pid() as pid, pg_sleep(0.05)`,
      ),
    )
    const rows = (await Promise.all(asked)).flatMap((one) => one.rows)
    expect(new Set(rows.map(({ pid }) => pid)).size, 'backends seen').toBeGreaterThan(1)
    expect(rows.filter(({ branch, name }) => branch !== '' || name === 'leaky')).toEqual([])
  })

  it('statements given in advance commit in both, or leave nothing', async () => {
    const [before = 0, others = 0] = await bank.balances()
    const pay = {
      on: 'ledger',
      text: 'update account set balance = balance - $1 where id = 1 returning balance',
      values: [1],
    } as const
    const earn = {
      on: 'shop',
      text: 'update wallet set balance = balance + ? where id = 1',
      values: [1],
    } as const
    const told = await Promise.all(
      Array.from({ length: 12 }, () => bank.coordinator.execute([pay, earn])),
    )
    const seen = told.map(([{ rows }]) => Number((rows[0] as { balance: number }).balance))
    expect(new Set(seen).size, 'each saw a balance of its own').toBe(12)
    const fails = { on: 'ledger', text: 'select 1 / 0' } as const
    await expect(bank.coordinator.execute([pay, earn, fails])).rejects.toMatchObject({
      code: 'STATEMENT_FAILED',
      outcome: 'rolled-back',
    })
    expect(await bank.balances()).toEqual([before - 12, others + 12])
    expect(await prepared(bank)).toBe(0)
  })

  it('a pool as large as its own: those that wait end at their deadline, the sums hold', async () => {
    const crowded = await openBank({
      ledger: { connectionString: bouncer.url, max: 2 * BOUNCER_POOL_SIZE },
      shop: { uri: shop.url },
      ledgerUrl: ledger.url,
      shopAdmin: { uri: shop.url },
    })
    const [before = 0, others = 0] = await crowded.balances()
    const ended = await Promise.allSettled(
      Array.from({ length: 16 }, () => transfer(crowded, 1, quiet, 1_500)),
    )
    const refused = ended.filter(({ status }) => status === 'rejected')
    for (const one of refused) expect(one).toMatchObject({ reason: { outcome: 'rolled-back' } })
    await expect.poll(() => prepared(crowded), { timeout: 30_000 }).toBe(0)
    const moved = ended.length - refused.length
    expect(await crowded.balances()).toEqual([before - moved, others + moved])
    await transfer(crowded, 1)
    await crowded.close()
  })

  it('a pool as large as its own, and a way past it: nobody waits in vain', async () => {
    const crowded = await openBank({
      ledger: { connectionString: bouncer.url, max: 2 * BOUNCER_POOL_SIZE },
      shop: { uri: shop.url },
      ledgerUrl: ledger.url,
      shopAdmin: { uri: shop.url },
      settleUrl: ledger.url,
    })
    const [before = 0, others = 0] = await crowded.balances()
    await Promise.all(Array.from({ length: 48 }, () => transfer(crowded, 1)))
    expect(await crowded.balances()).toEqual([before - 48, others + 48])
    expect(await prepared(crowded)).toBe(0)
    await crowded.close()
  })

  it.each(['commit', 'abort'] as const)(
    'with a way past it, %s of a prepared branch waits for no server connection',
    async (decision) => {
      const pool = new Pool({ connectionString: bouncer.url, max: 2 * BOUNCER_POOL_SIZE })
      pool.on('error', quiet)
      const participant = postgres(pool, ownRoad({ settleUrl: ledger.url })).create({
        name: 'ledger',
        clock: systemClock,
        warn: ({ code }) => expect.fail(code),
      })
      await pool.query('create table if not exists single (id int)')
      const branch = participant.branch(branchRequest(decision === 'commit' ? 11 : 12))
      await branch.handle.query('insert into single values (1)')
      const vote = await branch.vote()
      expect(vote).toMatchObject({ kind: 'prepared' })
      // All that PgBouncer has, as those who wait for the branch's rows would hold them.
      const holders = await Promise.all(
        Array.from({ length: BOUNCER_POOL_SIZE }, () => pool.connect()),
      )
      for (const holder of holders) await holder.query('begin')
      const settled = decision === 'commit' ? branch.commit() : branch.rollback()
      expect(await settled).toEqual({ kind: 'answered' })
      for (const holder of holders) {
        await holder.query('rollback')
        holder.release()
      }
      const { rows } = await pool.query('select id from single')
      expect(rows).toHaveLength(decision === 'commit' ? 1 : 0)
      await pool.query('drop table single')
      expect(pool.totalCount, 'the connection that waited is gone').toBe(BOUNCER_POOL_SIZE)
      await participant.close()
      await pool.end()
    },
  )
})

it.each([false, true])(
  'behind PgBouncer a branch names the life of the server that it was prepared in, own connection past it: %s',
  async (past) => {
    const server = await startPostgres({ version: shared.postgres.version }, { settings: SETTINGS })
    const bouncer = await startPgBouncer(server.url, quiet)
    const pool = new Pool({ connectionString: bouncer.url, max: 1 })
    pool.on('error', quiet)
    const own = past ? ownRoad({ settleUrl: server.url }) : {}
    const participant = postgres(pool, own).create({
      name: 'ledger',
      clock: systemClock,
      warn: quiet,
    })
    const lives: number[] = []
    let client: unknown
    pool.on('acquire', (acquired) => {
      if (client !== undefined) expect(acquired, 'the connection outlives the server').toBe(client)
      client = acquired
    })
    for (const life of [1, 2]) {
      const branch = participant.branch(branchRequest(life))
      await branch.handle.query(`create table life_${life} (id int)`)
      const vote = await branch.vote()
      if (vote.kind !== 'prepared') throw new Error(`voted ${vote.kind}`)
      lives.push(vote.evidence.server.startedAtMs)
      await branch.rollback()
      if (life === 2) break
      await server.kill()
      await server.restart()
      // PgBouncer meets the dead connections, and makes new ones.
      await expect.poll(() => pool.query('select 1').then(() => true, quiet)).toBe(true)
    }
    expect(lives[1]).toBeGreaterThan(lives[0] ?? Number.POSITIVE_INFINITY)
    await participant.close()
    await pool.end()
    await bouncer.stop()
    await server.stop()
  },
)

function branchRequest(sequence: number): BranchRequest {
  return {
    gtrid: `una1-0000000000000000-1.00000000-${sequence}`,
    isolation: undefined,
    readOnly: false,
    enlist: () => 10_000,
    savepoints: () => [],
    seat: async () => ({
      taken: () => undefined,
      left: () => undefined,
      onceHeld: () => undefined,
    }),
    outside: (work) => work(),
  }
}

interface Private {
  readonly pg: Server
  readonly family: Server
  readonly ledger: URL
  readonly shop: URL
}

async function privateServers(pgSettings: string[], familySettings: string[]): Promise<Private> {
  const pg = await startPostgres(
    { version: shared.postgres.version },
    { settings: [...SETTINGS, ...pgSettings] },
  )
  afterAll(() => pg.stop())
  const family = await startMysqlFamily(
    {
      flavour: shared.mysql.flavour === 'mariadb' ? 'mariadb' : 'mysql',
      version: shared.mysql.version,
    },
    { settings: familySettings },
  )
  afterAll(() => family.stop())
  const ledger = new URL(await createDatabase(pg, 'bank'))
  const shop = new URL(await createDatabase(family, 'bank'))
  return { pg, family, ledger, shop }
}

describe('TLS', async () => {
  const { certificate, key } = makeCertificate()
  const [certificateFile, keyFile] = [file('certificate', certificate), file('key', key)]
  const { ledger, shop } = await privateServers(
    ['ssl=on', `ssl_cert_file=${certificateFile}`, `ssl_key_file=${keyFile}`],
    [`--ssl-cert=${certificateFile}`, `--ssl-key=${keyFile}`, `--ssl-ca=${certificateFile}`],
  )
  const tls = { ca: certificate }
  let bank: Bank
  everyRoad(async () => {
    bank = await openBank({
      ledger: { connectionString: ledger.href, ssl: tls },
      shop: { uri: shop.href, ssl: tls },
      ledgerUrl: ledger.href,
      shopAdmin: { uri: shop.href, ssl: tls },
    })
    // From here on a connection without TLS, one of our own too, is refused.
    await bank.admin.query('set global require_secure_transport = on')
    return bank
  })

  it('our own connections are encrypted like those of the pool', async () => {
    const { rows } = await bank.looking.query<{ ssl: boolean; sessions: number }>(
      `select ssl, count(*)::int as sessions from pg_stat_ssl join pg_stat_activity using (pid)
       where datname = current_database() and pid <> pg_backend_pid() group by ssl`,
    )
    expect(rows).toEqual([{ ssl: true, sessions: expect.any(Number) }])
    const plain = createPool({ uri: shop.href })
    await expect(plain.query('select 1')).rejects.toThrow()
    await plain.end()
  })

  it('a certificate that is not trusted is refused by our own connections as by the pool', async () => {
    const pool = new Pool({
      connectionString: ledger.href,
      ssl: { ca: makeCertificate().certificate },
    })
    const participant = postgres(pool).create({
      name: 'ledger',
      clock: systemClock,
      warn: quiet,
    })
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNREACHABLE',
      message: expect.stringMatching(/certificate/),
    })
    await participant.close()
    await pool.end()
  })
})

describe('Unix sockets', async () => {
  const socketPath = join(folder, 's.sock')
  const { ledger, shop } = await privateServers(
    [`unix_socket_directories=${folder}`],
    [`--socket=${socketPath}`],
  )
  const pgLogin = {
    user: ledger.username,
    password: ledger.password,
    database: 'bank',
    port: Number(ledger.port),
  }
  const login = { user: shop.username, password: shop.password, database: 'bank' }
  let bank: Bank
  everyRoad(async () => {
    expect(statSync(socketPath).isSocket()).toBe(true)
    bank = await openBank({
      ledger: { ...pgLogin, host: folder },
      shop: { ...login, socketPath },
      ledgerUrl: ledger.href,
      shopAdmin: { uri: shop.href },
    })
    return bank
  })

  it('our own connections go through the socket like those of the pool', async () => {
    const { rows } = await bank.looking.query<{ addr: string | null }>(
      `select distinct client_addr as addr from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    )
    expect(rows).toEqual([{ addr: null }])
    const [sessions] = await bank.admin.query<RowDataPacket[]>(
      `select distinct substring_index(host, ':', 1) as place from information_schema.processlist
       where db = database() and id <> connection_id()`,
    )
    expect(sessions.map((row) => String(row['place']))).toEqual(['localhost'])
  })
})
