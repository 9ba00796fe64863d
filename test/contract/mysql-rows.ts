/**
 * Section B of database-facts.md, row by row, as far as a decision of ours rests on it and
 * mysql-traps.ts does not show it already. The title begins with the row's words; where MySQL and
 * MariaDB differ, it says how.
 */
import assert from 'node:assert/strict'
import { branchOf, eventually, pause, requestOf, sealed } from '../../adapters/contract/harness.ts'
import {
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  xidOf,
} from '../../adapters/contract/stage.ts'
import { isMariadb } from './mysql-traps.ts'

/** 51 bytes. */
const LONGEST_GTRID = `una1-${'0'.repeat(16)}-${'z'.repeat(8)}.${'0'.repeat(8)}-${'z'.repeat(11)}`

const identifiers: readonly ContractCase[] = [
  contract(
    'B: gtrid / bqual > 64 bytes: a syntax error; the longest of ours is prepared and listed',
    async ({ opened, other }) => {
      const long = `'${'x'.repeat(65)}'`
      for (const xid of [`${long},'b',1`, `'g',${long},1`]) {
        await assert.rejects(other.run(`XA START ${xid}`), { errno: 1064 })
      }
      const branch = opened.participant.branch(requestOf({ gtrid: LONGEST_GTRID }))
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      assert.ok(await listed(opened, branch))
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    },
    { name: 'n'.repeat(40) },
  ),
  contract(
    'B: empty gtrid: MySQL takes it and it is not ours; MariaDB refuses it (1398)',
    async ({ opened, other, harness }) => {
      const holder = await harness.session()
      const start = "XA START '','x',1"
      if (await isMariadb(other)) await assert.rejects(holder.run(start), { errno: 1398 })
      else {
        await holder.run(start)
        await holder.run(INSERT)
        for (const verb of ['END', 'PREPARE']) await holder.run(`XA ${verb} '','x',1`)
        const all = await opened.participant.list()
        assert.deepEqual(
          all.map((one) => [one.id, one.xid]),
          [["'','x',1", undefined]],
        )
        await holder.run("XA ROLLBACK '','x',1")
      }
      holder.close()
    },
  ),
  contract(
    'B: duplicate xid: 1440 refuses the enlistment, and the other branch is left alone',
    async ({ opened, other, harness }) => {
      const first = branchOf(opened)
      const [row] = await opened.run(first, 'SELECT CONNECTION_ID() AS id')
      await first.rollback()
      // The pool hands the same connection out again, so that the next bqual is known.
      const next = requestOf()
      const taken = `'${next.gtrid}','${opened.participant.name}.${Number(row?.['id'])}',1`
      const holder = await harness.session()
      await holder.run(`XA START ${taken}`)
      await holder.run('INSERT INTO item VALUES (5, 5)')
      const second = opened.participant.branch(next)
      await assert.rejects(opened.run(second, INSERT), { code: 'ENLIST_FAILED' })
      assert.deepEqual(await second.rollback(), { kind: 'answered' })
      await holder.run(`XA END ${taken}`)
      await holder.run(`XA COMMIT ${taken} ONE PHASE`)
      holder.close()
      assert.deepEqual(await ids(other), [5])
    },
  ),
]

