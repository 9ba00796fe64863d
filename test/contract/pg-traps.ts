/**
 * What PostgreSQL and `pg` do that breaks atomicity, a case for each (database-facts.md §0, A, E).
 */
import assert from 'node:assert/strict'
import Cursor from 'pg-cursor'
import type { Branch } from 'unanimous/adapter'
import type { PgHandle } from 'unanimous/pg'
import { branchOf, eventually, type Opened, sealed } from '../../adapters/contract/harness.ts'
import {
  both,
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  xidOf,
} from '../../adapters/contract/stage.ts'

async function refusedVote(opened: Opened, statements: readonly string[]) {
  const branch = branchOf(opened)
  for (const text of statements) await opened.run(branch, text)
  const vote = await branch.vote()
  assert.equal(vote.kind, 'refused', `${statements.join('; ')} voted ${vote.kind}`)
  await branch.rollback()
  return vote.kind === 'refused' ? vote.refusal : undefined
}

const ENDED: readonly (readonly [string, readonly number[]])[] = [
  ['INSERT INTO item VALUES (1, 1); COMMIT', [1]],
  ['INSERT INTO item VALUES (1, 1); COMMIT; BEGIN', [1]],
  ['INSERT INTO item VALUES (1, 1); COMMIT; BEGIN; INSERT INTO item VALUES (2, 2)', [1]],
  ['INSERT INTO item VALUES (1, 1); END AND CHAIN; INSERT INTO item VALUES (2, 2)', [1]],
  ['INSERT INTO item VALUES (1, 1); ROLLBACK', []],
  ['INSERT INTO item VALUES (1, 1); ROLLBACK; BEGIN; INSERT INTO item VALUES (2, 2)', []],
  ["INSERT INTO item VALUES (1, 1); PREPARE TRANSACTION 'by-application'", []],
  // The mark outlives the block: only the SAVEPOINT still tells.
  [
    "SELECT set_config('unanimous.branch', current_setting('unanimous.branch'), false); INSERT INTO item VALUES (1, 1); COMMIT",
    [1],
  ],
]

