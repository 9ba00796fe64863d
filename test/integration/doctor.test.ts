/**
 * `unanimous doctor` on real servers that are set up wrongly, one way at a time: it names what is
 * wrong and the statement that mends it; the statement, executed as it was printed, mends it.
 */
import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createPool } from 'mysql2/promise'
import { Client, Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { type BranchRequest, type ParticipantWarning, systemClock } from 'unanimous/adapter'
import { mysql } from 'unanimous/mysql2'
import { type PostgresOptions, postgres } from 'unanimous/pg'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { mysqlSession } from '../contract/mysql-harness.ts'
import { pgSession } from '../contract/pg-harness.ts'
import { cliProject } from '../support/cli-project.ts'
import { sharedServers } from '../support/databases.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import { startPgBouncer } from '../support/servers/pgbouncer.ts'

const shared = sharedServers()
const isMariadb = shared.mysql.flavour === 'mariadb'
const quiet = (): void => undefined

/** As it ships: with max_prepared_transactions = 0. */
const pgServer = await startPostgres({ version: shared.postgres.version }, { settings: [] })
afterAll(() => pgServer.stop())
const family = await startMysqlFamily(
  { flavour: isMariadb ? 'mariadb' : 'mysql', version: shared.mysql.version },
  { settings: ['--log-bin=binlog', '--server-id=1', '--sync-binlog=1'] },
)
afterAll(() => family.stop())
const ledgerUrl = await createDatabase(pgServer, 'bank')
const shopUrl = await createDatabase(family, 'bank')
const project = await cliProject()

const Finding = z.object({
  code: z.string(),
  severity: z.enum(['unfit', 'allowed', 'unwise', 'unread']),
  message: z.string(),
  mend: z.string(),
  restart: z.boolean(),
})
type Finding = z.infer<typeof Finding>
const Trouble = z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() })
const Answer = z.object({
  schemaVersion: z.literal(1),
  generatedAt: z.iso.datetime(),
  log: z.object({
    directory: z.string(),
    logId: z.string().nullable(),
    owner: z.object({ pid: z.number() }).nullable(),
    fileSystem: z.string(),
    findings: z.array(Finding),
    trouble: Trouble.nullable(),
  }),
  participants: z.array(
    z.object({
      name: z.string(),
      server: z.string().nullable(),
      markers: z.boolean().nullable(),
      clockSkewMs: z.number().nullable(),
      settings: z.record(z.string(), z.string().nullable()),
      findings: z.array(Finding),
      trouble: Trouble.nullable(),
    }),
  ),
})

interface Setup {
  readonly ledger?: string
  readonly shop?: string
  readonly pgPool?: object
  readonly mysqlPool?: object
  readonly pgOptions?: object
  readonly mysqlOptions?: object
  /** Where the shop's own connection leads to. */
  readonly shopConnect?: string
  readonly log?: unknown
}

async function configure(setup: Setup = {}): Promise<void> {
  const ledger = { connectionString: setup.ledger ?? ledgerUrl, max: 2, ...setup.pgPool }
  const shop = { uri: setup.shop ?? shopUrl, connectionLimit: 2, ...setup.mysqlPool }
  await project.write(
    'unanimous.config.mjs',
    `import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
const ledger = new pg.Pool(${JSON.stringify(ledger)})
const shop = mysql2.createPool(${JSON.stringify(shop)})
export default {
  log: ${JSON.stringify(setup.log ?? './decisions')},
  participants: {
    ledger: postgres(ledger, ${JSON.stringify(setup.pgOptions ?? {})}),
    shop: mysql(shop, {
      ...${JSON.stringify(setup.mysqlOptions ?? {})},
      ${setup.shopConnect === undefined ? '' : `connect: () => mysql2.createConnection('${setup.shopConnect}'),`}
    }),
  },
  close: () => Promise.all([ledger.end(), shop.end()]),
}
`,
  )
}

interface Diagnosis {
  readonly code: number | null
  readonly answer: z.infer<typeof Answer>
  /** `severity code` of every finding, by participant. */
  readonly ledger: readonly string[]
  readonly shop: readonly string[]
  readonly finding: (code: string) => Finding
}

