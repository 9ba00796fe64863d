/**
 * What a person does at night: ends branches by hand on the servers, with the decision or against it,
 * resolves and forgets by the command line, and finds every deed on record. Every `--json` is held to
 * its published schema on the way.
 */
import { randomBytes } from 'node:crypto'
import { userInfo } from 'node:os'
import type { RowDataPacket } from 'mysql2/promise'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { OutputName } from '../../scripts/schemas/outputs.ts'
import { parseBqual } from '../../src/xid.ts'
import { cliWorld } from '../support/cli-world.ts'
import { expectOutput } from '../support/json-output.ts'

const { project, ledger, shop, prepared, rows, clear } = await cliWorld()
afterEach(clear)
const REASON = ['--reason', 'ticket 4711']

/** Runs a command with and without `--json`; answers the text for people. */
async function both(
  name: OutputName,
  ...args: string[]
): Promise<{ code: number | null; out: string; err: string }> {
  const json = await project.cli(...args, '--json')
  expectOutput(name, json.out)
  const { code, out, err } = await project.cli(...args)
  expect(json.code).toBe(code)
  return { code, out, err }
}

/** The one transaction of this file: XA RECOVER lists those of other files too. */
async function gtridOf(): Promise<string> {
  const [gid = ''] = (await prepared()).ledger
  return gid.split(':')[0] ?? ''
}

/** Its branch in a database, as the server spells it. */
async function branchIn(name: 'ledger' | 'shop'): Promise<string> {
  const gtrid = await gtridOf()
  const id = (await prepared())[name].find((one) => one.includes(gtrid))
  if (id === undefined) throw new Error(`${name} holds no branch`)
  if (name === 'shop') await expect.poll(() => sessionOf(id)).toEqual([])
  return id
}

/** The session that prepared a branch of the shop: MariaDB gives it to no other one before that is gone. */
async function sessionOf(id: string): Promise<readonly unknown[]> {
  const [, { threadId } = {}] = id.split("','").map((part) => parseBqual(part.split("'")[0] ?? ''))
  if (threadId === undefined) throw new Error(`${id} names no session`)
  const [rows] = await shop.query<RowDataPacket[]>(
    'select id from information_schema.processlist where id = ?',
    [threadId],
  )
  return rows
}

