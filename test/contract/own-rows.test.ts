/**
 * Rows of database-facts.md that need more than a participant: a pooler, a standby, another database
 * whose work goes on. The servers are the run's own versions.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createPool } from 'mysql2/promise'
import { Client, Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, beforeEach, describe, test } from 'vitest'
import { branchOf, eventually } from '../../adapters/contract/harness.ts'
import { contract, evidenceOf, INSERT, ids, listed, xidOf } from '../../adapters/contract/stage.ts'
import { logDirectory } from '../support/bank.ts'
import { sharedServers, testDatabases } from '../support/databases.ts'
import { createDatabase, startPostgres } from '../support/servers/index.ts'
import { startPgBouncer } from '../support/servers/pgbouncer.ts'
import { mysqlSession } from './mysql-harness.ts'
import { pgHarness, pgSession } from './pg-harness.ts'

const { postgres: ledger, mysql: shop } = await testDatabases()
const { version } = sharedServers().postgres
const isMariadb = shop.flavour === 'mariadb'

describe(`traps on PostgreSQL ${version}, behind PgBouncer`, async () => {
  const bouncer = await startPgBouncer(ledger.url, () => undefined)
  afterAll(() => bouncer.stop())

  test('A: pgbouncer, pool_mode=transaction: no greeting names a backend, and nothing of ours stays in a session', () =>
    contract('', async ({ opened, other }) => {
      const client = new Client({ connectionString: bouncer.url })
      await client.connect()
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      const greeted = (client as unknown as { processID: number }).processID
      assert.notEqual(rows[0]?.pid, greeted, 'the greeting’s is PgBouncer’s own')
      await client.end()
      const before = await opened.leak('SHOW lock_timeout')
      const [first, second] = [branchOf(opened), branchOf(opened)]
      await opened.run(first, INSERT)
      await opened.run(second, 'INSERT INTO item VALUES (2, 2)')
      assert.notDeepEqual(await opened.run(first, 'SHOW lock_timeout'), before)
      evidenceOf(await first.vote())
      evidenceOf(await second.vote())
      assert.deepEqual(opened.warnings, ['pooler'])
      for (let times = 0; times < 4; times += 1) {
        assert.deepEqual(await opened.leak('SHOW lock_timeout'), before)
      }
      assert.deepEqual(await first.commit(), { kind: 'answered' })
      second.abandon()
      assert.deepEqual(await opened.participant.settle(xidOf(second), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1, 2])
    }).run(pgHarness(bouncer.url)))
})

describe(`traps on PostgreSQL ${version}, as a standby`, () => {
  test('A: hot standby: unfit; promoted, it has the branch, and a transaction id proves nothing', async () => {
    const settings = ['max_prepared_transactions=5', 'max_connections=50']
    const server = await startPostgres({ version }, { settings })
    const url = await createDatabase(server, 'ledger')
    const body = contract('', async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const evidence = evidenceOf(await branch.vote())
      branch.abandon()
      const [row] = await other.run('SHOW data_directory')
      await server.kill()
      writeFileSync(join(String(row?.['data_directory']), 'standby.signal'), '', { mode: 0o644 })
      await server.restart()
      assert.equal(await listed(opened, branch), false, 'in recovery the list is empty')
      const proof = await opened.participant.prove(xidOf(branch), evidence)
      assert.equal(proof.kind, 'look-again', 'which proves nothing')
      const early = branchOf(opened)
      await assert.rejects(
        opened.run(early, 'INSERT INTO item VALUES (2, 2)'),
        (cause: { code?: string; hint?: string }) => {
          assert.equal(cause.code, 'PARTICIPANT_UNFIT')
          assert.match(cause.hint ?? '', /primary/)
          return true
        },
      )
      await early.rollback()
      assert.notEqual((await opened.participant.settle(xidOf(branch), 'commit')).kind, 'answered')
      const admin = await pgSession(url)
      await admin.run('SELECT pg_promote()')
      await eventually('it lists the branch', () => listed(opened, branch))
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await opened.participant.prove(xidOf(branch), evidence), {
        kind: 'none',
        life: 'restarted',
      })
      assert.deepEqual(await ids(admin), [1])
      admin.close()
    })
    try {
      await body.run(pgHarness(url))
    } finally {
      await server.stop()
    }
  })
})

describe(`traps on ${shop.flavour} ${shop.version}, beside PostgreSQL ${version}`, () => {
  beforeEach(async () => {
    const admin = await mysqlSession(shop.url)
    await admin.run('CREATE TABLE IF NOT EXISTS item (id int PRIMARY KEY, v int)')
    await admin.run('DELETE FROM item')
    await admin.run('INSERT INTO item VALUES (1, 1), (2, 2)')
    admin.close()
  })

  async function rivalSession() {
    const rival = await mysqlSession(shop.url)
    await rival.run('SET SESSION innodb_lock_wait_timeout = 1')
    return {
      update: () => rival.run('UPDATE item SET v = 9 WHERE id = 1'),
      close: () => rival.close(),
    }
  }

  /** What the server does by itself: whether a rival gets at row 1 once it is prepared. */
  async function isFreeWhenPrepared(statements: readonly string[]): Promise<boolean> {
    const raw = await mysqlSession(shop.url)
    const rival = await rivalSession()
    await raw.run("XA START 'raw','locks',1")
    for (const text of statements) await raw.run(text)
    await assert.rejects(rival.update(), { errno: 1205 }, 'it is locked while work goes on')
    for (const verb of ['END', 'PREPARE']) await raw.run(`XA ${verb} 'raw','locks',1`)
    const free = await rival.update().then(
      () => true,
      () => false,
    )
    await raw.run("XA ROLLBACK 'raw','locks',1")
    raw.close()
    rival.close()
    return free
  }

  /** A transaction whose other database is still at work when its callback returns. */
  async function staysLocked(statements: readonly string[]): Promise<void> {
    const pools = { ledger: new Pool({ connectionString: ledger.url }), shop: createPool(shop.url) }
    const points: string[] = []
    const coordinator = await Coordinator.open({
      log: await logDirectory(),
      participants: { ledger: postgres(pools.ledger), shop: mysql(pools.shop) },
      seams: {
        failpoints: async (name) => {
          points.push(name)
        },
      },
    })
    const rival = await rivalSession()
    const asked = coordinator.transaction(async (tx) => {
      for (const text of statements) await tx.shop.query(text)
      tx.ledger.query('CREATE TABLE made AS SELECT 1 AS n FROM pg_sleep(3)').catch(() => undefined)
      await assert.rejects(rival.update(), { errno: 1205 })
    })
    await assert.rejects(asked, { code: 'WORK_STILL_RUNNING', outcome: 'rolled-back' })
    assert.deepEqual(
      points.filter((name) => name.startsWith('prepare:')),
      [],
    )
    await rival.update()
    rival.close()
    await coordinator.close()
    await Promise.all([pools.ledger.end(), pools.shop.end()])
  }

  test('B: locks after PREPARE (branch that wrote): MariaDB lets shared ones go, so none is prepared while others work', async () => {
    const statements = [
      'UPDATE item SET v = 5 WHERE id = 2',
      'SELECT v FROM item WHERE id = 1 LOCK IN SHARE MODE',
    ]
    assert.equal(await isFreeWhenPrepared(statements), isMariadb)
    await staysLocked(statements)
  })

  test('B: locks after PREPARE (FOR UPDATE only): MySQL lets them go, so none is prepared while others work', async () => {
    const statements = ['SELECT v FROM item WHERE id = 1 FOR UPDATE']
    assert.equal(await isFreeWhenPrepared(statements), !isMariadb)
    await staysLocked(statements)
  })
})