async function diagnose(setup?: Setup): Promise<Diagnosis> {
  await configure(setup)
  const { code, out, err } = await project.cli('doctor', '--json')
  if (out === '') throw new Error(`no answer: ${err}`)
  const answer = Answer.parse(JSON.parse(out))
  const of = (name: string): readonly Finding[] =>
    answer.participants.find((each) => each.name === name)?.findings ?? []
  const words = (name: string): string[] => of(name).map((each) => `${each.severity} ${each.code}`)
  return {
    code,
    answer,
    ledger: words('ledger'),
    shop: words('shop'),
    finding(wanted) {
      const found = [...of('ledger'), ...of('shop')].find((each) => each.code === wanted)
      if (found === undefined) throw new Error(`no ${wanted} in ${out}`)
      return found
    },
  }
}

async function onLedger(...texts: readonly string[]): Promise<void> {
  const session = await pgSession(ledgerUrl)
  for (const text of texts) await session.run(text)
  session.close()
}

async function onShop(...texts: readonly string[]): Promise<void> {
  const session = await mysqlSession(shopUrl)
  for (const text of texts) await session.run(text)
  session.close()
}

/** What an administrator does who believes the finding. */
async function mend(finding: Finding): Promise<void> {
  const isLedger = !/PERSIST|GLOBAL|XA_RECOVER_ADMIN|PROCESS|ENGINE/.test(finding.mend)
  const statements = finding.mend.split('; ')
  await (isLedger ? onLedger(...statements) : onShop(...statements))
  if (!finding.restart) return
  const server = isLedger ? pgServer : family
  await server.kill()
  await server.restart()
}

function as(url: string, user: string): string {
  const its = new URL(url)
  its.username = user
  its.password = 'secret'
  return its.href
}

afterEach(() => rm(join(project.folder, 'decisions'), { recursive: true, force: true }))

it('a PostgreSQL as it ships: what is missing, and the statement; mended, it is fit', async () => {
  await configure()
  const sick = await project.cli('doctor')
  expect(sick.code).toBe(3)
  expect(sick.out).toContain('unfit  no-prepared-transactions  max_prepared_transactions is 0')
  expect(sick.out).toContain('ALTER SYSTEM SET max_prepared_transactions = 100   (and restart the')
  expect(sick.err).toContain('1 to mend')
  const { ledger, finding } = await diagnose()
  expect(ledger).toEqual(['unfit no-prepared-transactions'])
  await mend(finding('no-prepared-transactions'))
  expect(await diagnose()).toMatchObject({ code: 0, ledger: [], shop: [] })
  const { code, out, err } = await project.cli('doctor')
  expect(code).toBe(0)
  expect(out).toContain(`ledger  PostgreSQL ${pgServer.version}  no marker rows: see`)
  expect(out).toMatch(/^log {2}.*decisions {2}\S.* {2}there is no log yet$/m)
  expect(err).toBe('Fit for two-phase commit.\n')
})

