/** The participant contract on MySQL or MariaDB, and the traps of database-facts.md that are theirs. */
import { createPool as createCallbackPool } from 'mysql2'
import { createConnection, createPool, type PoolOptions } from 'mysql2/promise'
import { type ParticipantWarning, systemClock } from 'unanimous/adapter'
import { participantContract } from 'unanimous/contract'
import { type MysqlOptions, type MysqlOwnConnection, type MysqlPool, mysql } from 'unanimous/mysql2'
import { afterAll, describe, expect, test } from 'vitest'
import { GTRID_PREFIX, requestOf } from '../../adapters/contract/harness.ts'
import { testDatabases } from '../support/databases.ts'
import { departures, takeLongToEnd } from './mysql-departures.ts'
import { mysqlHarness, mysqlSession } from './mysql-harness.ts'
import { rows } from './mysql-rows.ts'
import { statements, xa } from './mysql-traps.ts'

const { mysql: database } = await testDatabases()
const harness = mysqlHarness(database.url)
const SERVER = `${database.flavour} ${database.version}`
const isMariadb = database.flavour === 'mariadb'

describe(`contract on ${SERVER}`, () => {
  for (const one of participantContract) test(one.name, () => one.run(harness))
})

describe(`traps on ${SERVER}`, () => {
  for (const one of [...xa, ...departures, ...statements, ...rows])
    test(one.name, () => one.run(harness))
})

