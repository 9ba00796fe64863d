/**
 * The command line as a user runs it: an installed package, a configuration, a process of its own,
 * and branches that a killed application left prepared in real databases.
 */
import { open, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import { Pool } from 'pg'
import { afterAll, afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import { cliProject, collect } from '../support/cli-project.ts'
import { testDatabases } from '../support/databases.ts'
import { copyLog } from '../support/folder.ts'
import { expectOutput } from '../support/json-output.ts'

const { postgres, mysql } = await testDatabases()
const ledger = new Pool({ connectionString: postgres.url, max: 2 })
const isMariadb = mysql.flavour === 'mariadb'
const shop = createPool({ uri: mysql.url, connectionLimit: 2 })
afterAll(() => Promise.all([ledger.end(), shop.end()]))
await ledger.query('create table entry (id serial primary key, note text not null)')
await shop.query(
  'create table entry (id int primary key auto_increment, note varchar(200) not null) engine=innodb',
)
const project = await cliProject()

const CONFIG = `
import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledger = new pg.Pool({ connectionString: LEDGER })
const shop = mysql2.createPool(SHOP)

export default {
  log: './decisions',
  participants: { ledger: postgres(ledger), shop: mysql(shop) },
  close: () => Promise.all([ledger.end(), shop.end()]),
}
`

function config(ledgerUrl: string, shopUrl: string): string {
  return CONFIG.replace('LEDGER', JSON.stringify(ledgerUrl)).replace(
    'SHOP',
    JSON.stringify(shopUrl),
  )
}

const Answer = z.object({
  schemaVersion: z.literal(1),
  generatedAt: z.iso.datetime(),
  log: z.object({
    directory: z.string(),
    logId: z.string(),
    owner: z.object({ pid: z.number(), host: z.string(), since: z.iso.datetime() }).nullable(),
  }),
  participants: z.array(
    z.object({
      name: z.string(),
      server: z.string().nullable(),
      markers: z.boolean().nullable(),
      prepared: z.number().nullable(),
      trouble: z
        .object({ code: z.string(), message: z.string(), hint: z.string().nullable() })
        .nullable(),
    }),
  ),
  apart: z.array(z.object({ participant: z.string(), kind: z.string(), id: z.string() })),
})
const Branch = z.object({
  participant: z.string(),
  bqual: z.string(),
  state: z.string(),
  answer: z.string().nullable(),
  advice: z.object({ action: z.string(), why: z.string() }),
})
const Transaction = z.object({
  gtrid: z.string(),
  name: z.string().nullable(),
  meta: z.unknown(),
  state: z.string(),
  decision: z.string(),
  decidedAt: z.iso.datetime().nullable(),
  ageMs: z.number().nullable(),
  branches: z.array(Branch),
  advice: z.object({ action: z.string(), why: z.string() }),
})
const Listed = Answer.extend({ transactions: z.array(Transaction) })
const Planned = Answer.extend({
  applied: z.literal(false),
  plan: z.array(z.object({ gtrid: z.string(), participant: z.string(), action: z.string() })),
  left: z.array(Transaction),
})
const Applied = Answer.extend({
  applied: z.literal(true),
  done: z.array(z.object({ gtrid: z.string(), participant: z.string(), did: z.string() })),
  unsettled: z.array(z.object({ participant: z.string(), count: z.number() }).loose()),
  left: z.array(Transaction),
})

async function listed(): Promise<z.infer<typeof Listed>> {
  return Listed.parse(JSON.parse((await project.cli('list', '--json')).out))
}

/** Prepared branches of this file's log, and committed rows, as the databases tell. */
async function inDatabases(logId: string): Promise<{ prepared: string[]; rows: string[] }> {
  const prepared: string[] = []
  const xacts = await ledger.query<{ gid: string }>(
    'select gid from pg_prepared_xacts where database = current_database()',
  )
  if (xacts.rows.some(({ gid }) => gid.includes(logId))) prepared.push('ledger')
  const [branches] = await shop.query<RowDataPacket[]>('xa recover')
  if (branches.some((row) => String(row['data']).includes(logId))) prepared.push('shop')
  const rows: string[] = []
  if ((await ledger.query('select 1 from entry')).rows.length > 0) rows.push('ledger')
  if ((await shop.query<RowDataPacket[]>('select 1 from entry'))[0].length > 0) rows.push('shop')
  return { prepared, rows }
}

beforeEach(async () => {
  await project.write('unanimous.config.mjs', config(postgres.url, mysql.url))
})

afterEach(async () => {
  await rm(join(project.folder, 'unanimous.config.ts'), { force: true })
  await project.write('unanimous.config.mjs', config(postgres.url, mysql.url))
  await project.cli('recover', '--apply', '--wait', '10s')
  await ledger.query('delete from entry')
  await shop.query('delete from entry')
  await rm(join(project.folder, 'decisions'), { recursive: true, force: true })
})

describe('before there is anything to see', () => {
  it('without a configuration: 2, and how to write one', async () => {
    await rm(join(project.folder, 'unanimous.config.mjs'))
    const { code, out, err } = await project.cli('list')
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain("import { postgres } from 'unanimous/pg'")
  })

  it('without a log: 2, which directory was meant, and it is not made', async () => {
    for (const args of [['list'], ['recover'], ['recover', '--apply']]) {
      const { code, out, err } = await project.cli(...args)
      expect([code, out]).toEqual([2, ''])
      expect(err).toContain(`there is no log directory ${join(project.folder, 'decisions')}`)
      expect(err).toContain('unanimous.config.mjs names another directory')
    }
    expect(await readdir(project.folder)).not.toContain('decisions')
  })

  it('init prints the SQL, and creates the tables when told to, twice as well as once', async () => {
    const printed = await project.cli('init')
    expect(printed.code).toBe(0)
    expect(printed.out).toMatch(/^-- ledger\nCREATE TABLE/)
    expect(printed.out).toMatch(/^-- shop\nCREATE TABLE/m)
    expect(printed.err).toContain('Nothing was changed.')
    expect((await ledger.query(`select to_regclass('unanimous_branch') as t`)).rows).toEqual([
      { t: null },
    ])
    for (let run = 1; run <= 2; run += 1) {
      const { code, out } = await project.cli('init', '--apply')
      expect(code).toBe(0)
      expect(out).toMatch(
        /^ledger {2}PostgreSQL [\d.]+ +ready\nshop {4}(?:MySQL|MariaDB) [\d.]+ +ready\n$/,
      )
    }
    await ledger.query('drop table unanimous_branch')
    await shop.query('drop table unanimous_branch')
  })

  it('a log that holds nothing: 0', async () => {
    await project.crashAt('begin:done')
    const { code, out, err } = await project.cli('list')
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain('Nothing is unsettled.')
    const recover = await project.cli('recover', '--apply')
    expect([recover.code, recover.err]).toEqual([0, ''])
    expect(recover.out).toContain('There was nothing to do.')
  })
})

describe('after a crash behind the decision', () => {
  it('list shows both branches and the logged commit: 3', async () => {
    await project.crashAt('decide:after')
    const { code, out, err } = await project.cli('list')
    expect([code, err]).toEqual([3, 'Next: unanimous recover\n'])
    expect(out).toContain('no process holds it')
    expect(out).toMatch(
      /^1\.\w{8}-1 {2}transfer {2}unsettled {2}commit +\d+m?s +prepared {2}prepared {2}commit ledger and shop: the commit is logged$/m,
    )
  })

  it('list --json tells the same to a program', async () => {
    await project.crashAt('decide:after')
    const { transactions, participants, log } = await listed()
    expect(log.owner).toBeNull()
    expect(participants.map(({ name, trouble }) => [name, trouble])).toEqual([
      ['ledger', null],
      ['shop', null],
    ])
    expect(participants[0]?.server).toBe(`PostgreSQL ${postgres.version}`)
    const advice = { action: 'commit', why: 'the commit is logged' }
    expect(transactions).toMatchObject([
      {
        name: 'transfer',
        meta: { transferId: 'T-8841' },
        state: 'unsettled',
        decision: 'commit',
        branches: [
          { participant: 'ledger', bqual: 'ledger', state: 'prepared', answer: null, advice },
          { participant: 'shop', state: 'prepared', answer: null, advice },
        ],
      },
    ])
  })

  it('show takes the id, the short one or its beginning', async () => {
    await project.crashAt('decide:after')
    const gtrid = (await listed()).transactions[0]?.gtrid ?? ''
    const short = gtrid.split('-').slice(2).join('-')
    for (const id of [gtrid, short, short.slice(0, 6)]) {
      const { code, out, err } = await project.cli('show', id)
      expect([code, err]).toEqual([3, ''])
      expect(out).toContain(`transaction  ${gtrid}`)
      expect(out).toContain('{"transferId":"T-8841"}')
      expect(out).toMatch(/decision +commit, logged \d{4}-\d\d-\d\dT[\d:.]+Z \(\d+m?s ago\)/)
      expect(out).toContain(`${gtrid}:ledger`)
      expect(out).toContain(
        'against the log, and splits the transaction: the other branches commit',
      )
    }
    const { code, out } = await project.cli('show', short, '--json')
    expect(code).toBe(3)
    expect(
      Answer.extend({ transaction: Transaction }).parse(JSON.parse(out)).transaction.gtrid,
    ).toBe(gtrid)
    const unknown = await project.cli('show', 'una1-nobody')
    expect([unknown.code, unknown.out]).toEqual([2, ''])
    expect(unknown.err).toContain('no unsettled transaction has the id una1-nobody')
  })

  it('recover plans and changes nothing: 3; --apply does it: 0; again: nothing to do, 0', async () => {
    await project.crashAt('decide:after')
    const { logId } = (await listed()).log
    const plan = await project.cli('recover')
    expect([plan.code, plan.err]).toEqual([3, 'Run again with --apply.\n'])
    expect(plan.out).toContain('Plan (dry run, nothing was changed):')
    expect(plan.out).toMatch(
      /^ {2}1 {2}commit {2}1\.\w{8}-1 {2}transfer {2}ledger {2}the commit is logged$/m,
    )
    expect(plan.out).toMatch(
      /^ {2}2 {2}commit {2}1\.\w{8}-1 {2}transfer {2}shop {4}the commit is logged$/m,
    )
    const planned = Planned.parse(JSON.parse((await project.cli('recover', '--json')).out))
    expect(planned.plan.map(({ participant, action }) => [participant, action])).toEqual([
      ['ledger', 'commit'],
      ['shop', 'commit'],
    ])
    expect(await inDatabases(logId)).toEqual({ prepared: ['ledger', 'shop'], rows: [] })

    const applied = await project.cli('recover', '--apply')
    expect([applied.code, applied.err]).toEqual([0, ''])
    expect(applied.out).toMatch(/Done:\n(?: {2}committed {2}1\.\w{8}-1 {2}(?:ledger|shop)\n){2}$/)
    expect(await inDatabases(logId)).toEqual({ prepared: [], rows: ['ledger', 'shop'] })

    const again = await project.cli('recover', '--apply')
    expect([again.code, again.err]).toEqual([0, ''])
    expect(again.out).toContain('There was nothing to do.')
    expect((await project.cli('recover')).out).toContain('There is nothing to do.')
  })

  it('recover --apply --json tells what was done, of one participant when asked', async () => {
    await project.crashAt('decide:after')
    const { logId } = (await listed()).log
    const only = await project.cli('recover', '--apply', '--participant', 'shop', '--json')
    expect(only.code).toBe(3)
    const first = Applied.parse(JSON.parse(only.out))
    expect(first.done.map(({ participant, did }) => [participant, did])).toEqual([
      ['shop', 'committed'],
    ])
    expect(await inDatabases(logId)).toEqual({ prepared: ['ledger'], rows: ['shop'] })
    const rest = await project.cli('recover', '--apply', '--json')
    expect(rest.code).toBe(0)
    const second = Applied.parse(JSON.parse(rest.out))
    expect(second.done.map(({ participant }) => participant)).toEqual(['ledger'])
    expect(second.left).toEqual([])
  })

  it('recover --apply and resolve tell why a branch could not be settled yet: 3', async () => {
    await project.crashAt('decide:after')
    const [crashed] = (await listed()).transactions
    const gtrid = String(crashed?.gtrid.replace(/\d+$/, '9'))
    // Prepared behind a proxy, which names no session; on MariaDB that keeps the branch.
    const xa = `'${gtrid}','shop',1`
    const holder = await shop.getConnection()
    onTestFinished(() => holder.destroy())
    await holder.query(`xa start ${xa}`)
    await holder.query("insert into entry (note) values ('z')")
    for (const verb of ['end', 'prepare']) await holder.query(`xa ${verb} ${xa}`)
    const hint = 'end the session that prepared it: SHOW PROCESSLIST, then KILL'
    const { code, err } = await project.cli('recover', '--apply')
    const told = Applied.parse(JSON.parse((await project.cli('recover', '--apply', '--json')).out))
    if (isMariadb) {
      const word = ['--reason', 'it stays', '--apply']
      const resolved = await project.cli('resolve', gtrid, '--rollback', ...word)
      expect(resolved.out).toContain(`not done`)
      expect(resolved.err).toContain(hint)
      await holder.query(`xa rollback ${xa}`)
    }
    const why = 'shop: a session holds the branch'
    const lines = `Not settled yet: 1 in shop: ${why}.\n  ${hint}\nRun again with --apply --wait 30s.\n`
    expect([code, err]).toEqual(isMariadb ? [3, lines] : [0, ''])
    expect(told.unsettled).toEqual(isMariadb ? [{ participant: 'shop', count: 1, why, hint }] : [])
  })

  it('a branch that somebody rolled back by hand is proven, reported and kept: 4', async () => {
    await project.crashAt('decide:after')
    const { rows } = await ledger.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    )
    await ledger.query(`rollback prepared '${rows[0]?.gid}'`)
    const plan = await project.cli('recover')
    expect(plan.code).toBe(3)
    expect(plan.out).toMatch(
      /prove .* ledger {2}the commit is logged, and its server lists it no more/,
    )
    const { code, out } = await project.cli('recover', '--apply')
    expect(code).toBe(4)
    expect(out).toMatch(/found rolled back against the decision {2}1\.\w{8}-1 {2}ledger/)
    const list = await project.cli('list')
    expect(list.code).toBe(4)
    expect(list.out).toMatch(
      /heuristic +commit +\w+ +rolled back +committed +report ledger: rolled back against/,
    )
  })
})

describe('after a crash before the decision', () => {
  it.each(['prepare:after-first', 'prepare:after-all'])('%s: presumed abort', async (point) => {
    await project.crashAt(point)
    const list = await project.cli('list')
    expect(list.code).toBe(3)
    expect(list.out).toContain('no commit is logged: presumed abort')
    const { logId } = (await listed()).log
    expect((await project.cli('recover')).out).toMatch(/roll back {2}1\.\w{8}-1/)
    const { code, out } = await project.cli('recover', '--apply', '--wait', '10s')
    expect([code, out]).toEqual([0, expect.stringContaining('rolled back')])
    expect(await inDatabases(logId)).toEqual({ prepared: [], rows: [] })
  })
})

describe('while a coordinator runs', () => {
  it('list tells its transactions from abandoned ones: 0; recover --apply asks it', async () => {
    const application = await project.stopAt('prepare:after-all')
    const list = await project.cli('list')
    expect([list.code, list.err]).toEqual([0, ''])
    expect(list.out).toContain(`held by process ${application.pid} on `)
    expect(list.out).toContain(`leave ledger and shop: live in process ${application.pid} on`)
    const { log } = await listed()
    expect(log.owner?.pid).toBe(application.pid)
    const asked = await project.cli('recover', '--apply', '--json')
    expect([asked.code, asked.err]).toEqual([0, ''])
    expectOutput('recover', asked.out)
    const drain = await project.cli('drain', '--json')
    expectOutput('drain', drain.out)
    expect([drain.code, JSON.parse(drain.out)]).toMatchObject([
      3,
      { applied: false, coordinator: { state: 'open', running: 1 }, report: null },
    ])
    expect((await inDatabases(log.logId)).prepared).toEqual(['ledger', 'shop'])
    await application.kill()
    expect((await project.cli('list')).code).toBe(3)
    expect((await project.cli('recover', '--apply', '--wait', '10s')).code).toBe(0)
    expect(await inDatabases(log.logId)).toEqual({ prepared: [], rows: [] })
  })
})

describe('while a coordinator is stopped', () => {
  it('nobody fights it for the log: 6, and what to do', async () => {
    const application = await project.stopAt('prepare:after-all')
    process.kill(application.pid, 'SIGSTOP')
    const { code, out, err } = await project.cli('recover', '--apply')
    expect([code, out]).toEqual([6, ''])
    expect(err).toContain('has not answered for 10 s')
    expect(err).toContain(`held by process ${application.pid} on `)
    expect(err).toContain('`unanimous drain --apply`, end the process, then run this again')
    process.kill(application.pid, 'SIGCONT')
    await application.kill()
  })
})

describe('when a participant cannot be asked', () => {
  it('the rest is shown and recovered: 5, with the reason and without the password', async () => {
    await project.crashAt('decide:after')
    const { logId } = (await listed()).log
    await project.write(
      'unanimous.config.mjs',
      config('postgres://app:geheim@127.0.0.1:1/ledger', mysql.url),
    )
    const list = await project.cli('list')
    expect(list.code).toBe(5)
    expect(list.err).toMatch(/^warning: ledger: .*ECONNREFUSED/)
    expect(list.out).toMatch(/unreachable {2}prepared/)
    const { code, out, err } = await project.cli('recover', '--apply')
    expect(code).toBe(5)
    expect(out).toMatch(/committed {2}1\.\w{8}-1 {2}shop/)
    expect(out).toContain('Left:')
    expect(await inDatabases(logId)).toEqual({ prepared: ['ledger'], rows: ['shop'] })
    const init = await project.cli('init', '--apply', '--participant', 'ledger')
    expect([init.code, init.out]).toEqual([5, ''])
    const shown = await project.cli('show', '1.')
    expect(shown.code).toBe(5)
    const texts = [list.out, list.err, out, err, init.err, shown.out, shown.err].join('')
    expect(texts).not.toContain('geheim')
    expect((await project.cli('show', 'nobody')).code).toBe(5)
  })

  it('an interruption ends the wait at once: 130', async () => {
    await project.crashAt('begin:done')
    // Takes connections and never says a word.
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const address = silent.address()
    const port = typeof address === 'object' ? address?.port : undefined
    await project.write(
      'unanimous.config.mjs',
      config(`postgres://app@127.0.0.1:${port}/x`, mysql.url),
    )
    const child = project.spawnCli('list')
    const connected = new Promise((resolve) => silent.once('connection', resolve))
    const ended = collect(child)
    await connected
    await sleep(50)
    child.kill('SIGINT')
    const { code, err } = await ended
    expect([code, err]).toEqual([130, expect.stringContaining('Interrupted.')])
    silent.close()
  })
})

describe('when the log cannot be relied on', () => {
  it('damage: 7, with the file and the offset', async () => {
    await project.crashAt('decide:after')
    const folder = join(project.folder, 'decisions')
    const intact = join(project.folder, 'intact')
    await copyLog(folder, intact)
    const segment = (await readdir(folder))
      .filter((name) => name.startsWith('segment-'))
      .sort()
      .at(-1)
    const file = await open(join(folder, segment ?? ''), 'r+')
    await file.write(Buffer.alloc(3 * 4096, 0xa5), 0, 3 * 4096, 0)
    for (const args of [['list'], ['recover'], ['recover', '--apply']]) {
      const { code, out, err } = await project.cli(...args)
      expect([code, out]).toEqual([7, ''])
      expect(err).toMatch(/error: .* in .*segment-\d+\.log at offset \d+/)
    }
    // Back into the same files: another file would be a copy.
    const bytes = await readFile(join(intact, segment ?? ''))
    await file.write(bytes, 0, bytes.length, 0)
    await file.close()
    await rm(intact, { recursive: true })
    expect((await project.cli('recover', '--apply')).code).toBe(0)
  })

  it('a copy: 7, and nothing is settled', async () => {
    await project.crashAt('begin:done')
    const copy = join(project.folder, 'copy')
    await copyLog(join(project.folder, 'decisions'), copy)
    await project.crashAt('decide:after')
    const { logId } = (await listed()).log
    const text = config(postgres.url, mysql.url).replace('./decisions', './copy')
    await project.write('unanimous.config.mjs', text)
    const list = await project.cli('list')
    expect(list.code).toBe(7)
    expect(list.out).toContain('of an incarnation that this log never had: the log is a copy')
    const { code, out, err } = await project.cli('recover', '--apply')
    expect([code, out]).toEqual([7, ''])
    expect(err).toContain('error: ')
    expect((await inDatabases(logId)).prepared).toEqual(['ledger', 'shop'])
    await rm(copy, { recursive: true })
  })
})

describe('the configuration', () => {
  it('may be TypeScript, a function, and share its modules with the command line', async () => {
    await rm(join(project.folder, 'unanimous.config.mjs'))
    await project.write(
      'unanimous.config.ts',
      `import type { Pool } from 'pg'
       ${config(postgres.url, mysql.url).replace('const ledger =', 'const ledger: Pool =').replace('export default', 'const made =')}
       import { UnanimousError } from 'unanimous'
       Object.assign(globalThis, { seenByConfig: UnanimousError })
       export default async (): Promise<typeof made> => made`,
    )
    await project.write(
      'probe.mjs',
      `import { UnanimousError } from 'unanimous'
       import { loadConfig } from './node_modules/unanimous/dist/src/cli/config.js'
       const { close } = await loadConfig(process.cwd(), undefined)
       await close()
       console.log(globalThis.seenByConfig === UnanimousError)`,
    )
    expect(await project.node('probe.mjs')).toEqual({ code: 0, out: 'true\n', err: '' })
    const { code, out, err } = await project.cli('init')
    expect([code, err]).toEqual([0, expect.stringContaining('Nothing was changed.')])
    expect(out).toContain('-- shop')
  })

  it('may leave its pools open: the command ends all the same', async () => {
    await project.crashAt('begin:done')
    const text = config(postgres.url, mysql.url).replace(/ {2}close: .*\n/, '')
    await project.write('left-open.mjs', text)
    expect((await project.cli('list', '--config', 'left-open.mjs')).code).toBe(0)
  })
})