export const votes: readonly ContractCase[] = [
  ...both('T8: the vote catches a branch that the application ended', async (stage) => {
    for (const [text, kept] of ENDED) {
      const refusal = await refusedVote(stage.opened, [text])
      assert.equal(refusal?.code, 'ENDED_BY_APPLICATION', text)
      await stage.other.run("ROLLBACK PREPARED 'by-application'").catch(() => undefined)
      await stage.other.run('DELETE FROM item')
      const branch = branchOf(stage.opened)
      await stage.opened.run(branch, text)
      const answer = await branch.commitOnePhase(true)
      assert.equal(answer.kind === 'refused' && answer.refusal.code, 'ENDED_BY_APPLICATION', text)
      await stage.other.run("ROLLBACK PREPARED 'by-application'").catch(() => undefined)
      assert.deepEqual(await ids(stage.other), kept, text)
      await stage.other.run('DELETE FROM item')
    }
  }),
  contract('an idle session that has voted is seen, whichever way its vote went', async (stage) => {
    const { opened } = stage
    const ways: readonly ((branch: Branch) => Promise<unknown>)[] = [
      (branch) => opened.run(branch, INSERT),
      (branch) => branch.give([{ text: INSERT }], 'with the vote'),
    ]
    for (const work of ways) {
      const branch = branchOf(opened)
      await work(branch)
      evidenceOf(await branch.vote())
      const { gtrid } = xidOf(branch)
      const { naming } = await opened.participant.sessions(gtrid)
      assert.equal(naming.length, 1, 'what it says next may be the COMMIT')
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual((await opened.participant.sessions(gtrid)).naming, [], 'it has said it')
    }
  }),
  contract('T8: a COMMIT that was seen is a refusal at once, and at rollback', async (stage) => {
    const branch = branchOf(stage.opened)
    await stage.opened.run(branch, `${INSERT}; COMMIT; BEGIN`)
    assert.equal(branch.seal(sealed)?.code, 'ENDED_BY_APPLICATION')
    assert.equal((await branch.rollback()).kind, 'absent')
    assert.deepEqual(await ids(stage.other), [1])
  }),
  contract(
    'T8: a COMMIT in a text that failed later is not taken for a rollback',
    async (stage) => {
      for (const text of [
        `${INSERT}; COMMIT; BEGIN; SELECT 1/0`,
        `${INSERT}; COMMIT; SELECT 1/0`,
      ]) {
        const branch = branchOf(stage.opened)
        await assert.rejects(stage.opened.run(branch, text), { code: '22012' })
        assert.equal(branch.seal(sealed)?.code, 'ENDED_BY_APPLICATION', text)
        assert.equal((await branch.rollback()).kind, 'absent', text)
        assert.deepEqual(await ids(stage.other), [1])
        await stage.other.run('DELETE FROM item')
      }
      const harmless = branchOf(stage.opened)
      const block = 'DO $$ BEGIN PERFORM 1/0; END $$'
      await assert.rejects(stage.opened.run(harmless, block), { code: '22012' })
      assert.equal(harmless.seal(sealed)?.code, 'STATEMENT_FAILED')
      assert.deepEqual(await harmless.rollback(), { kind: 'answered' })
    },
  ),
  contract('T8: PREPARE of an aborted block answers ROLLBACK and no error', async (stage) => {
    // What the packet guards against, said to the server without it.
    await stage.other.run('BEGIN')
    await assert.rejects(stage.other.run('SELECT 1/0'))
    await stage.other.run("PREPARE TRANSACTION 'nothing'")
    assert.deepEqual(
      await stage.other.run("SELECT gid FROM pg_prepared_xacts WHERE gid = 'nothing'"),
      [],
    )
    const branch = branchOf(stage.opened)
    await assert.rejects(stage.opened.run(branch, 'SELECT 1/0'))
    const vote = await branch.vote()
    assert.equal(vote.kind, 'refused')
    if (vote.kind !== 'refused') return
    assert.equal(vote.refusal.code, 'STATEMENT_FAILED')
    assert.match(vote.refusal.reason, /division by zero/)
    await branch.rollback()
  }),
  contract('T8: COMMIT of an aborted block answers ROLLBACK and is a refusal', async (stage) => {
    for (const wrote of [true, false]) {
      const branch = branchOf(stage.opened)
      await stage.opened.run(branch, INSERT)
      await assert.rejects(stage.opened.run(branch, 'SELECT 1/0'))
      const answer = await branch.commitOnePhase(wrote)
      assert.equal(answer.kind, 'refused', `wrote: ${wrote}`)
      assert.deepEqual(await ids(stage.other), [])
    }
  }),
  contract('T9: the error itself is believed, not the status right after it', async (stage) => {
    for (let times = 0; times < 100; times += 1) {
      const branch = branchOf(stage.opened)
      await assert.rejects(stage.opened.run(branch, 'SELECT 1/0'))
      assert.equal(branch.seal(sealed)?.code, 'STATEMENT_FAILED')
      await branch.rollback()
    }
  }),
  contract('A: what cannot be prepared is NOT_PREPARABLE, with the reason', async (stage) => {
    for (const statements of [
      ['CREATE TEMP TABLE scratch (id int)'],
      ['LISTEN channel'],
      ["NOTIFY channel, 'x'"],
      ['DECLARE held CURSOR WITH HOLD FOR SELECT 1'],
      ['SELECT pg_export_snapshot()'],
      ['SELECT pg_advisory_lock(7)', 'SELECT pg_advisory_xact_lock(7)'],
    ]) {
      const refusal = await refusedVote(stage.opened, statements)
      assert.equal(refusal?.code, 'NOT_PREPARABLE', statements.join())
      assert.match(refusal?.reason ?? '', /cannot PREPARE/)
    }
  }),
  contract('A: DDL, settings, open cursors and savepoints are prepared', async (stage) => {
    const branch = branchOf(stage.opened)
    for (const text of [
      'CREATE TABLE made (id serial)',
      'TRUNCATE item',
      'SET LOCAL work_mem = 65536',
      "SET search_path = 'pg_catalog'",
      'RESET search_path',
      'DECLARE plain CURSOR FOR SELECT 1',
      'LOCK TABLE item',
      'SAVEPOINT still_open',
      'SELECT pg_advisory_xact_lock(8)',
      'INSERT INTO item VALUES (1, 1)',
    ]) {
      await stage.opened.run(branch, text)
    }
    assert.equal(branch.seal(sealed), undefined)
    evidenceOf(await branch.vote())
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
    await stage.other.run('DROP TABLE made')
  }),
  contract('A: a deferred constraint refuses at the vote, and in one phase', async (stage) => {
    const { opened, other } = stage
    await other.run('DROP TABLE IF EXISTS part')
    await other.run('CREATE TABLE part (item int REFERENCES item DEFERRABLE INITIALLY DEFERRED)')
    const refusal = await refusedVote(opened, ['INSERT INTO part VALUES (42)'])
    assert.equal(refusal?.code, 'PREPARE_REFUSED')
    assert.equal(refusal?.retryable, false)
    const branch = branchOf(opened)
    await opened.run(branch, 'INSERT INTO part VALUES (42)')
    assert.equal((await branch.commitOnePhase(true)).kind, 'refused')
    await other.run('DROP TABLE part')
  }),
  contract('A: an error at PREPARE that is not listed is unknown', async (stage) => {
    const { opened, other } = stage
    await other.run(`CREATE OR REPLACE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE 'strange' USING ERRCODE = 'XX123'; END $$`)
    await other.run(`CREATE CONSTRAINT TRIGGER strange AFTER INSERT ON item
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION strange()`)
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    assert.equal((await branch.vote()).kind, 'unknown')
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.equal((await opened.participant.settle(xidOf(branch), 'abort')).kind, 'absent')
  }),
  contract(
    'A: a serialization failure at PREPARE is a refusal worth another try',
    async (stage) => {
      const { opened, other } = stage
      await other.run('INSERT INTO item VALUES (1, 1), (2, 1)')
      const skewed = [1, 2].map(() => branchOf(opened, { isolation: 'serializable' }))
      for (const branch of skewed) await opened.run(branch, 'SELECT sum(v) FROM item')
      const [first, second] = skewed as [Branch, Branch]
      await opened.run(first, 'UPDATE item SET v = 0 WHERE id = 1')
      await opened.run(second, 'UPDATE item SET v = 0 WHERE id = 2')
      evidenceOf(await first.vote())
      const vote = await second.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.retryable, true)
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
      await second.rollback()
      assert.deepEqual(await first.commit(), { kind: 'answered' })
    },
  ),
  contract('A: a gid that is taken is a refusal', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const { gtrid, bqual } = xidOf(branch)
    await other.run('BEGIN')
    await other.run(`PREPARE TRANSACTION '${gtrid}:${bqual}'`)
    const vote = await branch.vote()
    assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
    await branch.rollback()
    await other.run(`ROLLBACK PREPARED '${gtrid}:${bqual}'`)
  }),
  contract('A: read-only is what has no transaction id', async (stage) => {
    const { opened, other } = stage
    await other.run('INSERT INTO item VALUES (1, 1)')
    const probed = async (...texts: readonly string[]) => {
      const branch = branchOf(opened)
      for (const text of texts) await opened.run(branch, text)
      const answer = await branch.probe()
      await branch.rollback()
      return typeof answer === 'string' ? answer : answer.code
    }
    assert.equal(await probed('SELECT * FROM item'), 'read-only')
    assert.equal(await probed('UPDATE item SET v = 2 WHERE id = 5'), 'read-only')
    assert.equal(await probed('SELECT * FROM item FOR UPDATE'), 'wrote')
    assert.equal(await probed('UPDATE item SET v = 2'), 'wrote')
    assert.equal(await probed('DO $$ BEGIN INSERT INTO item VALUES (3, 3); END $$'), 'wrote')
    const hidden = 'DELETE FROM item; COMMIT; BEGIN; SELECT 1'
    const branch = branchOf(opened)
    await opened.run(branch, hidden)
    assert.equal(await branch.probe(), 'wrote', 'a DELETE was seen')
    await branch.rollback()
    assert.equal(await probed('SELECT 1; COMMIT; BEGIN; SELECT 1'), 'ENDED_BY_APPLICATION')
  }),
]

