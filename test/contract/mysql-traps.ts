/**
 * What MySQL, MariaDB and `mysql2` do that breaks atomicity, a case for each (database-facts.md §0,
 * B, E). Where the two servers differ, the case says what each was seen to do.
 */
import assert from 'node:assert/strict'
import type { MysqlHandle } from 'unanimous/mysql2'
import {
  branchOf,
  eventually,
  pause,
  type RawSession,
  sealed,
} from '../../adapters/contract/harness.ts'
import {
  both,
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  xidOf,
} from '../../adapters/contract/stage.ts'

export async function isMariadb(session: RawSession): Promise<boolean> {
  const [row] = await session.run('SELECT VERSION() AS version')
  return /mariadb/i.test(String(row?.['version']))
}

export const xa: readonly ContractCase[] = [
  contract('T1: the formatID of every branch is 1', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    const rows = await other.run('XA RECOVER')
    assert.deepEqual(
      rows.map((row) => row['formatID']),
      [1],
    )
    await branch.rollback()
  }),
  contract('T1: another formatID on a MySQL server is reported', async (stage) => {
    const { opened, other, harness } = stage
    const holder = await harness.session()
    await holder.run("XA START 'other','app',4660")
    await holder.run('INSERT INTO item VALUES (5, 5)')
    await holder.run("XA END 'other','app',4660")
    await holder.run("XA PREPARE 'other','app',4660")
    await opened.participant.contact()
    const [found] = await opened.participant.list()
    assert.equal(found?.id, "'other','app',4660")
    assert.equal(found?.xid, undefined)
    assert.deepEqual(opened.warnings, (await isMariadb(other)) ? [] : ['foreign-format-id'])
    await holder.run("XA ROLLBACK 'other','app',4660")
    holder.close()
  }),
  contract('T2: a prepared branch never goes back to the pool', async ({ opened }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 0])
    branch.abandon()
    assert.equal(opened.pool().total, 0)
    await eventually('it can be settled', async () => {
      return (await opened.participant.settle(xidOf(branch), 'abort')).kind === 'answered'
    })
  }),
  contract('T3: 1397 for a listed branch is not "finished"', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    const { gtrid, bqual } = xidOf(branch)
    const fromOutside = `XA COMMIT '${gtrid}','${bqual}',1`
    if (!(await isMariadb(other))) {
      await other.run(fromOutside)
      assert.deepEqual(await ids(other), [1], 'MySQL lets anybody finish it')
      assert.equal((await branch.commit()).kind, 'absent')
      return
    }
    await assert.rejects(other.run(fromOutside), { errno: 1397 })
    assert.ok(await listed(opened, branch))
    const settled = await opened.participant.settle(xidOf(branch), 'commit')
    assert.deepEqual(settled, { kind: 'answered' }, 'its session was ended')
    assert.deepEqual(await ids(other), [1])
    assert.equal((await branch.commit()).kind, 'unknown')
  }),
  contract('T7: a commit that MariaDB answers by 1402 is left to proof', async (stage) => {
    const { opened, other } = stage
    await other.run('INSERT INTO item VALUES (1, 1)')
    const branch = branchOf(opened)
    await opened.run(branch, 'UPDATE item SET v = v')
    const evidence = evidenceOf(await branch.vote())
    branch.abandon()
    await pause(100)
    const settled = await opened.participant.settle(xidOf(branch), 'commit')
    assert.equal(settled.kind, (await isMariadb(other)) ? 'absent' : 'answered')
    assert.deepEqual(await opened.participant.prove(xidOf(branch), evidence), {
      kind: 'none',
      life: 'same',
    })
  }),
  contract(
    'T7: with a marker there is no branch without changes',
    async ({ opened, other }) => {
      await other.run('INSERT INTO item VALUES (1, 1)')
      const branch = branchOf(opened)
      await opened.run(branch, 'UPDATE item SET v = v')
      evidenceOf(await branch.vote())
      branch.abandon()
      const settled = await opened.participant.settle(xidOf(branch), 'commit')
      assert.deepEqual(settled, { kind: 'answered' })
    },
    { markers: true },
  ),
  contract('T10: gtrid and bqual of ours under another formatID are not ours', async (stage) => {
    const { opened, other, harness } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const { gtrid, bqual } = xidOf(branch)
    await branch.rollback()
    const holder = await harness.session()
    const strange = `'${gtrid}','${bqual}',99`
    for (const verb of ['START', 'END', 'PREPARE']) await holder.run(`XA ${verb} ${strange}`)
    assert.deepEqual(
      (await opened.participant.list()).map((one) => [one.id, one.xid]),
      [[strange, undefined]],
    )
    await holder.run(`XA ROLLBACK ${strange}`)
    holder.close()
    assert.deepEqual(await ids(other), [])
  }),
  contract('B: a binary xid of somebody else is listed without loss', async (stage) => {
    const { opened, other, harness } = stage
    const holder = await harness.session()
    const { rollback } = await harness.foreign(holder, 'é')
    const [found] = await opened.participant.list()
    assert.equal(found?.id, "X'00ff27c3a9',X'c3',1")
    await holder.run(rollback)
    holder.close()
    assert.deepEqual(await ids(other), [])
  }),
]