describe('with marker rows', () => {
  beforeAll(async () => {
    expect((await project.cli('init', '--apply')).code).toBe(0)
  })
  afterAll(async () => {
    await ledger.query('drop table unanimous_branch, unanimous_log')
    await shop.query('drop table unanimous_branch, unanimous_log')
  })

  it.each(['ledger', 'shop'] as const)(
    'a branch of %s that was rolled back by hand against the decision: shown, recorded, forgotten for a reason',
    async (name) => {
      await project.crashAt('decide:after')
      const gtrid = await gtridOf()
      const id = await branchIn(name)
      if (name === 'ledger') await ledger.query(`rollback prepared '${id}'`)
      else await shop.query(`xa rollback ${id}`)

      const suspected = await both('list', 'list')
      expect(suspected.code).toBe(3)
      expect(suspected.out).toContain(
        `prove ${name}: the commit is logged, and its server lists it no more`,
      )
      expect((await project.cli('recover', '--apply')).code).toBe(4)

      const status = await both('status', 'status')
      expect(status.code).toBe(4)
      expect(status.out).toMatch(/^heuristic {2}1$/m)
      expect(status.err).toBe('Next: unanimous list --state heuristic\n')
      const shown = await both('show', 'show', gtrid)
      expect(shown.code).toBe(4)
      expect(shown.out).toMatch(new RegExp(`Z {2}answered +${name} +heuristic-rollback$`, 'm'))
      expect(shown.out).toMatch(/logged in +\S+segment-\d+\.log at offset \d+$/m)
      expect(shown.out).toContain(`report ${name}: rolled back against the logged commit`)

      const unreasoned = await project.cli('forget', gtrid, '--apply')
      expect([unreasoned.code, unreasoned.out]).toEqual([2, ''])
      const plan = await both('forget', 'forget', gtrid, ...REASON)
      expect([plan.code, plan.err]).toEqual([
        3,
        'Compare the databases and mend them first. Then run again with --apply.\n',
      ])
      expect((await project.cli('list')).code).toBe(4)
      const done = await project.cli('forget', gtrid, ...REASON, '--apply', '--json')
      expect(done.code).toBe(0)
      expectOutput('forget', done.out)
      expect((await project.cli('list')).code).toBe(0)

      const lines = (await project.cli('log', 'dump', '--json')).out.trim().split('\n')
      for (const line of lines) expectOutput('log-dump', line)
      const records = await project.cli('log', 'dump')
      expect(records.out).toMatch(
        new RegExp(`operator .*forget by ${userInfo().username} on .*: ticket 4711`),
      )
      const past = await both('show', 'show', gtrid)
      expect([past.code, past.out]).toEqual([0, expect.stringContaining('forgotten by the log')])
      expect(past.out).toMatch(/operator +forget, by .* on .*: ticket 4711/)
    },
  )

  it('a branch that was committed by hand although nothing was decided: spared, and a person follows it', async () => {
    await project.crashAt('prepare:after-all')
    const gtrid = await gtridOf()
    await ledger.query(`commit prepared '${await branchIn('ledger')}'`)
    const list = await both('list', 'list')
    expect(list.code).toBe(4)
    expect(list.out).toMatch(/heuristic +- +\S+ +committed by hand +prepared/)

    const recover = await project.cli('recover', '--apply')
    expect(recover.code).toBe(4)
    expect(recover.out).not.toContain('rolled back')
    expect((await project.cli('log', 'dump')).out).toContain('ledger  found committed by')

    const refused = await project.cli('resolve', gtrid, '--commit', ...REASON)
    expect([refused.code, refused.out]).toEqual([2, ''])
    expect(refused.err).toContain('--force-against-log --confirm')
    const show = await project.cli('show', gtrid)
    expect(show.out).toContain('follows ledger: with every branch the transaction is whole')
    const force = ['--force-against-log', '--confirm', gtrid, ...REASON]
    const healed = await project.cli('resolve', gtrid, '--commit', ...force, '--apply', '--json')
    expectOutput('resolve', healed.out)
    expect(healed.code).toBe(4)
    expect(await rows()).toEqual({ ledger: 1, shop: 1 })
    expect((await project.cli('list')).code).toBe(0)
  })

  it('a coordinator that runs spares what a hand has split: its pass would make the split final', async () => {
    await project.crashAt('prepare:after-all')
    const gtrid = await gtridOf()
    await ledger.query(`commit prepared '${await branchIn('ledger')}'`)
    const running = await project.stopAt('prepare:after-all')
    try {
      const list = await both('list', 'list')
      expect(list.code).toBe(4)
      expect(list.out).toMatch(/heuristic +- +\S+ +committed by hand +prepared/)
      expect((await project.cli('recover', '--apply')).code).toBe(4)
      const refused = await project.cli('resolve', gtrid, '--commit', ...REASON, '--apply')
      expect([refused.code, refused.out]).toEqual([6, ''])
      expect(refused.err).toContain('`unanimous drain --apply`, end the process')
    } finally {
      await running.kill()
    }
    expect((await prepared()).shop.filter((id) => id.includes(gtrid))).toHaveLength(1)
    const force = ['--force-against-log', '--confirm', gtrid, ...REASON, '--apply']
    expect((await project.cli('resolve', gtrid, '--commit', ...force)).code).toBe(4)
    expect(await rows()).toEqual({ ledger: 1, shop: 1 })
  })
})

describe('by hand, with the decision', () => {
  it.each(['ledger', 'shop'] as const)('a branch of %s is settled quietly', async (name) => {
    await project.crashAt('decide:after')
    const id = await branchIn(name)
    if (name === 'ledger') await ledger.query(`commit prepared '${id}'`)
    else await shop.query(`xa commit ${id}`)
    const { code, out, err } = await project.cli('recover', '--apply')
    expect([code, err]).toEqual([0, ''])
    expect(out).not.toMatch(/heuristic|against|unknown/)
    expect((await project.cli('list')).code).toBe(0)
    expect(await rows()).toEqual({ ledger: 1, shop: 1 })
  })

  it.each(['ledger', 'shop'] as const)('rolled back in %s: nothing is reported', async (name) => {
    await project.crashAt('prepare:after-all')
    const id = await branchIn(name)
    if (name === 'ledger') await ledger.query(`rollback prepared '${id}'`)
    else await shop.query(`xa rollback ${id}`)
    expect((await project.cli('recover', '--apply')).code).toBe(0)
    expect(await rows()).toEqual({ ledger: 0, shop: 0 })
  })
})