export const drivers: readonly ContractCase[] = [
  contract('E: an idle client that dies does not end the process', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    const [row] = await opened.run(branch, 'SELECT pg_backend_pid() AS id')
    await branch.rollback()
    assert.equal(opened.pool().idle, 1)
    await other.run(`SELECT pg_terminate_backend(${Number(row?.['id'])})`)
    await eventually('the pool has dropped it', async () => opened.pool().total === 0)
  }),
  contract(
    'E: a connection that the pool hands out inside a transaction is refused',
    async (stage) => {
      const { opened } = stage
      const branch = branchOf(opened)
      await opened.run(branch, 'SELECT 1')
      await branch.rollback()
      await opened.leak('BEGIN')
      const next = branchOf(opened)
      await assert.rejects(opened.run(next, INSERT), { code: 'ENLIST_FAILED' })
      await next.rollback()
      const third = branchOf(opened)
      await opened.run(third, INSERT)
      await third.rollback()
    },
  ),
  contract('E: after a time-out of the driver the connection is not used again', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const slow = { text: 'SELECT pg_sleep(1)', query_timeout: 50 }
    await assert.rejects((branch.handle as PgHandle).query(slow), /timeout/i)
    assert.equal(branch.seal(sealed)?.code, 'CONNECTION_LOST')
    assert.equal((await branch.vote()).kind, 'refused')
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [])
  }),
  contract('E: the handle takes callbacks, configs, values and cursors', async (stage) => {
    const branch = branchOf(stage.opened)
    const handle = branch.handle as PgHandle
    const rows = await new Promise<unknown>((resolve, reject) => {
      handle.query('SELECT $1::int AS one', [1], (cause, result) =>
        cause ? reject(cause) : resolve(result.rows),
      )
    })
    assert.deepEqual(rows, [{ one: 1 }])
    const failed = await new Promise<unknown>((resolve) => {
      handle.query('SAVEPOINT one', () => handle.query('SELECT 1/0', (cause) => resolve(cause)))
    })
    assert.match(String(failed), /division by zero/)
    await handle.query('ROLLBACK TO one')
    const named = {
      name: 'n',
      text: 'SELECT $1::int AS two',
      values: [2],
      rowMode: 'array' as const,
    }
    assert.deepEqual((await handle.query(named)).rows, [[2]])
    const cursor = handle.query(new Cursor('SELECT generate_series(1, 5) AS n'))
    assert.deepEqual(await cursor.read(2), [{ n: 1 }, { n: 2 }])
    await cursor.close()
    assert.deepEqual((await handle.query('SELECT 3 AS n')).rows, [{ n: 3 }])
    assert.equal(handle.escapeLiteral("it's"), "'it''s'")
    assert.equal(handle.escapeIdentifier('a"b'), '"a""b"')
    await branch.rollback()
  }),
  contract('A: a session that PostgreSQL ends while idle is a lost connection', async (stage) => {
    const branch = branchOf(stage.opened)
    await stage.opened.run(branch, "SET LOCAL idle_in_transaction_session_timeout = '100ms'")
    await stage.opened.run(branch, INSERT)
    await eventually('the session is gone', async () => {
      return branch.seal(sealed)?.code === 'CONNECTION_LOST'
    })
    assert.equal((await branch.vote()).kind, 'refused')
    await branch.rollback()
    assert.deepEqual(await ids(stage.other), [])
  }),
]