describe('PostgreSQL', () => {
  it.each([
    ['fsync', 'fsync-off', 'unfit', 3],
    ['full_page_writes', 'full-page-writes-off', 'unfit', 3],
    ['synchronous_commit', 'synchronous-commit-off', 'unwise', 0],
  ])('%s = off', async (name, code, severity, exit) => {
    await onLedger(`ALTER SYSTEM SET ${name} = off`, 'SELECT pg_reload_conf()')
    const seen = await diagnose()
    expect(seen).toMatchObject({ code: exit, ledger: [`${severity} ${code}`] })
    expect(seen.answer.participants[0]?.settings[name]).toBe('off')
    const allowed = await diagnose({ pgOptions: { allow: [code] } })
    expect(allowed).toMatchObject({ code: 0, ledger: [`allowed ${code}`] })
    await mend(seen.finding(code))
    expect(await diagnose()).toMatchObject({ code: 0, ledger: [] })
  })

  it('a setting of the role is mended at the role, one of the pool in the pool', async () => {
    await onLedger('ALTER ROLE postgres SET synchronous_commit = off')
    const { finding } = await diagnose()
    expect(finding('synchronous-commit-off').mend).toMatch(/^ALTER ROLE "postgres" RESET/)
    await mend(finding('synchronous-commit-off'))
    expect(await diagnose()).toMatchObject({ ledger: [] })
    const client = await diagnose({ pgPool: { options: '-c synchronous_commit=off' } })
    expect(client.finding('synchronous-commit-off').mend).toContain("the pool's options")
  })

  it('fewer slots than connections', async () => {
    const seen = await diagnose({ pgPool: { max: 101 } })
    expect(seen).toMatchObject({ code: 0, ledger: ['unwise prepared-slots-few'] })
    await mend(seen.finding('prepared-slots-few'))
    expect(await diagnose({ pgPool: { max: 101 } })).toMatchObject({ ledger: [] })
  })

  it('privileges: identity and markers refuse, a hidden setting is only said', async () => {
    await onLedger(
      `CREATE ROLE teller LOGIN PASSWORD 'secret'`,
      'REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC',
      'REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC',
      'CREATE TABLE unanimous_branch (gtrid varchar(64))',
    )
    const setup = { ledger: as(ledgerUrl, 'teller') }
    const seen = await diagnose(setup)
    expect(seen).toMatchObject({
      code: 3,
      ledger: ['unfit identity-unread', 'unread unread', 'unfit marker-privileges'],
    })
    expect(seen.answer.participants[0]?.settings['fsync']).toBeNull()
    await mend(seen.finding('identity-unread'))
    await mend(seen.finding('marker-privileges'))
    expect(await diagnose(setup)).toMatchObject({ code: 0, ledger: ['unread unread'] })
    await mend(seen.finding('unread'))
    expect(await diagnose(setup)).toMatchObject({ code: 0, ledger: [] })
    await onLedger('DROP TABLE unanimous_branch')
  })

  it('through PgBouncer', async () => {
    const bouncer = await startPgBouncer(ledgerUrl, quiet)
    try {
      const seen = await diagnose({ ledger: bouncer.url })
      expect(seen).toMatchObject({ code: 0, ledger: ['unwise pooler'] })
      expect(seen.finding('pooler').mend).toBe("postgres(pool, { allow: ['pooler'] })")
      const pgOptions = { allow: ['pooler'] }
      const mended = await diagnose({ ledger: bouncer.url, pgOptions })
      expect(mended).toMatchObject({ code: 0, ledger: ['allowed pooler'] })
    } finally {
      await bouncer.stop()
    }
  })
})