export const statements: readonly ContractCase[] = [
  contract('B: a deadlock dooms the branch, and leaves a usable connection', async (stage) => {
    const { opened, other } = stage
    await other.run('INSERT INTO item VALUES (1, 1), (2, 2)')
    for (const asked of ['seal', 'vote'] as const) {
      const [first, second] = [branchOf(opened), branchOf(opened)]
      await opened.run(first, 'UPDATE item SET v = 3 WHERE id = 1')
      await opened.run(second, 'UPDATE item SET v = 4 WHERE id = 2')
      const waiting = opened.run(first, 'UPDATE item SET v = 3 WHERE id = 2')
      await pause(50)
      const ends = await Promise.allSettled([
        waiting,
        opened.run(second, 'UPDATE item SET v = 4 WHERE id = 1'),
      ])
      const [victim, survivor] = ends[0].status === 'rejected' ? [first, second] : [second, first]
      if (asked === 'seal') {
        const refusal = victim.seal(sealed)
        assert.deepEqual([refusal?.code, refusal?.retryable], ['STATEMENT_FAILED', true])
      } else {
        // As after a deadlock that a stored procedure swallowed: only XA END still knows.
        const vote = await victim.vote()
        assert.equal(vote.kind, 'refused')
        const refusal = vote.kind === 'refused' ? vote.refusal : undefined
        assert.deepEqual([refusal?.code, refusal?.retryable], ['STATEMENT_FAILED', true])
      }
      assert.deepEqual(await victim.rollback(), { kind: 'answered' })
      assert.deepEqual(await survivor.rollback(), { kind: 'answered' })
      assert.deepEqual([opened.pool().total, opened.pool().idle], [2, 2])
    }
  }),
  contract(
    'B: a deadlock that a stored procedure swallowed dooms the branch all the same',
    async ({ opened, other, harness }) => {
      await other.run('INSERT INTO item VALUES (1, 1), (2, 2)')
      await other.run('DROP PROCEDURE IF EXISTS swallows')
      await other.run(`CREATE PROCEDURE swallows() BEGIN
        DECLARE CONTINUE HANDLER FOR 1213 SET @swallowed = 1;
        UPDATE item SET v = 3 WHERE id = 2; END`)
      const branch = branchOf(opened)
      await opened.run(branch, 'UPDATE item SET v = 3 WHERE id = 1')
      // It has written more, so that the branch is the victim.
      const rival = await harness.session()
      await rival.run('BEGIN')
      const more = Array.from({ length: 50 }, (_, at) => `(${at + 10}, 1)`)
      await rival.run(`INSERT INTO item VALUES ${more.join()}`)
      await rival.run('UPDATE item SET v = 4 WHERE id = 2')
      const called = opened.run(branch, 'CALL swallows()').catch(() => undefined)
      await pause(100)
      await rival.run('UPDATE item SET v = 4 WHERE id = 1')
      await called
      await rival.run('ROLLBACK')
      rival.close()
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'STATEMENT_FAILED')
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1, 2])
    },
  ),
  contract(
    'B: a statement that was killed dooms the branch, and would have prepared',
    async (stage) => {
      const { opened, other } = stage
      const branch = branchOf(opened)
      const [row] = await opened.run(branch, 'SELECT CONNECTION_ID() AS id')
      await opened.run(branch, INSERT)
      const slow = opened.run(branch, 'SELECT SLEEP(5), id FROM item FOR UPDATE')
      const outcome = slow.then(
        () => undefined,
        (cause: unknown) => cause,
      )
      await pause(100)
      await other.run(`KILL QUERY ${Number(row?.['id'])}`)
      const cause = await outcome
      if (cause !== undefined) {
        assert.equal((cause as { errno?: number }).errno, 1317)
        assert.equal(branch.seal(sealed)?.code, 'STATEMENT_FAILED')
      }
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract('B: what would commit implicitly is refused, and the branch goes on', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    for (const text of [
      'CREATE TABLE sneaky (id int)',
      'TRUNCATE item',
      'LOCK TABLES item WRITE',
    ]) {
      await assert.rejects(opened.run(branch, text), notInBranch, text)
    }
    assert.equal(branch.seal(sealed), undefined)
    evidenceOf(await branch.vote())
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [1])
  }),
  contract(
    'B: a COMMIT behind another statement is refused by the server, and the branch goes on',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await assert.rejects(opened.run(branch, `${INSERT}; COMMIT`), notInBranch)
      assert.deepEqual(await ids(other), [])
      assert.equal(branch.seal(sealed), undefined)
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1])
    },
    { merges: true },
  ),
  contract(
    'B: XA END / XA PREPARE without START: a branch that the application ended is a refusal',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, 'SELECT 1')
      const { gtrid, bqual } = xidOf(branch)
      const xid = `'${gtrid}','${bqual}',1`
      await opened.run(branch, `${INSERT}; XA END ${xid}; XA COMMIT ${xid} ONE PHASE`)
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'ENDED_BY_APPLICATION')
      await branch.rollback()
      assert.deepEqual(await ids(other), [1])
    },
    { merges: true },
  ),
  contract(
    'B: multipleStatements:true: votes, commits in one phase and refuses in merged packets',
    async ({ opened, other }) => {
      const first = branchOf(opened)
      await opened.run(first, 'INSERT INTO item VALUES (1, 1)')
      assert.equal(evidenceOf(await first.vote()).marker, true)
      assert.deepEqual(await first.commit(), { kind: 'answered' })
      const second = branchOf(opened, { isolation: 'serializable' })
      await opened.run(second, 'INSERT INTO item VALUES (2, 1)')
      assert.deepEqual(await second.commitOnePhase(true), { kind: 'committed', marker: true })
      assert.deepEqual(await ids(other), [1, 2])
      const third = branchOf(opened)
      await opened.run(third, 'INSERT INTO item VALUES (3, 1)')
      await other.run('DROP TABLE unanimous_branch').catch(() => undefined)
      const vote = await third.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
      await third.rollback()
      assert.deepEqual(await ids(other), [1, 2])
    },
    { markers: true, merges: true },
  ),
  contract('B: a temporary table is refused by MySQL and prepared by MariaDB', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    const made = opened.run(branch, 'CREATE TEMPORARY TABLE scratch (id int)')
    if (await isMariadb(other)) await made
    else await assert.rejects(made, notInBranch)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
  }),
  ...both('B: begins in a session with autocommit off', async ({ opened, other }) => {
    await opened.leak('SET SESSION autocommit = 0')
    await opened.leak('SELECT id FROM item')
    for (const id of [1, 2]) {
      const branch = branchOf(opened, { isolation: 'read committed' })
      await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
    }
    assert.equal(opened.pool().total, 1)
    assert.deepEqual(await ids(other), [1, 2])
  }),
  contract(
    'B: multipleStatements:true: what was left open is rolled back, and the first statement goes again',
    async ({ opened, other }) => {
      await opened.leak('BEGIN')
      await opened.leak('INSERT INTO item VALUES (9, 9)')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.equal(opened.pool().total, 1)
      assert.deepEqual(await ids(other), [1])
    },
    { merges: true },
  ),
  contract('E: a connection that the pool hands out inside a branch is refused', async (stage) => {
    const { opened } = stage
    await opened.leak("XA START 'leaked','x',1")
    const branch = branchOf(opened)
    await assert.rejects(opened.run(branch, INSERT), { code: 'ENLIST_FAILED' })
    await branch.rollback()
    const next = branchOf(opened)
    await opened.run(next, INSERT)
    await next.rollback()
  }),
  contract('E: after a time-out of the driver the connection is not used again', async (stage) => {
    const { opened, other } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const handle = branch.handle as MysqlHandle
    await assert.rejects(handle.query({ sql: 'SELECT SLEEP(1)', timeout: 50 }), {
      code: 'PROTOCOL_SEQUENCE_TIMEOUT',
    })
    assert.equal(branch.seal(sealed)?.code, 'CONNECTION_LOST')
    assert.equal((await branch.vote()).kind, 'refused')
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    await eventually('the row is gone', async () => (await ids(other)).length === 0)
  }),
  contract(
    'E: the handle executes prepared statements, and formats as the pool does',
    async (stage) => {
      const branch = branchOf(stage.opened)
      const handle = branch.handle as MysqlHandle
      await handle.execute('INSERT INTO item VALUES (?, ?)', [1, 1])
      const [rows] = await handle.query('SELECT ? AS one', [1])
      assert.deepEqual(rows, [{ one: 1 }])
      const [named] = await handle.query({ sql: 'SELECT 2 AS two', rowsAsArray: true })
      assert.deepEqual(named, [[2]])
      assert.equal(handle.escape("it's"), "'it\\'s'")
      assert.equal(handle.escapeId('a`b'), '`a``b`')
      assert.equal(handle.format('? ??', [1, 'a']), '1 `a`')
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
    },
  ),
  contract(
    'E: mysql2 tells a query without a callback nothing of a lost connection; the list hears of it',
    async ({ opened }) => {
      await opened.participant.list()
      opened.proxy.stall(true)
      const listing = opened.participant.list()
      const refused = assert.rejects(listing, { code: 'PARTICIPANT_UNREACHABLE' })
      await pause(100)
      const lostAt = performance.now()
      opened.proxy.dropAll()
      await refused
      opened.proxy.stall(false)
      assert.ok(performance.now() - lostAt < 10_000, 'it waited for its limit')
    },
    { answerMs: 30_000 },
  ),
]

/** As the application hears it, with the server's answer behind it. */
function notInBranch(error: Readonly<Record<string, unknown>>): boolean {
  const { errno } = error['cause'] as { errno?: number }
  return error['code'] === 'NOT_PREPARABLE' && (errno === 1399 || errno === 4091)
}
