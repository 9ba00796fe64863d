/** The participant contract on PostgreSQL, and the traps of database-facts.md that are its own. */
import pg from 'pg'
import { systemClock } from 'unanimous/adapter'
import { participantContract } from 'unanimous/contract'
import { type PostgresOptions, postgres } from 'unanimous/pg'
import { afterAll, describe, expect, test } from 'vitest'
import { GTRID_PREFIX, requestOf } from '../../adapters/contract/harness.ts'
import { testDatabases } from '../support/databases.ts'
import { pgHarness, pgSession } from './pg-harness.ts'
import { oddlyParsed, pipelined, rows, unflushed } from './pg-rows.ts'
import { drivers, votes } from './pg-traps.ts'

const { postgres: database } = await testDatabases()
const harness = pgHarness(database.url)
const SERVER = `PostgreSQL ${database.version}`

describe(`contract on ${SERVER}`, () => {
  for (const one of participantContract) test(one.name, () => one.run(harness))
})

describe(`traps on ${SERVER}`, () => {
  for (const one of [...votes, ...drivers, ...rows]) test(one.name, () => one.run(harness))
  for (const one of pipelined) {
    test(one.name, () => one.run(pgHarness(database.url, { pipeline: true })))
  }
  const oddTypes = { getTypeParser: () => (value: unknown) => ({ value }) }
  const odd = pgHarness(database.url, { types: oddTypes })
  for (const one of oddlyParsed) test(one.name, () => one.run(odd))
  const unflushing = pgHarness(database.url, { options: '-c synchronous_commit=off' })
  for (const one of unflushed) test(one.name, () => one.run(unflushing))
})