describe(isMariadb ? 'MariaDB' : 'MySQL', () => {
  it.each([
    ['innodb_flush_log_at_trx_commit', '2', 'flush-log-at-commit'],
    ['sync_binlog', '0', 'sync-binlog'],
  ])('%s = %s', async (name, value, code) => {
    await onShop(`SET GLOBAL ${name} = ${value}`)
    const seen = await diagnose()
    expect(seen).toMatchObject({ code: 3, shop: [`unfit ${code}`] })
    expect(seen.answer.participants[1]?.settings[name]).toBe(value)
    const allowed = await diagnose({ mysqlOptions: { allow: [code] } })
    expect(allowed).toMatchObject({ code: 0, shop: [`allowed ${code}`] })
    await mend(seen.finding(code))
    expect(await diagnose()).toMatchObject({ code: 0, shop: [] })
  })

  it('T2: a pool with resetOnRelease', async () => {
    const seen = await diagnose({ mysqlPool: { resetOnRelease: true } })
    if (!isMariadb) return expect(seen).toMatchObject({ code: 0, shop: [] })
    expect(seen).toMatchObject({ code: 3, shop: ['unfit reset-on-release'] })
    expect(seen.finding('reset-on-release').mend).toBe('createPool({ resetOnRelease: false })')
    const mended = await diagnose({ mysqlPool: { resetOnRelease: false } })
    return expect(mended).toMatchObject({ code: 0, shop: [] })
  })

  it('B: a user without XA_RECOVER_ADMIN, which MariaDB asks of nobody', async () => {
    await onShop(
      `CREATE USER 'teller'@'%' IDENTIFIED BY 'secret'`,
      `GRANT ALL ON bank.* TO 'teller'@'%'`,
    )
    const setup = { shop: as(shopUrl, 'teller') }
    const seen = await diagnose(setup)
    if (!isMariadb) {
      expect(seen).toMatchObject({ code: 3, shop: ['unfit xa-recover-denied'] })
      expect(seen.finding('xa-recover-denied').mend).toContain("TO 'teller'@'%'")
      await mend(seen.finding('xa-recover-denied'))
    }
    expect(await diagnose(setup)).toMatchObject({ code: 0, shop: [] })
  })

  it('T1, T3: branches that stay attached, and formatIDs that are not ours; MySQL only', async () => {
    const other = await mysqlSession(shopUrl)
    await other.run('CREATE TABLE foreign_work (id int)')
    await other.run(`XA START 'theirs','b',7`)
    await other.run('INSERT INTO foreign_work VALUES (1)')
    await other.run(`XA END 'theirs','b',7`)
    await other.run(`XA PREPARE 'theirs','b',7`)
    if (!isMariadb) await onShop('SET GLOBAL xa_detach_on_prepare = OFF')
    const seen = await diagnose()
    const expected = isMariadb ? [] : ['unwise xa-attached', 'unwise foreign-format-id']
    expect(seen).toMatchObject({ code: 0, shop: expected })
    await other.run(`XA ROLLBACK 'theirs','b',7`)
    other.close()
    if (!isMariadb) await mend(seen.finding('xa-attached'))
    expect(await diagnose()).toMatchObject({ code: 0, shop: [] })
  })

  it('T11: a connection of another user, from which MariaDB hides sessions', async () => {
    await onShop(
      `CREATE USER 'settler'@'%' IDENTIFIED BY 'secret'`,
      `GRANT SELECT ON bank.* TO 'settler'@'%'`,
      ...(isMariadb ? [] : [`GRANT XA_RECOVER_ADMIN ON *.* TO 'settler'@'%'`]),
    )
    const setup = { shopConnect: as(shopUrl, 'settler') }
    const seen = await diagnose(setup)
    expect(seen).toMatchObject({ code: 0, shop: isMariadb ? ['unwise sessions-hidden'] : [] })
    if (!isMariadb) return
    const mysqlOptions = { allow: ['sessions-hidden'] }
    expect(await diagnose({ ...setup, mysqlOptions })).toMatchObject({
      shop: ['allowed sessions-hidden'],
    })
    await mend(seen.finding('sessions-hidden'))
    expect(await diagnose(setup)).toMatchObject({ code: 0, shop: [] })
  })

  it('a marker table that is not transactional', async () => {
    await onShop('CREATE TABLE unanimous_branch (gtrid varchar(64)) ENGINE = MyISAM')
    const seen = await diagnose()
    expect(seen).toMatchObject({ code: 3, shop: ['unfit marker-engine'] })
    expect(seen.answer.participants[1]?.markers).toBe(false)
    await mend(seen.finding('marker-engine'))
    expect(await diagnose()).toMatchObject({ code: 0, shop: [] })
    expect((await diagnose()).answer.participants[1]?.markers).toBe(true)
    await onShop('DROP TABLE unanimous_branch')
  })
})

describe('around the servers', () => {
  it('a server that does not answer is 5, whatever else is found', async () => {
    const nowhere = new URL(shopUrl)
    nowhere.port = '1'
    await onLedger('ALTER SYSTEM SET fsync = off', 'SELECT pg_reload_conf()')
    const seen = await diagnose({ shop: nowhere.href })
    expect(seen).toMatchObject({ code: 5, ledger: ['unfit fsync-off'] })
    expect(seen.answer.participants[1]?.trouble?.code).toBe('PARTICIPANT_UNREACHABLE')
    const { code, out, err } = await project.cli('doctor')
    expect(code).toBe(5)
    expect(out).toContain('shop  unreachable')
    expect(err).toContain('error: shop:')
    await mend(seen.finding('fsync-off'))
  })

  it('the log: in memory, held, damaged', async () => {
    const memory = await mkdtemp('/dev/shm/unanimous-')
    afterAll(() => rm(memory, { recursive: true }))
    const unsafe = await diagnose({ log: join(memory, 'decisions') })
    expect(unsafe.code).toBe(3)
    expect(unsafe.answer.log).toMatchObject({
      logId: null,
      fileSystem: 'tmpfs',
      findings: [{ code: 'log-file-system', severity: 'unfit' }],
    })
    const log = { directory: join(memory, 'decisions'), allowUnsafeFileSystem: true }
    expect(await diagnose({ log })).toMatchObject({
      code: 0,
      answer: { log: { findings: [{ severity: 'allowed' }] } },
    })

    const directory = join(project.folder, 'decisions')
    const pool = new Pool({ connectionString: ledgerUrl })
    const participants = { ledger: postgres(pool) }
    const coordinator = await Coordinator.open({ log: directory, participants })
    expect(await diagnose()).toMatchObject({
      code: 0,
      answer: { log: { logId: coordinator.logId, owner: { pid: process.pid } } },
    })
    await coordinator.close()
    await pool.end()
    const [segment = ''] = (await readdir(directory)).filter((name) => name.startsWith('segment'))
    const file = await open(join(directory, segment), 'r+')
    await file.write(Buffer.alloc(64 * 1024, 0xa5), 0, 64 * 1024, 0)
    await file.close()
    const damaged = await diagnose()
    expect(damaged).toMatchObject({
      code: 7,
      answer: { log: { trouble: { code: 'LOG_CORRUPT' } } },
    })
  })
})

