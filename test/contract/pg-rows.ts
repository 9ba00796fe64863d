/**
 * Section A of database-facts.md, row by row, as far as a decision of ours rests on it and
 * pg-traps.ts does not show it already. The title begins with the row's words.
 */
import assert from 'node:assert/strict'
import {
  branchOf,
  eventually,
  type Opened,
  pause,
  requestOf,
  sealed,
} from '../../adapters/contract/harness.ts'
import {
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  type Stage,
  xidOf,
} from '../../adapters/contract/stage.ts'

/** 51 bytes. */
const LONGEST_GTRID = `una1-${'0'.repeat(16)}-${'z'.repeat(8)}.${'0'.repeat(8)}-${'z'.repeat(11)}`

async function committed(opened: Opened, text: string): Promise<void> {
  const branch = branchOf(opened)
  await opened.run(branch, text)
  evidenceOf(await branch.vote())
  assert.deepEqual(await branch.commit(), { kind: 'answered' })
}

/** A trigger that runs at the vote, inside the branch. */
async function atTheVote({ other }: Stage, body: string): Promise<void> {
  await other.run(`CREATE OR REPLACE FUNCTION at_the_vote() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN ${body}; RETURN NULL; END $$`)
  await other.run(`CREATE CONSTRAINT TRIGGER at_the_vote AFTER INSERT ON item
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_the_vote()`)
}

const identifiers: readonly ContractCase[] = [
  contract(
    'A: gid length: 199 bytes and no more; the longest of ours is prepared and listed',
    async ({ opened, other }) => {
      for (const gid of ['g'.repeat(200), 'é'.repeat(100)]) {
        await other.run('BEGIN')
        await assert.rejects(other.run(`PREPARE TRANSACTION '${gid}'`), { code: '22023' })
      }
      await other.run('BEGIN')
      await other.run(`PREPARE TRANSACTION '${'g'.repeat(199)}'`)
      await other.run(`ROLLBACK PREPARED '${'g'.repeat(199)}'`)
      const branch = opened.participant.branch(requestOf({ gtrid: LONGEST_GTRID }))
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      assert.ok(await listed(opened, branch))
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    },
    { name: 'n'.repeat(40) },
  ),
  contract('A: gid content: a gid is a literal, whatever it contains', async (stage) => {
    const { opened, other } = stage
    const { gtrid } = requestOf()
    for (const bqual of [
      "it's",
      String.raw`back\slash`,
      '"quoted" ✓',
      '$1',
      "'; DROP TABLE item; --",
    ]) {
      const gid = `${gtrid}:${bqual}`
      await other.run('BEGIN')
      await other.run(`PREPARE TRANSACTION '${gid.replaceAll("'", "''")}'`)
      const all = await opened.participant.list()
      assert.deepEqual(
        all.map((one) => [one.id, one.xid]),
        [[gid, { gtrid, bqual }]],
      )
      assert.deepEqual(await opened.participant.settle({ gtrid, bqual }, 'abort'), {
        kind: 'answered',
      })
    }
    await other.run('BEGIN')
    await other.run("PREPARE TRANSACTION ''")
    assert.equal((await opened.participant.list())[0]?.xid, undefined, 'the empty gid is not ours')
    await other.run("ROLLBACK PREPARED ''")
    assert.deepEqual(await ids(other), [])
  }),
  contract('A: pg_prepared_xacts: time and owner are listed', async ({ opened, other }) => {
    const before = Date.now()
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    const [found] = await opened.participant.list()
    const [row] = await other.run('SELECT current_user::text AS name')
    assert.equal(found?.owner, row?.['name'])
    const at = found?.preparedAtMs ?? 0
    assert.ok(Math.abs(at - before) < 10_000, `prepared at ${at}, asked at ${before}`)
    await branch.rollback()
  }),
]