describe(`settings and privileges on ${SERVER}`, () => {
  const ends: (() => Promise<unknown>)[] = []
  afterAll(async () => {
    for (const end of ends.reverse()) await end()
  })

  function participantAt(url: string, options: PostgresOptions = {}) {
    return participantOver(new pg.Pool({ connectionString: url, max: 2 }), options)
  }

  function participantOver(pool: pg.Pool, options: PostgresOptions = {}) {
    const participant = postgres(pool, options).create({
      name: 'ledger',
      clock: systemClock,
      warn: () => undefined,
    })
    ends.push(
      () => pool.end(),
      () => participant.close(),
    )
    const branch = () => participant.branch(requestOf())
    return { participant, branch }
  }

  function urlOf(change: { user?: string; database?: string }): string {
    const url = new URL(database.url)
    if (change.user !== undefined) {
      url.username = change.user
      url.password = 'secret'
    }
    if (change.database !== undefined) url.pathname = `/${change.database}`
    return url.href
  }

  async function admin(...texts: readonly string[]): Promise<void> {
    const session = await pgSession(database.url)
    try {
      for (const text of texts) await session.run(text)
    } finally {
      session.close()
    }
  }

  async function role(): Promise<string> {
    const name = `role_${database.name}_${ends.length}`
    await admin(
      `CREATE ROLE ${name} LOGIN PASSWORD 'secret'`,
      `GRANT CREATE ON SCHEMA public TO ${name}`,
    )
    ends.push(() => admin(`DROP OWNED BY ${name}`, `DROP ROLE ${name}`))
    return name
  }

  test('E: pg Client/Pool without an error listener: the pool has ours for as long as we live', async () => {
    const pool = new pg.Pool({ connectionString: database.url })
    const participant = postgres(pool).create({
      name: 'ledger',
      clock: systemClock,
      warn: () => undefined,
    })
    expect(pool.listenerCount('error')).toBe(1)
    await participant.close()
    expect(pool.listenerCount('error')).toBe(0)
    await pool.end()
  })

  test('a driver that cannot tell an open transaction is refused: pg before 8.21', async () => {
    class Old extends pg.Client {}
    Object.defineProperty(Old.prototype, 'getTransactionStatus', { value: undefined })
    const pool = new pg.Pool({ connectionString: database.url, Client: Old })
    const { branch } = participantOver(pool)
    await expect(branch().handle.query('SELECT 1')).rejects.toMatchObject({
      code: 'ENLIST_FAILED',
      outcome: 'rolled-back',
      cause: { message: expect.stringContaining('pg before 8.21') },
    })
    expect(pool.totalCount).toBe(0)
  })

  test('E: pool while server is down: a server that does not answer is unreachable', async () => {
    const url = new URL(database.url)
    url.port = '1'
    const { participant, branch } = participantAt(url.href)
    await expect(participant.contact()).rejects.toMatchObject({ code: 'PARTICIPANT_UNREACHABLE' })
    await expect(participant.list()).rejects.toMatchObject({ code: 'PARTICIPANT_UNREACHABLE' })
    const one = branch()
    await expect(one.handle.query('SELECT 1')).rejects.toMatchObject({
      name: 'TransactionError',
      code: 'PARTICIPANT_UNREACHABLE',
      outcome: 'rolled-back',
    })
    expect(await one.rollback()).toEqual({ kind: 'answered' })
    const xid = { gtrid: `${GTRID_PREFIX}1`, bqual: 'ledger' }
    expect(await participant.settle(xid, 'commit')).toMatchObject({ kind: 'later' })
    const evidence = { server: { server: '', startedAtMs: 0 }, marker: false }
    expect(await participant.prove(xid, evidence)).toMatchObject({ kind: 'look-again' })
  })

  test('A: only the role that prepared a branch, or a superuser, finishes it', async () => {
    const [mine, theirs] = [await role(), await role()]
    const own = participantAt(urlOf({ user: mine }))
    const one = own.branch()
    await one.handle.query('CREATE TABLE IF NOT EXISTS mine (id int)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared' })
    const xid = one.xid ?? { gtrid: '', bqual: '' }
    const other = participantAt(urlOf({ user: theirs }))
    expect((await other.participant.list()).map((each) => each.xid)).toContainEqual(xid)
    const settled = await other.participant.settle(xid, 'abort')
    expect(settled).toMatchObject({
      kind: 'later',
      cause: { hint: expect.stringContaining('role') },
    })
    expect(await one.rollback()).toEqual({ kind: 'answered' })
  })

  test('A: other user: a branch that ran under SET ROLE is finished in its owner’s name', async () => {
    const name = await role()
    const owner = `${name}_owner`
    await admin(
      `CREATE ROLE ${owner}`,
      `GRANT ${owner} TO ${name}`,
      `GRANT CREATE ON SCHEMA public TO ${owner}`,
    )
    ends.push(() => admin(`DROP OWNED BY ${owner}`, `DROP ROLE ${owner}`))
    const { participant, branch } = participantAt(urlOf({ user: name }))
    const one = branch()
    await one.handle.query(`SET LOCAL ROLE ${owner}`)
    await one.handle.query('CREATE TABLE theirs (id int)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared' })
    const xid = one.xid ?? { gtrid: '', bqual: '' }
    expect((await participant.list()).find((each) => each.xid?.gtrid === xid.gtrid)?.owner).toBe(
      owner,
    )
    one.abandon()
    expect(await participant.settle(xid, 'abort')).toEqual({ kind: 'answered' })
  })

  test('A: a branch of another database is not listed, and cannot be settled here', async () => {
    const here = participantAt(database.url)
    const one = here.branch()
    await one.handle.query('CREATE TABLE elsewhere (id int)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared' })
    const xid = one.xid ?? { gtrid: '', bqual: '' }
    const there = participantAt(urlOf({ database: 'postgres' }))
    expect((await there.participant.list()).map((each) => each.xid)).not.toContainEqual(xid)
    expect(await there.participant.settle(xid, 'abort')).toMatchObject({
      kind: 'later',
      cause: { hint: expect.stringContaining('another database') },
    })
    expect(await one.rollback()).toEqual({ kind: 'answered' })
  })

  test('a marker table without privileges is unfit, and the hint is the GRANT', async () => {
    await admin('CREATE SCHEMA locked')
    const strict = participantAt(database.url, { markerSchema: 'locked' })
    await strict.participant.init()
    const name = await role()
    await admin(`GRANT USAGE ON SCHEMA locked TO ${name}`)
    const { participant } = participantAt(urlOf({ user: name }), { markerSchema: 'locked' })
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringMatching(/^GRANT SELECT, INSERT, DELETE ON locked\.unanimous_branch/),
    })
  })

  test('markers go to their schema, whatever the search path of the application is', async () => {
    await admin(
      'CREATE SCHEMA books',
      'CREATE SCHEMA evil',
      'CREATE TABLE evil.unanimous_branch ()',
    )
    const { participant, branch } = participantAt(database.url, { markerSchema: 'books' })
    await participant.init()
    const one = branch()
    await one.handle.query('SET LOCAL search_path = evil')
    await one.handle.query('CREATE TABLE evil.work (id int)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared', evidence: { marker: true } })
    expect(await one.commit()).toEqual({ kind: 'answered' })
    expect(await participant.listMarkers(GTRID_PREFIX, 10)).toEqual([one.xid?.gtrid])
  })

  test('a marker table that is gone refuses the vote, and is noticed', async () => {
    await admin('CREATE SCHEMA fleeting')
    const { participant, branch } = participantAt(database.url, { markerSchema: 'fleeting' })
    await participant.init()
    expect(await participant.contact()).toMatchObject({ markers: true })
    await admin('DROP TABLE fleeting.unanimous_branch')
    const one = branch()
    await one.handle.query('CREATE TABLE fleeting.work (id int)')
    expect(await one.vote()).toMatchObject({
      kind: 'refused',
      refusal: { code: 'PREPARE_REFUSED', hint: expect.stringContaining('unanimous init') },
    })
    await one.rollback()
    expect(await participant.contact()).toMatchObject({ markers: false })
  })

  test('a transaction id proves nothing on another timeline, and is no proof while it runs', async () => {
    const { participant, branch } = participantAt(database.url)
    const one = branch()
    await one.handle.query('CREATE TABLE IF NOT EXISTS timed (id int)')
    const vote = await one.vote()
    if (vote.kind !== 'prepared') throw new Error(`voted ${vote.kind}`)
    const xid = { gtrid: `${GTRID_PREFIX}2`, bqual: 'ledger' }
    // Under another gid, so that only the transaction id can speak.
    expect(await participant.prove(xid, vote.evidence)).toEqual({ kind: 'look-again' })
    expect(await one.commit()).toEqual({ kind: 'answered' })
    const { server } = vote.evidence
    const promoted = { ...vote.evidence, server: { ...server, timeline: '00000009' } }
    expect(await participant.prove(xid, vote.evidence)).toMatchObject({ kind: 'committed' })
    expect(await participant.prove(xid, promoted)).toEqual({ kind: 'none', life: 'same' })
  })

  test('a transaction id whose marker row is gone is no proof in another life: it may be used again', async () => {
    await admin('CREATE SCHEMA snapshot')
    const { participant, branch } = participantAt(database.url, { markerSchema: 'snapshot' })
    await participant.init()
    const one = branch()
    await one.handle.query('CREATE TABLE snapshot.work (id int)')
    const vote = await one.vote()
    if (vote.kind !== 'prepared') throw new Error(`voted ${vote.kind}`)
    expect(await one.commit()).toEqual({ kind: 'answered' })
    // Set back to what it was before, and some transactions later, the server would say the same.
    await admin('DELETE FROM snapshot.unanimous_branch')
    const xid = one.xid ?? { gtrid: '', bqual: '' }
    const { server } = vote.evidence
    const earlier = { ...server, startedAtMs: server.startedAtMs - 60_000 }
    expect(await participant.prove(xid, { ...vote.evidence, server: earlier })).toEqual({
      kind: 'none',
      life: 'restarted',
    })
    expect(await participant.prove(xid, vote.evidence)).toMatchObject({ kind: 'committed' })
  })

  test('T8: a vote without its SAVEPOINT and its question would be a yes to nothing', async () => {
    const session = await pgSession(database.url)
    await session.run('CREATE TABLE nothing (id int)')
    await session.run(
      "BEGIN; INSERT INTO nothing VALUES (1); COMMIT; BEGIN; PREPARE TRANSACTION 'yes'",
    )
    expect(await session.run("SELECT gid FROM pg_prepared_xacts WHERE gid = 'yes'")).toEqual([
      { gid: 'yes' },
    ])
    await session.run("ROLLBACK PREPARED 'yes'")
    expect(await session.run('SELECT id FROM nothing'), 'yet it is committed').toEqual([{ id: 1 }])
    session.close()
  })
})