const beginnings: readonly ContractCase[] = [
  contract(
    'B: XA START inside BEGIN: what an earlier borrower left open is rolled back',
    async ({ opened, other }) => {
      await opened.leak('BEGIN')
      await opened.leak('INSERT INTO item VALUES (7, 7)')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      assert.equal(opened.pool().total, 1, 'on the very connection')
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract(
    'B: ACTIVE: SET TRANSACTION is refused, so isolation is set before XA START, and in force',
    async ({ opened, other }) => {
      await other.run("XA START 'active','set',1")
      const late = other.run('SET TRANSACTION ISOLATION LEVEL READ COMMITTED')
      await assert.rejects(late, { errno: 1568 })
      await other.run("XA END 'active','set',1")
      await other.run("XA ROLLBACK 'active','set',1")
      const seen = async (isolation: 'read committed' | 'repeatable read'): Promise<unknown> => {
        await other.run('DELETE FROM item')
        const branch = branchOf(opened, { isolation })
        await opened.run(branch, 'SELECT id FROM item')
        await other.run(INSERT)
        const rows = await opened.run(branch, 'SELECT id FROM item')
        await branch.rollback()
        return rows.length
      }
      assert.equal(await seen('read committed'), 1)
      assert.equal(await seen('repeatable read'), 0)
      assert.equal(await seen('read committed'), 1, 'and holds for one branch only')
    },
  ),
  contract(
    'B: ACTIVE: XA END of another xid: 1397, and a branch that was ended and replaced is a refusal',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const { gtrid, bqual } = xidOf(branch)
      const xid = `'${gtrid}','${bqual}',1`
      const replace = `XA END ${xid}; XA COMMIT ${xid} ONE PHASE; XA START 'mine','x',1`
      await opened.run(branch, `SELECT 1; ${replace}`)
      await opened.run(branch, 'INSERT INTO item VALUES (2, 2)')
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'ENDED_BY_APPLICATION')
      await branch.rollback()
      assert.equal(opened.pool().total, 0, 'the connection is in a branch that is not ours')
      await eventually('its row is gone', async () => (await ids(other)).length === 1)
    },
    { merges: true },
  ),
]

const failures: readonly ContractCase[] = [
  contract(
    'B: 1205 lock wait timeout: dooms the branch, which the server would have prepared',
    async ({ opened, other, harness }) => {
      await other.run('INSERT INTO item VALUES (9, 9)')
      const holder = await harness.session()
      await holder.run('BEGIN')
      await holder.run('UPDATE item SET v = 8 WHERE id = 9')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      await opened.run(branch, 'SET SESSION innodb_lock_wait_timeout = 1')
      const waiting = opened.run(branch, 'UPDATE item SET v = 7 WHERE id = 9')
      await assert.rejects(waiting, { errno: 1205 })
      assert.equal((await opened.run(branch, 'SELECT id FROM item')).length, 2, 'it is alive')
      const refusal = branch.seal(sealed)
      assert.deepEqual([refusal?.code, refusal?.retryable], ['STATEMENT_FAILED', true])
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      holder.close()
      assert.deepEqual(await ids(other), [9])
    },
  ),
  contract(
    'B: 1062 dup key in XA: is the application’s business, and the branch is prepared',
    async ({ opened, other }) => {
      await other.run('INSERT INTO item VALUES (9, 9)')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      await assert.rejects(opened.run(branch, 'INSERT INTO item VALUES (9, 1)'), { errno: 1062 })
      assert.equal(branch.seal(sealed), undefined)
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1, 9])
    },
  ),
  contract(
    'B: IDLE: data statement: 1399, so the marker goes in before XA END',
    async ({ opened, other, harness }) => {
      const raw = await harness.session()
      for (const verb of ['START', 'END']) await raw.run(`XA ${verb} 'idle','x',1`)
      await assert.rejects(raw.run(INSERT), { errno: 1399 })
      await raw.run("XA ROLLBACK 'idle','x',1")
      raw.close()
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      assert.equal(evidenceOf(await branch.vote()).marker, true)
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      const rows = await other.run('SELECT state FROM unanimous_branch')
      assert.ok(rows.length > 0)
    },
    { markers: true },
  ),
  contract(
    'B: wait_timeout in ACTIVE: a lost connection; in PREPARED: the branch stays',
    async ({ opened, other }) => {
      await opened.leak('SET SESSION wait_timeout = 1')
      const active = branchOf(opened)
      await opened.run(active, INSERT)
      await eventually('the session is gone', async () => {
        return active.seal(sealed)?.code === 'CONNECTION_LOST'
      })
      assert.equal((await active.vote()).kind, 'refused')
      assert.deepEqual(await active.rollback(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [])
      await opened.leak('SET SESSION wait_timeout = 1')
      const prepared = branchOf(opened)
      await opened.run(prepared, INSERT)
      evidenceOf(await prepared.vote())
      await pause(1_500)
      assert.equal((await prepared.commit()).kind, 'unknown')
      assert.deepEqual(await opened.participant.settle(xidOf(prepared), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1])
    },
  ),
]

