/**
 * The runbook of docs/operations.md: each symptom is made, a person types what the page says, and what
 * the commands print is compared with it. First a night: the application is killed behind its decision
 * while one database goes down.
 */
import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import { afterAll, afterEach, expect, it } from 'vitest'
import { cliWorld } from '../support/cli-world.ts'
import { expectPicture } from '../support/screenshot.ts'
import { createDatabase, startMysqlFamily } from '../support/servers/index.ts'
import { mysqlWish } from '../support/shared-servers.ts'
import { published, Transcript } from '../support/transcript.ts'

const PAGE = 'docs/operations.md'
// Ours alone: it goes down, and its XA branches are nobody else's.
const server = await startMysqlFamily(mysqlWish(process.env['UNANIMOUS_TEST_MYSQL']))
afterAll(() => server.stop())
const shopUrl = await createDatabase(server, 'shop')
const { project, ledger, shop, prepared, clear } = await cliWorld(shopUrl)
afterEach(clear)

it('a night: killed behind the decision, one database down', async () => {
  await project.crashAt('decide:after')
  const id = await shortId()
  await server.kill()
  const night = new Transcript(project)
  expect(await night.run('status')).toBe(5)
  expect(await night.run('list')).toBe(5)
  expect(await night.run('show', id)).toBe(5)
  expect(await night.run('recover')).toBe(5)
  await server.restart()
  night.note('$ systemctl start mysql')
  const screens = new Transcript(project)
  for (const words of [['status'], ['list'], ['show', id], ['recover']]) {
    expect(await screens.run(...words)).toBe(3)
    const { out, err } = await project.coloured(...words)
    const shown = published(`$ unanimous ${words.join(' ')}\n${out}${err}`, project.folder)
    await expectPicture(`docs/images/${words[0]}.svg`, shown)
  }
  await screens.expectIn('README.md', 'screens')
  expect(await night.run('recover')).toBe(3)
  expect(await night.run('recover', '--apply', '--wait', '30s')).toBe(0)
  expect(await night.run('status')).toBe(0)

  const again = createPool({ uri: shopUrl, connectionLimit: 1 })
  const [others] = await again.query<RowDataPacket[]>('select note from entry')
  await again.end()
  expect((await ledger.query('select note from entry')).rows).toHaveLength(1)
  expect(others).toHaveLength(1)
  await night.expectIn(PAGE, 'night')
})

async function gtridOf(): Promise<string> {
  return (await prepared()).ledger[0]?.split(':')[0] ?? ''
}

async function shortId(): Promise<string> {
  return (await gtridOf()).split('-').slice(2).join('-')
}

it('a branch that somebody rolled back by hand', async () => {
  await project.crashAt('decide:after')
  const id = await shortId()
  await ledger.query(`rollback prepared '${(await prepared()).ledger[0]}'`)
  const night = new Transcript(project)
  expect(await night.run('recover', '--apply')).toBe(4)
  expect(await night.run('show', id)).toBe(4)
  const reason = ['--reason', 'entry booked by hand, ticket 4711']
  expect(await night.run('forget', id, ...reason)).toBe(3)
  expect(await night.run('forget', id, ...reason, '--apply')).toBe(0)
  expect(await night.run('status')).toBe(0)
  await night.expectIn(PAGE, 'by-hand')
})

it('a branch that somebody committed by hand before anything was decided', async () => {
  await project.cli('init', '--apply')
  await project.crashAt('prepare:after-all')
  const gtrid = await gtridOf()
  const id = await shortId()
  await ledger.query(`commit prepared '${(await prepared()).ledger[0]}'`)
  const night = new Transcript(project)
  expect(await night.run('list')).toBe(4)
  expect(await night.run('show', id)).toBe(4)
  const act = ['--commit', '--reason', 'ledger has it, ticket 4712']
  expect(await night.run('resolve', id, ...act)).toBe(2)
  const force = ['--force-against-log', '--confirm', gtrid]
  expect(await night.run('resolve', id, ...act, ...force, '--apply')).toBe(4)
  expect(await night.run('status')).toBe(0)
  await night.expectIn(PAGE, 'split')
  await ledger.query('drop table unanimous_branch, unanimous_log')
  await shop.query('drop table unanimous_branch, unanimous_log')
})

it('a coordinator that runs', async () => {
  const application = await project.stopAt('prepare:after-all')
  const id = await shortId()
  const night = new Transcript(project)
  expect(await night.run('status')).toBe(0)
  expect(await night.run('show', id)).toBe(0)
  expect(await night.run('recover', '--apply')).toBe(0)
  const reason = ['--rollback', '--reason', 'ticket 4713']
  expect(await night.run('resolve', id, ...reason)).toBe(6)
  await night.expectIn(PAGE, 'live')
  await application.kill()
})

it('branches that are not of this log', async () => {
  await project.crashAt('begin:done')
  const other = 'una1-0123456789abcdef-1.00000000-1:ledger'
  await ledger.query(`begin; select 1 from entry for update; prepare transaction '${other}'`)
  await ledger.query(
    "begin; insert into entry (note) values ('y'); prepare transaction 'payroll-7'",
  )
  const night = new Transcript(project)
  expect(await night.run('orphans')).toBe(0)
  await ledger.query(`rollback prepared '${other}'`)
  await ledger.query("rollback prepared 'payroll-7'")
  await night.expectIn(PAGE, 'orphans')
})

it('a damaged log', async () => {
  await project.crashAt('decide:after')
  const folder = join(project.folder, 'decisions')
  const segment = (await readdir(folder))
    .filter((name) => name.startsWith('segment-'))
    .sort()
    .at(-1)
  const intact = await readFile(join(folder, segment ?? ''))
  const file = await open(join(folder, segment ?? ''), 'r+')
  await file.write(Buffer.alloc(3 * 4096, 0xa5), 0, 3 * 4096, 0)
  const night = new Transcript(project)
  expect(await night.run('status')).toBe(7)
  expect(await night.run('log', 'verify')).toBe(7)
  await night.expectIn(PAGE, 'damaged')
  await file.write(intact, 0, intact.length, 0)
  await file.close()
})