describe('resolve', () => {
  it('does what the log holds: a dry run first, then on record', async () => {
    await project.crashAt('decide:after')
    const gtrid = await gtridOf()
    const plan = await both('resolve', 'resolve', gtrid, '--commit', '--branch', 'shop', ...REASON)
    expect([plan.code, plan.err]).toEqual([3, 'Run again with --apply.\n'])
    expect(plan.out).toMatch(/1 {2}commit .* shop {2}as the log holds it/)
    expect(await rows()).toEqual({ ledger: 0, shop: 0 })
    const done = await project.cli(
      'resolve',
      gtrid,
      '--commit',
      '--branch',
      'shop',
      ...REASON,
      '--apply',
    )
    expect(done.code).toBe(3)
    expect(done.out).toMatch(/Done:\n {2}committed {2}\S+ {2}shop\n/)
    expect(await rows()).toEqual({ ledger: 0, shop: 1 })
    expect((await project.cli('show', gtrid)).out).toMatch(
      /operator +shop +commit, by .*: ticket 4711/,
    )
    const rest = await project.cli('resolve', gtrid, '--commit', ...REASON, '--apply', '--json')
    expectOutput('resolve', rest.out)
    expect(rest.code).toBe(0)
    expect(await rows()).toEqual({ ledger: 1, shop: 1 })
  })

  it('against the logged commit only when forced and typed; then it is a heuristic', async () => {
    await project.crashAt('decide:after')
    const gtrid = await gtridOf()
    for (const more of [
      [],
      ['--confirm', gtrid],
      ['--force-against-log'],
      ['--force-against-log', '--confirm', 'yes'],
    ]) {
      const { code, out } = await project.cli(
        'resolve',
        gtrid,
        '--rollback',
        ...REASON,
        ...more,
        '--apply',
      )
      expect([code, out]).toEqual([2, ''])
    }
    expect((await prepared()).ledger).toHaveLength(1)
    const force = ['--force-against-log', '--confirm', gtrid, ...REASON]
    const plan = await both(
      'resolve',
      'resolve',
      gtrid,
      '--rollback',
      '--branch',
      'ledger',
      ...force,
    )
    expect(plan.out).toContain('AGAINST what the log holds')
    const done = await project.cli(
      'resolve',
      gtrid,
      '--rollback',
      '--branch',
      'ledger',
      ...force,
      '--apply',
    )
    expect(done.code).toBe(4)
    expect(await rows()).toEqual({ ledger: 0, shop: 0 })
    expect((await project.cli('log', 'dump')).out).toMatch(
      /operator .* ledger {2}roll back against the log by/,
    )
    expect((await project.cli('recover', '--apply')).code).toBe(4)
    expect(await rows()).toEqual({ ledger: 0, shop: 1 })
    expect((await project.cli('forget', gtrid, ...REASON, '--apply')).code).toBe(0)
  })

  it('is refused while a coordinator runs: 6', async () => {
    const application = await project.stopAt('decide:after')
    const gtrid = await gtridOf()
    for (const args of [
      ['resolve', gtrid, '--commit'],
      ['forget', gtrid],
    ]) {
      const { code, out, err } = await project.cli(...args, ...REASON, '--apply')
      expect([code, out]).toEqual([6, ''])
      expect(err).toContain(`held by process ${application.pid} on `)
    }
    await application.kill()
  })
})

describe('what is not of this log', () => {
  it('is listed apart with what a person would type, and never touched', async () => {
    await project.crashAt('begin:done')
    // XA branches are the server's, whichever database and test file they come from.
    const foreign = `payroll-${randomBytes(4).toString('hex')}`
    const xa = `'${foreign}','7',1`
    const other = 'una1-0123456789abcdef-1.00000000-1'
    await ledger.query(
      `begin; insert into entry (note) values ('x'); prepare transaction '${other}:ledger'`,
    )
    await ledger.query(
      `begin; insert into entry (note) values ('y'); prepare transaction '${foreign}'`,
    )
    const branch = await shop.getConnection()
    await branch.query(`xa start ${xa}`)
    await branch.query("insert into entry (note) values ('z')")
    await branch.query(`xa end ${xa}`)
    await branch.query(`xa prepare ${xa}`)
    branch.destroy()

    const ours = async (): Promise<readonly string[]> => {
      const seen = await prepared()
      return [...seen.ledger, ...seen.shop.filter((id) => id === xa)]
    }
    expect(await ours()).toHaveLength(3)
    const shown = await both('orphans', 'orphans')
    expect(shown.code).toBe(0)
    expect(shown.out).toContain(`ROLLBACK PREPARED '${other}:ledger'`)
    expect(shown.out).toContain(`ROLLBACK PREPARED '${foreign}'`)
    expect(shown.out).toContain(`XA ROLLBACK ${xa}`)
    expect(shown.out).toMatch(/Orphans, of logs that are not this one:[\s\S]*of another log/)
    expect(shown.out).toMatch(/Of other applications:[\s\S]*not made by this library/)
    const status = await both('status', 'status')
    expect([status.code, status.out]).toEqual([
      0,
      expect.stringMatching(/^apart +1 orphan, \d+ foreign$/m),
    ])
    expect((await project.cli('recover', '--apply')).code).toBe(0)
    const resolve = await project.cli('resolve', other, '--rollback', ...REASON, '--apply')
    expect([resolve.code, resolve.err]).toEqual([2, expect.stringContaining('not of this log')])
    expect(await ours()).toHaveLength(3)

    await ledger.query(`rollback prepared '${other}:ledger'`)
    await ledger.query(`rollback prepared '${foreign}'`)
    await shop.query(`xa rollback ${xa}`)
  })
})
