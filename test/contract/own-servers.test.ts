/**
 * Traps that need a server which may be killed, or set up wrongly. The servers are the run's own
 * versions, started apart.
 */
import assert from 'node:assert/strict'
import { createConnection, createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { type BranchEvidence, systemClock, type Xid } from 'unanimous/adapter'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { branchOf, pause, requestOf, sealed } from '../../adapters/contract/harness.ts'
import { contract, evidenceOf, INSERT, ids, listed, xidOf } from '../../adapters/contract/stage.ts'
import { sharedServers } from '../support/databases.ts'
import {
  createDatabase,
  type Server,
  startMysqlFamily,
  startPostgres,
} from '../support/servers/index.ts'
import { takeLongToEnd } from './mysql-departures.ts'
import { mysqlHarness, mysqlSession } from './mysql-harness.ts'
import { pgHarness, pgSession } from './pg-harness.ts'

const shared = sharedServers()
const isMariadb = shared.mysql.flavour === 'mariadb'

describe(`traps on PostgreSQL ${shared.postgres.version}, as it ships`, () => {
  test('A: max_prepared_transactions=0: unfit, and the hint is the setting', async () => {
    const { version } = shared.postgres
    const server = await startPostgres({ version }, { settings: [] })
    const pool = new Pool({ connectionString: server.url })
    const context = { name: 'ledger', clock: systemClock, warn: () => undefined }
    const participant = postgres(pool).create(context)
    try {
      const session = await pgSession(server.url)
      await session.run('BEGIN')
      await assert.rejects(session.run("PREPARE TRANSACTION 'x'"), { code: '55000' })
      await assert.rejects(session.run("COMMIT PREPARED 'x'"), { code: '42704' })
      session.close()
      await assert.rejects(participant.contact(), (cause: { code?: string; hint?: string }) => {
        assert.equal(cause.code, 'PARTICIPANT_UNFIT')
        assert.match(cause.hint ?? '', /max_prepared_transactions/)
        return true
      })
    } finally {
      await participant.close()
      await pool.end()
      await server.stop()
    }
  })
})

describe(`traps on PostgreSQL ${shared.postgres.version}, with 2 slots, killed with kill -9`, () => {
  let server: Server
  let url = ''
  beforeAll(async () => {
    const settings = ['max_prepared_transactions=2', 'max_connections=50']
    server = await startPostgres({ version: shared.postgres.version }, { settings })
    url = await createDatabase(server, 'ledger')
  })
  afterAll(() => server.stop())

  test('A: 81st prepared with limit 80: 53200 is a refusal worth another try', () =>
    contract('', async ({ opened }) => {
      const branches = [1, 2, 3].map(() => branchOf(opened))
      for (const [at, branch] of branches.entries()) {
        await opened.run(branch, `INSERT INTO item VALUES (${at}, 1)`)
      }
      const votes = []
      for (const branch of branches) votes.push(await branch.vote())
      assert.deepEqual(
        votes.map((vote) => vote.kind),
        ['prepared', 'prepared', 'refused'],
      )
      const refusal = votes[2]?.kind === 'refused' ? votes[2].refusal : undefined
      assert.equal(refusal?.retryable, true)
      assert.match(refusal?.hint ?? '', /max_prepared_transactions/)
      for (const branch of branches) {
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      }
    }).run(pgHarness(url)))

  test('A: 2 sessions finish the same gid: 55000 "busy" is later, and proves nothing', () =>
    contract('', async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const evidence = evidenceOf(await branch.vote())
      const xid = xidOf(branch)
      branch.abandon()
      // A COMMIT PREPARED that waits for a standby holds the branch for as long as we like.
      const first = await harness.session()
      await other.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
      await other.run('SELECT pg_reload_conf()')
      await pause(200)
      const waiting = first.run(`COMMIT PREPARED '${xid.gtrid}:${xid.bqual}'`)
      await pause(200)
      for (const decision of ['commit', 'abort'] as const) {
        assert.equal((await opened.participant.settle(xid, decision)).kind, 'later')
      }
      assert.equal((await opened.participant.prove(xid, evidence)).kind, 'look-again')
      await other.run('ALTER SYSTEM RESET synchronous_standby_names')
      await other.run('SELECT pg_reload_conf()')
      await waiting
      first.close()
      assert.equal((await opened.participant.settle(xid, 'commit')).kind, 'absent')
      assert.equal((await opened.participant.prove(xid, evidence)).kind, 'committed')
      assert.deepEqual(await ids(other), [1])
    }).run(pgHarness(url)))

  test('A: kill -9 postmaster after PREPARE: listed at the first contact, with its time', () =>
    contract('', async ({ opened, harness }) => {
      const [prepared, active] = [branchOf(opened), branchOf(opened)]
      await opened.run(prepared, INSERT)
      evidenceOf(await prepared.vote())
      await opened.run(active, 'INSERT INTO item VALUES (2, 2)')
      const [before] = await opened.participant.list()
      await server.kill()
      assert.equal((await prepared.commit()).kind, 'unknown')
      // `unknown` when its own connection has not noticed the death yet.
      const settlement = await opened.participant.settle(xidOf(prepared), 'commit')
      assert.match(settlement.kind, /^(?:later|unknown)$/)
      await server.restart()
      assert.deepEqual(await opened.participant.list(), [before])
      assert.deepEqual(await opened.participant.settle(xidOf(prepared), 'commit'), {
        kind: 'answered',
      })
      await active.rollback()
      const again = await harness.session()
      assert.deepEqual(await ids(again), [1])
      again.close()
    }).run(pgHarness(url)))

  test('E: pg: kill -9 server, query in flight: a vote is unknown, a pool recovers by itself', () =>
    contract('', async ({ opened, other, harness }) => {
      await other.run(`CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$`)
      await other.run(`CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON item
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const voting = branch.vote()
      await pause(200)
      await server.kill()
      assert.equal((await voting).kind, 'unknown')
      const down = branchOf(opened)
      await assert.rejects(opened.run(down, INSERT))
      await down.rollback()
      await assert.rejects(opened.participant.list(), { code: 'PARTICIPANT_UNREACHABLE' })
      await server.restart()
      await branch.rollback()
      assert.equal((await opened.participant.settle(xidOf(branch), 'abort')).kind, 'absent')
      const again = await harness.session()
      await again.run('DROP TRIGGER slow ON item')
      const next = branchOf(opened)
      await opened.run(next, INSERT)
      evidenceOf(await next.vote())
      assert.deepEqual(await next.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(again), [1])
      again.close()
    }).run(pgHarness(url)))
})

describe(`traps on ${shared.mysql.flavour} ${shared.mysql.version}, killed with kill -9`, () => {
  let server: Server
  let url = ''
  beforeAll(async () => {
    server = await startMysqlFamily(
      { flavour: isMariadb ? 'mariadb' : 'mysql', version: shared.mysql.version },
      { settings: ['--innodb-rollback-on-timeout=ON'] },
    )
    url = await createDatabase(server, 'shop')
  })
  afterAll(() => server.stop())

  test('B: 1205 with innodb_rollback_on_timeout=ON: dooms the branch, also at the vote', () =>
    contract('', async ({ opened, other, harness }) => {
      await other.run('INSERT INTO item VALUES (9, 9)')
      const holder = await harness.session()
      await holder.run('BEGIN')
      await holder.run('UPDATE item SET v = 8 WHERE id = 9')
      for (const asked of ['seal', 'vote'] as const) {
        const branch = branchOf(opened)
        await opened.run(branch, INSERT)
        await opened.run(branch, 'SET SESSION innodb_lock_wait_timeout = 1')
        const waiting = opened.run(branch, 'UPDATE item SET v = 7 WHERE id = 9')
        await assert.rejects(waiting, { errno: 1205 })
        const vote = asked === 'vote' ? await branch.vote() : undefined
        const refusal = vote?.kind === 'refused' ? vote.refusal : branch.seal(sealed)
        assert.deepEqual([refusal?.code, refusal?.retryable], ['STATEMENT_FAILED', true])
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        assert.equal(opened.pool().idle, 1, 'the connection is sound')
      }
      holder.close()
      assert.deepEqual(await ids(other), [9])
    }).run(mysqlHarness(url)))

  test('T11: behind a proxy an OK is left to the marker, and what was lost is done after a restart', async () => {
    const pool = createPool({ uri: url, connectionLimit: 1, multipleStatements: true })
    const context = { name: 'shop', clock: systemClock, warn: () => undefined }
    const participant = mysql(pool, { proxy: true }).create(context)
    const committed = async (): Promise<readonly number[]> => {
      const session = await mysqlSession(url)
      const rows = await ids(session)
      session.close()
      return rows
    }
    try {
      await pool.query('DROP TABLE IF EXISTS item')
      await pool.query('CREATE TABLE item (id int PRIMARY KEY, v int)')
      await participant.init()
      await takeLongToEnd('item', (text) => pool.query(text))
      const branch = participant.branch(requestOf())
      await branch.handle.query(INSERT)
      const evidence = evidenceOf(await branch.vote())
      const recorded = { server: evidence.server, only: false }
      branch.abandon()
      await pause(10)
      const settled = await participant.settle(xidOf(branch), 'commit', recorded)
      assert.equal(settled.kind, isMariadb ? 'absent' : 'answered')
      const proof = await participant.prove(xidOf(branch), evidence)
      const isDone = (await committed()).length === 1
      assert.equal(proof.kind, isDone ? 'committed' : 'look-again')
      if (!isDone) {
        await server.kill()
        await server.restart()
        assert.deepEqual(await participant.settle(xidOf(branch), 'commit', recorded), {
          kind: 'answered',
        })
      }
      assert.deepEqual(await committed(), [1])
    } finally {
      await participant.close()
      await pool.end()
    }
  })

  test('B: kill -9 after XA PREPARE: listed at the first contact; what was IDLE is gone', () =>
    contract('', async ({ opened, harness }) => {
      const [prepared, active] = [branchOf(opened), branchOf(opened)]
      await opened.run(prepared, INSERT)
      evidenceOf(await prepared.vote())
      await opened.run(active, 'INSERT INTO item VALUES (2, 2)')
      await server.kill()
      assert.equal((await prepared.commit()).kind, 'unknown')
      // `unknown` when its own connection has not noticed the death yet.
      const settlement = await opened.participant.settle(xidOf(prepared), 'commit')
      assert.match(settlement.kind, /^(?:later|unknown)$/)
      await server.restart()
      assert.ok(await listed(opened, prepared))
      assert.deepEqual(await opened.participant.settle(xidOf(prepared), 'commit'), {
        kind: 'answered',
      })
      await active.rollback()
      const again = await harness.session()
      assert.deepEqual(await ids(again), [1])
      again.close()
    }).run(mysqlHarness(url)))

  test('E: mysql2: kill -9, in flight: the branch is doomed, a pool recovers by itself', () =>
    contract('', async ({ opened, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const running = opened.run(branch, 'SELECT SLEEP(30)')
      running.catch(() => undefined)
      await pause(200)
      await server.kill()
      await assert.rejects(running)
      assert.equal(branch.seal(sealed)?.code, 'CONNECTION_LOST')
      assert.equal((await branch.vote()).kind, 'refused')
      await branch.rollback()
      await assert.rejects(opened.participant.list(), { code: 'PARTICIPANT_UNREACHABLE' })
      await server.restart()
      const next = branchOf(opened)
      await opened.run(next, INSERT)
      evidenceOf(await next.vote())
      assert.deepEqual(await next.commit(), { kind: 'answered' })
      const again = await harness.session()
      assert.deepEqual(await ids(again), [1])
      again.close()
    }).run(mysqlHarness(url)))

  test('read_only, as before a planned failover: a refusal at the vote and in one phase', async () => {
    const admin = await mysqlSession(url)
    await admin.run("CREATE USER plain@'%' IDENTIFIED BY 'secret'")
    await admin.run("GRANT ALL ON shop.* TO plain@'%'")
    if (!isMariadb) await admin.run("GRANT XA_RECOVER_ADMIN ON *.* TO plain@'%'")
    const plain = new URL(url)
    plain.username = 'plain'
    plain.password = 'secret'
    for (const options of [{ merges: true, markers: true }, { merges: false }]) {
      const one = contract(
        '',
        async ({ opened, other }) => {
          const [first, second] = [branchOf(opened), branchOf(opened)]
          await opened.run(first, INSERT)
          await opened.run(second, 'INSERT INTO item VALUES (2, 2)')
          await admin.run('SET GLOBAL read_only = 1')
          const vote = await first.vote()
          const answer = await second.commitOnePhase(true)
          await admin.run('SET GLOBAL read_only = 0')
          // XA PREPARE itself is let through; what writes the marker is not.
          assert.equal(vote.kind, options.markers === true ? 'refused' : 'prepared')
          assert.equal(answer.kind, 'refused')
          assert.deepEqual(await first.rollback(), { kind: 'answered' })
          assert.deepEqual(await ids(other), [])
        },
        options,
      )
      await one.run(mysqlHarness(plain.href))
    }
    admin.close()
  })

  test('two lives of a server that began in the same second are two', () =>
    contract('', async ({ opened }) => {
      const prepared = async (id: number) => {
        const branch = branchOf(opened)
        await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
        const evidence = evidenceOf(await branch.vote())
        assert.deepEqual(await branch.commit(), { kind: 'answered' })
        return { xid: xidOf(branch), evidence }
      }
      const ask = (xid: Xid, evidence: BranchEvidence) => opened.participant.prove(xid, evidence)
      const before = await prepared(1)
      assert.deepEqual(await ask(before.xid, before.evidence), { kind: 'none', life: 'same' })
      await server.kill()
      await server.restart()
      const after = await prepared(2)
      const { startedAtMs } = after.evidence.server
      const second = startedAtMs - (startedAtMs % 1_000)
      const inThatSecond = second + (before.evidence.server.startedAtMs % 1_000)
      const recorded = { ...before.evidence.server, startedAtMs: inThatSecond }
      const life = await ask(before.xid, { ...before.evidence, server: recorded })
      // MySQL tells whole seconds, and its second life may have given out as many ids as the first.
      if (isMariadb) assert.deepEqual(life, { kind: 'none', life: 'restarted' })
      const { gtrid, bqual } = after.xid
      const unissued = bqual.replace(/\d+$/, '1000000')
      assert.deepEqual(await ask({ gtrid, bqual: unissued }, after.evidence), {
        kind: 'none',
        life: 'restarted',
      })
    }).run(mysqlHarness(url)))

  test('FLUSH TABLES WITH READ LOCK: a commit from outside is given up in the server too', () =>
    contract('', async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      branch.abandon()
      const backup = await harness.session()
      await backup.run('FLUSH TABLES WITH READ LOCK')
      for (let passes = 0; passes < 2; passes += 1) {
        const settled = await opened.participant.settle(xidOf(branch), 'commit')
        assert.match(settled.kind, /^(?:later|unknown)$/)
      }
      const sessions = await other.run('SHOW FULL PROCESSLIST')
      const waiting = sessions.filter((row) => String(row['Info']).startsWith('XA COMMIT'))
      assert.deepEqual(waiting, [], 'no session was left behind')
      await backup.run('UNLOCK TABLES')
      backup.close()
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1])
    }).run(mysqlHarness(url)))

  test('a branch that another session is finishing has no session to end: its id may be somebody else’s', () =>
    contract('', async ({ opened, other, harness }) => {
      const innocent = await harness.session()
      const [row] = await innocent.run(harness.sessionId)
      // As a branch of an earlier life of the server: the id in its name has been given out again.
      const { gtrid } = requestOf()
      const bqual = `shop.${Number(row?.['id'])}`
      const xid = `'${gtrid}','${bqual}',1`
      const preparer = await harness.session()
      await preparer.run(`XA START ${xid}`)
      await preparer.run(INSERT)
      for (const verb of ['END', 'PREPARE']) await preparer.run(`XA ${verb} ${xid}`)
      preparer.close()
      await pause(200)
      const [backup, first] = [await harness.session(), await harness.session()]
      await backup.run('FLUSH TABLES WITH READ LOCK')
      const finishing = first.run(`XA COMMIT ${xid}`)
      await pause(200)
      const settled = await opened.participant.settle({ gtrid, bqual }, 'commit')
      assert.match(settled.kind, /^(?:later|unknown)$/)
      await innocent.run('SELECT 1')
      await backup.run('UNLOCK TABLES')
      await finishing
      assert.deepEqual(await ids(other), [1])
      for (const session of [innocent, backup, first]) session.close()
    }).run(mysqlHarness(url)))

  test('T2: a commit after a reset: MariaDB says OK and does nothing, until a restart; MySQL does it', () =>
    contract('', async ({ opened, other }) => {
      const { gtrid } = requestOf()
      const bqual = 'shop'
      const xid = `'${gtrid}','${bqual}',1`
      // The very mistake that the adapter never makes, on a connection of the test's own.
      const careless = await createConnection(url)
      await careless.query(`XA START ${xid}`)
      await careless.query(INSERT)
      for (const verb of ['END', 'PREPARE']) await careless.query(`XA ${verb} ${xid}`)
      await careless.reset()
      await careless.query(`XA COMMIT ${xid}`)
      assert.deepEqual(await ids(other), isMariadb ? [] : [1])
      assert.deepEqual(await opened.participant.list(), [])
      await server.kill()
      careless.destroy()
      await server.restart()
      const recorded = { server: { server: '', startedAtMs: 0 }, only: false }
      const settled = await opened.participant.settle({ gtrid, bqual }, 'commit', recorded)
      assert.equal(settled.kind, isMariadb ? 'answered' : 'absent')
      const again = await mysqlSession(url)
      assert.deepEqual(await ids(again), [1])
      again.close()
    }).run(mysqlHarness(url)))
})