const prepared: readonly ContractCase[] = [
  contract(
    'T3: xa_detach_on_prepare=OFF: MySQL answers 1397 as MariaDB does, and the session is ended',
    async ({ opened, other }) => {
      const attach = 'SET SESSION xa_detach_on_prepare = OFF'
      if (await isMariadb(other)) await assert.rejects(other.run(attach), { errno: 1193 })
      else await opened.leak(attach)
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      const { gtrid, bqual } = xidOf(branch)
      await assert.rejects(other.run(`XA COMMIT '${gtrid}','${bqual}',1`), { errno: 1397 })
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1])
      assert.equal((await branch.commit()).kind, 'unknown')
    },
  ),
  contract(
    'B: PREPARED: same connection: MariaDB refuses other work (1399), MySQL does not; ours is kept',
    async ({ opened, other, harness }) => {
      const raw = await harness.session()
      await raw.run("XA START 'raw','x',1")
      await raw.run('INSERT INTO item VALUES (5, 5)')
      for (const verb of ['END', 'PREPARE']) await raw.run(`XA ${verb} 'raw','x',1`)
      const work = 'SELECT id FROM item'
      if (await isMariadb(other)) await assert.rejects(raw.run(work), { errno: 1399 })
      else await raw.run(work)
      await raw.run("XA ROLLBACK 'raw','x',1")
      raw.close()
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 0])
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 1])
    },
  ),
  contract(
    'B: XA PREPARE read-only: a branch that was declared so is committed in one phase, unprepared',
    async ({ opened }) => {
      const branch = branchOf(opened, { readOnly: true })
      await opened.run(branch, 'SELECT id FROM item')
      opened.proxy.cut('XA PREPARE', 'before')
      assert.equal(await branch.probe(), 'read-only')
      assert.deepEqual(await branch.commitOnePhase(false), { kind: 'committed', marker: false })
    },
  ),
  contract(
    'B: 2 connections finish the same xid: one hears that it is gone, and neither is wrong',
    async ({ opened, other, harness }) => {
      const second = await harness.open()
      try {
        for (let id = 0; id < 10; id += 1) {
          const branch = branchOf(opened)
          await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
          evidenceOf(await branch.vote())
          branch.abandon()
          const xid = xidOf(branch)
          const kinds = await Promise.all(
            [opened, second].map(async (one) => (await one.participant.settle(xid, 'commit')).kind),
          )
          assert.deepEqual(kinds.sort(), ['absent', 'answered'])
        }
      } finally {
        await second.close()
      }
      assert.equal((await ids(other)).length, 10)
    },
  ),
]

const drivers: readonly ContractCase[] = [
  contract(
    'E: mysql2 connection.destroy(): only half-closes; what runs is rejected at once all the same',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const running = opened.run(branch, 'SELECT SLEEP(20)')
      running.catch(() => undefined)
      await pause(50)
      branch.seal(sealed)
      // The statement cannot be cancelled: the server is out of reach.
      opened.proxy.stall(true)
      const before = Date.now()
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      await assert.rejects(running)
      assert.ok(Date.now() - before < 3_500, 'nobody waits for the statement')
      assert.equal(opened.pool().total, 0)
      opened.proxy.stall(false)
      opened.proxy.dropAll()
      await eventually('the row is gone', async () => (await ids(other)).length === 0)
    },
  ),
]

export const rows: readonly ContractCase[] = [
  ...identifiers,
  ...beginnings,
  ...failures,
  ...prepared,
  ...drivers,
]