const REQUEST: BranchRequest = {
  gtrid: 'una1-0000000000000000-1.00000000-1',
  isolation: undefined,
  readOnly: false,
  enlist: () => 10_000,
  savepoints: () => [],
  seat: async () => ({ taken: () => undefined, left: () => undefined, onceHeld: () => undefined }),
  outside: (work) => work(),
}

describe('contact', () => {
  const ends: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })

  function ledgerAt(options: PostgresOptions = {}, aheadMs = 0) {
    const pool = new Pool({ connectionString: ledgerUrl, max: 2 })
    pool.on('error', quiet)
    const warnings: ParticipantWarning[] = []
    const participant = postgres(pool, options).create({
      name: 'ledger',
      clock: { ...systemClock, now: () => systemClock.now() - aheadMs },
      warn: (warning) => warnings.push(warning),
    })
    ends.push(
      () => pool.end(),
      () => participant.close(),
    )
    return { participant, warnings, pool }
  }

  it('a clock that is far away is warned of once, with what was measured', async () => {
    const { participant, warnings } = ledgerAt({}, 3_600_000)
    await participant.contact()
    await participant.examine()
    await participant.contact()
    expect(warnings).toEqual([
      expect.objectContaining({
        code: 'clock-skew',
        message: expect.stringContaining('3600 s ahead of ours'),
      }),
    ])
    expect((await participant.examine()).clockSkewMs).toBeGreaterThan(3_590_000)
  })

  it('a server that comes back unsafe is refused by the first branch, and listed still', async () => {
    const { participant } = ledgerAt()
    await participant.contact()
    await onLedger('ALTER SYSTEM SET fsync = off')
    await pgServer.kill()
    await pgServer.restart()
    const branch = () => participant.branch(REQUEST)
    await expect(branch().handle.query('SELECT 1')).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringContaining('ALTER SYSTEM SET fsync = on'),
    })
    expect(await participant.list()).toEqual([])
    await onLedger('ALTER SYSTEM RESET fsync')
    await pgServer.kill()
    await pgServer.restart()
    await participant.list().catch(quiet)
    await participant.list()
    const fit = branch()
    await fit.handle.query('SELECT 1')
    await fit.rollback()
  })

  it('a pool that leads to another server than our own connection is refused', async () => {
    const { participant } = ledgerAt({
      connect: async () => {
        const client = new Client({ connectionString: shared.postgres.url })
        client.on('error', quiet)
        await client.connect()
        return client
      },
    })
    await participant.contact()
    await expect(participant.branch(REQUEST).handle.query('SELECT 1')).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      message: expect.stringContaining('more than one server'),
    })
  })

  it('refuses names that stand for nothing, by type and when made', () => {
    const pool = new Pool({ connectionString: ledgerUrl })
    const shop = createPool({ uri: shopUrl })
    ends.push(
      () => pool.end(),
      () => shop.end(),
    )
    // @ts-expect-error: not a code
    expect(() => postgres(pool, { allow: ['fsync'] })).toThrow(/"fsync" names nothing/)
    // @ts-expect-error: of the other database
    expect(() => mysql(shop, { allow: ['fsync-off'] })).toThrow(/"fsync-off" names nothing/)
  })
})

beforeEach(() => configure())