const verbs: readonly ContractCase[] = [
  contract(
    'A: any failing PREPARE: the block is rolled back, and the connection serves on',
    async (stage) => {
      const { opened, other } = stage
      await atTheVote(stage, "RAISE 'no' USING ERRCODE = '23514'")
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
      assert.equal(await listed(opened, branch), false)
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 1])
      assert.deepEqual(await ids(other), [])
      await other.run('DROP TRIGGER at_the_vote ON item')
      await committed(opened, INSERT)
      assert.equal(opened.pool().total, 1, 'on the same connection')
    },
  ),
  contract(
    'A: after PREPARE, same connection: it could work on, and is kept for phase two',
    async ({ opened, other }) => {
      await other.run('BEGIN')
      await other.run(INSERT)
      await other.run("PREPARE TRANSACTION 'raw'")
      assert.deepEqual(await ids(other), [], 'the server would let it work on')
      await other.run("ROLLBACK PREPARED 'raw'")
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 0])
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 1])
    },
  ),
  contract(
    'A: COMMIT PREPARED in a block or a multi-statement string: 25001; ours travels alone',
    async ({ opened, other }) => {
      const refused = { code: '25001' }
      await assert.rejects(other.run("SELECT 1; COMMIT PREPARED 'x'"), refused)
      await other.run('BEGIN')
      await assert.rejects(other.run("ROLLBACK PREPARED 'x'"), refused)
      await other.run('ROLLBACK')
      await committed(opened, INSERT)
      const branch = branchOf(opened)
      await opened.run(branch, 'INSERT INTO item VALUES (2, 2)')
      evidenceOf(await branch.vote())
      branch.abandon()
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1, 2])
    },
  ),
  contract(
    'A: one round trip: what fails in the vote packet stops it, and nothing is prepared',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const { gtrid, bqual } = xidOf(branch)
      await other.run(`INSERT INTO unanimous_branch VALUES ('${gtrid}', '${bqual}', 'fenced')`)
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
      assert.equal(await listed(opened, branch), false)
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      await other.run('DELETE FROM unanimous_branch')
      assert.deepEqual(await ids(other), [])
    },
    { markers: true },
  ),
  contract(
    'A: pg_current_xact_id_if_assigned(): a plain COMMIT ends the read-only, with no slot taken',
    async ({ opened }) => {
      const branch = branchOf(opened)
      await opened.run(branch, 'SELECT * FROM item')
      assert.equal(await branch.probe(), 'read-only')
      opened.proxy.cut('PREPARE TRANSACTION', 'before')
      assert.deepEqual(await branch.commitOnePhase(false), { kind: 'committed', marker: false })
    },
  ),
]