describe(`settings and privileges on ${SERVER}`, () => {
  const ends: (() => Promise<unknown>)[] = []
  afterAll(async () => {
    for (const end of ends.reverse()) await end()
  })

  function participantOver(pool: MysqlPool, options: MysqlOptions = {}) {
    const warnings: ParticipantWarning[] = []
    const participant = mysql(pool, options).create({
      name: 'shop',
      clock: systemClock,
      warn: (warning) => warnings.push(warning),
    })
    ends.push(() => participant.close())
    const branch = () => participant.branch(requestOf())
    return { participant, branch, warnings }
  }

  function poolWith(options: PoolOptions, url: string = database.url) {
    const pool = createPool({ uri: url, connectionLimit: 2, ...options })
    ends.push(() => pool.end())
    return pool
  }

  async function admin(...texts: readonly string[]): Promise<void> {
    const session = await mysqlSession(database.url)
    try {
      for (const text of texts) await session.run(text)
    } finally {
      session.close()
    }
  }

  test('takes a callback pool as well', async () => {
    await admin('CREATE TABLE IF NOT EXISTS work (id int)')
    const pool = createCallbackPool({ uri: database.url })
    ends.push(
      () =>
        new Promise<void>((resolve) => {
          pool.end(() => resolve())
        }),
    )
    const { branch } = participantOver(pool)
    const one = branch()
    await one.handle.query('INSERT INTO work VALUES (1)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared' })
    expect(await one.commit()).toEqual({ kind: 'answered' })
  })

  test('E: connect error of mysql2: a server that does not answer is unreachable', async () => {
    const url = new URL(database.url)
    url.port = '1'
    const { participant, branch } = participantOver(poolWith({}, url.href))
    await expect(participant.contact()).rejects.toMatchObject({ code: 'PARTICIPANT_UNREACHABLE' })
    await expect(participant.list()).rejects.toMatchObject({ code: 'PARTICIPANT_UNREACHABLE' })
    const one = branch()
    await expect(one.handle.query('SELECT 1')).rejects.toMatchObject({
      name: 'TransactionError',
      code: 'PARTICIPANT_UNREACHABLE',
      outcome: 'rolled-back',
    })
    expect(await one.rollback()).toEqual({ kind: 'answered' })
    const xid = { gtrid: `${GTRID_PREFIX}1`, bqual: 'shop.1' }
    expect(await participant.settle(xid, 'commit')).toMatchObject({ kind: 'later' })
  })

  test('B: MySQL without XA_RECOVER_ADMIN is unfit, and the hint is the GRANT', async () => {
    const user = `u${database.name.slice(-8)}`
    await admin(
      `CREATE USER ${user}@'%' IDENTIFIED BY 'secret'`,
      `GRANT ALL ON \`${database.name}\`.* TO ${user}@'%'`,
    )
    ends.push(() => admin(`DROP USER ${user}@'%'`))
    const url = new URL(database.url)
    url.username = user
    url.password = 'secret'
    const { participant } = participantOver(poolWith({}, url.href))
    if (isMariadb) {
      expect(await participant.contact()).toHaveProperty('server')
      expect(await participant.list()).toEqual([])
      return
    }
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringContaining('GRANT XA_RECOVER_ADMIN'),
    })
  })

  test('T2: a pool that resets its connections is unfit on MariaDB', async () => {
    const { participant } = participantOver(poolWith({ resetOnRelease: true }))
    if (!isMariadb) {
      await participant.contact()
      return
    }
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringContaining('resetOnRelease: false'),
    })
  })

  test('T3: behind a proxy no session is named, and none is ever ended', async () => {
    await admin('CREATE TABLE IF NOT EXISTS work (id int)')
    const { participant, branch } = participantOver(poolWith({}), {
      proxy: true,
      allow: ['proxy-unmarked'],
    })
    const one = branch()
    await one.handle.query('INSERT INTO work VALUES (1)')
    expect(one.xid?.bqual).toBe('shop')
    expect(await one.vote()).toMatchObject({ kind: 'prepared' })
    const settled = await participant.settle(one.xid ?? { gtrid: '', bqual: '' }, 'abort')
    if (isMariadb) {
      expect(settled).toMatchObject({
        kind: 'later',
        cause: { hint: expect.stringContaining('KILL') },
      })
      expect(await one.rollback()).toEqual({ kind: 'answered' })
    } else {
      expect(settled).toEqual({ kind: 'answered' })
      expect(await one.rollback()).toMatchObject({ kind: 'absent' })
    }
  })

  test('T11: sessions that are hidden from us are named, and waited for by their ids', async () => {
    const user = `r${database.name.slice(-8)}`
    await admin(
      'CREATE TABLE IF NOT EXISTS work (id int)',
      'DELETE FROM work',
      `CREATE USER ${user}@'%' IDENTIFIED BY 'secret'`,
      `GRANT SELECT ON \`${database.name}\`.* TO ${user}@'%'`,
      ...(isMariadb ? [] : [`GRANT XA_RECOVER_ADMIN ON *.* TO ${user}@'%'`]),
    )
    ends.push(() => admin(`DROP USER ${user}@'%'`))
    const url = new URL(database.url)
    url.username = user
    url.password = 'secret'
    const connect = async () => {
      const made = await createConnection({ uri: url.href })
      return made as typeof made & MysqlOwnConnection
    }
    const pool = poolWith({ connectionLimit: 1, multipleStatements: true })
    const { participant, branch, warnings } = participantOver(pool, { connect })
    await participant.contact()
    expect(warnings).toMatchObject(
      isMariadb
        ? [{ code: 'sessions-hidden', hint: expect.stringContaining('GRANT PROCESS') }]
        : [],
    )
    await takeLongToEnd('work', (text) => pool.query(text))
    const one = branch()
    await one.handle.query('INSERT INTO work VALUES (1)')
    const vote = await one.vote()
    if (vote.kind !== 'prepared' || one.xid === undefined) throw new Error(vote.kind)
    const recorded = { server: vote.evidence.server, only: false }
    if (isMariadb) {
      expect(await participant.settle(one.xid, 'commit', recorded)).toMatchObject({
        kind: 'later',
        cause: { hint: expect.stringContaining('CONNECTION ADMIN') },
      })
    }
    one.abandon()
    expect(await participant.settle(one.xid, 'commit', recorded)).toEqual({ kind: 'answered' })
    const [rows] = await poolWith({}).query('SELECT id FROM work')
    expect(rows).toEqual([{ id: 1 }])
  })

  test('a decision for one server alone asks at each try which one is there', async () => {
    await admin('CREATE TABLE IF NOT EXISTS work (id int)')
    let isMoved = false
    const connect = async () => {
      const made = await createConnection({ uri: database.url })
      const own = made as typeof made & MysqlOwnConnection
      const query = own.connection.query.bind(own.connection)
      // As a proxy that leads the same connection to another server.
      own.connection.query = (asked: { sql: string }, ...rest) => {
        if (isMoved)
          asked.sql = asked.sql.replace(/^SELECT .+? AS server,/, "SELECT 'b' AS server,")
        return query(asked, ...rest)
      }
      return own
    }
    const { participant, branch } = participantOver(poolWith({}), { connect })
    const one = branch()
    await one.handle.query('INSERT INTO work VALUES (1)')
    const vote = await one.vote()
    if (vote.kind !== 'prepared' || one.xid === undefined) throw new Error(vote.kind)
    const recorded = { server: vote.evidence.server, only: true }
    isMoved = true
    expect(await participant.settle(one.xid, 'commit', recorded)).toMatchObject({
      kind: 'other-server',
    })
    isMoved = false
    one.abandon()
    expect(await participant.settle(one.xid, 'commit', recorded)).toEqual({ kind: 'answered' })
  })

  test('a greeting that names another session than ours is a proxy, and unfit', async () => {
    const connect = async () => {
      const made = await createConnection({ uri: database.url })
      const own = made as typeof made & MysqlOwnConnection
      Object.assign(own.connection, { threadId: 4_000_000 })
      return own
    }
    const { participant } = participantOver(poolWith({}), { connect })
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringContaining('proxy: true'),
    })
  })

  test('B: MyISAM inside XA: a marker table that is not transactional is unfit', async () => {
    await admin(
      `CREATE DATABASE ${database.name}_m`,
      `CREATE TABLE ${database.name}_m.unanimous_branch (gtrid varchar(64)) ENGINE = MyISAM`,
    )
    ends.push(() => admin(`DROP DATABASE ${database.name}_m`))
    const options = { markerSchema: `${database.name}_m` }
    const { participant } = participantOver(poolWith({}), options)
    await expect(participant.contact()).rejects.toMatchObject({
      code: 'PARTICIPANT_UNFIT',
      hint: expect.stringContaining('ENGINE = InnoDB'),
    })
  })

  test('markers go to their database, whatever the session uses', async () => {
    await admin(
      `CREATE DATABASE ${database.name}_b`,
      `CREATE TABLE ${database.name}_b.work (id int)`,
    )
    ends.push(() => admin(`DROP DATABASE ${database.name}_b`))
    const { participant, branch } = participantOver(poolWith({}))
    await participant.init()
    const one = branch()
    await one.handle.query(`USE ${database.name}_b`)
    await one.handle.query('INSERT INTO work VALUES (1)')
    expect(await one.vote()).toMatchObject({ kind: 'prepared', evidence: { marker: true } })
    expect(await one.commit()).toEqual({ kind: 'answered' })
    expect(await participant.listMarkers(GTRID_PREFIX, 10)).toEqual([one.xid?.gtrid])
    await admin('DROP TABLE unanimous_branch')
  })

  test('the start of the server is the same at every reading', async () => {
    await admin('CREATE TABLE IF NOT EXISTS work (id int)')
    const starts = new Set<number>()
    for (let times = 0; times < 8; times += 1) {
      const { branch } = participantOver(poolWith({}))
      const one = branch()
      await one.handle.query('INSERT INTO work VALUES (1)')
      const vote = await one.vote()
      if (vote.kind === 'prepared') starts.add(vote.evidence.server.startedAtMs)
      await one.rollback()
      await new Promise((resolve) => {
        setTimeout(resolve, 150)
      })
    }
    expect(starts.size).toBe(1)
  })
})