const sessions: readonly ContractCase[] = [
  contract(
    'A: statement_timeout: does not bite inside PREPARE; a cancel does, and is a refusal',
    async (stage) => {
      const { opened, other } = stage
      await atTheVote(stage, 'PERFORM pg_sleep(NEW.v)')
      const slow = branchOf(opened)
      await opened.run(slow, "SET LOCAL statement_timeout = '100ms'")
      await opened.run(slow, 'INSERT INTO item VALUES (1, 1)')
      evidenceOf(await slow.vote())
      assert.deepEqual(await slow.rollback(), { kind: 'answered' })
      const cancelled = branchOf(opened)
      const [row] = await opened.run(cancelled, 'SELECT pg_backend_pid() AS id')
      await opened.run(cancelled, 'INSERT INTO item VALUES (1, 5)')
      const voting = cancelled.vote()
      await pause(100)
      await other.run(`SELECT pg_cancel_backend(${Number(row?.['id'])})`)
      const vote = await voting
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'PREPARE_REFUSED')
      assert.deepEqual(await cancelled.rollback(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract(
    'A: transaction_timeout: a lost connection before PREPARE, nothing after it (17 and newer)',
    async ({ opened, other }) => {
      const [row] = await other.run("SELECT current_setting('server_version_num')::int AS num")
      const branch = branchOf(opened)
      const set = opened.run(branch, "SET LOCAL transaction_timeout = '200ms'")
      if (Number(row?.['num']) < 170_000) {
        await assert.rejects(set, { code: '42704' })
        await branch.rollback()
        return
      }
      await set
      await opened.run(branch, INSERT)
      await eventually('the session is gone', async () => {
        return branch.seal(sealed)?.code === 'CONNECTION_LOST'
      })
      assert.equal((await branch.vote()).kind, 'refused')
      await branch.rollback()
      const prepared = branchOf(opened)
      await opened.run(prepared, "SET LOCAL transaction_timeout = '200ms'")
      await opened.run(prepared, INSERT)
      evidenceOf(await prepared.vote())
      await pause(400)
      assert.deepEqual(await prepared.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract(
    'A: idle_in_transaction_session_timeout: no effect after PREPARE',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, "SET LOCAL idle_in_transaction_session_timeout = '100ms'")
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      await pause(300)
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract(
    'E: release(true): a branch whose statement still runs is rolled back with its connection',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const running = opened.run(branch, 'SELECT pg_sleep(20)')
      running.catch(() => undefined)
      await pause(50)
      branch.seal(sealed)
      // The statement cannot be cancelled: the server is out of reach.
      opened.proxy.stall(true)
      let given: unknown
      opened.leak('SELECT 1').catch((cause: unknown) => {
        given = cause
      })
      const before = Date.now()
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      await assert.rejects(running)
      assert.ok(Date.now() - before < 3_500, 'nobody waits for the statement')
      assert.equal(given, undefined, 'who waits for a connection is not given this one')
      opened.proxy.stall(false)
      opened.proxy.dropAll()
      await eventually('the row is gone', async () => (await ids(other)).length === 0)
    },
    { poolSize: 1 },
  ),
]

export const rows: readonly ContractCase[] = [...identifiers, ...verbs, ...sessions]

/** Over a pool whose clients send without waiting (`pipeline: true`, pg 8.23). */
export const pipelined: readonly ContractCase[] = [
  contract(
    'A: new Client({pipeline:true}): votes, refusals and commits are what they are without it',
    async ({ opened, other }) => {
      await committed(opened, INSERT)
      const branch = branchOf(opened)
      await opened.run(branch, 'INSERT INTO item VALUES (2, 2)')
      await assert.rejects(opened.run(branch, 'SELECT 1/0'), { code: '22012' })
      const vote = await branch.vote()
      assert.equal(vote.kind === 'refused' && vote.refusal.code, 'STATEMENT_FAILED')
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      const third = branchOf(opened)
      await opened.run(third, 'INSERT INTO item VALUES (3, 3)')
      evidenceOf(await third.vote())
      third.abandon()
      assert.deepEqual(await opened.participant.settle(xidOf(third), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1, 3])
    },
  ),
]

/** Over a pool that parses every value, text too, into something else. */
export const oddlyParsed: readonly ContractCase[] = [
  contract(
    'what the pool makes of values is not what we read: a branch that wrote is never read-only',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, 'DO $$ BEGIN INSERT INTO item VALUES (1, 1); END $$')
      assert.equal(await branch.probe(), 'wrote')
      assert.match(evidenceOf(await branch.vote()).xid8 ?? '', /^\d+$/)
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      const reader = branchOf(opened)
      const [row] = await opened.run(reader, 'SELECT id FROM item')
      assert.deepEqual(row, { id: { value: '1' } }, 'the application has its own way')
      assert.equal(await reader.probe(), 'read-only')
      await reader.rollback()
      assert.deepEqual(await ids(other), [1])
    },
  ),
]

/** Over a pool whose sessions do not wait for the disk. */
export const unflushed: readonly ContractCase[] = [
  contract(
    'A: synchronous_commit=off: unwise and said once, and branches are prepared all the same',
    async ({ opened }) => {
      await committed(opened, INSERT)
      await committed(opened, 'INSERT INTO item VALUES (2, 2)')
      // A branch does not ask again what was found fit; recovery and the command line do.
      await opened.participant.contact()
      assert.deepEqual(
        opened.warnings.filter((code) => code === 'synchronous-commit-off'),
        ['synchronous-commit-off'],
      )
    },
  ),
]
