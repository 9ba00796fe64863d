/**
 * The contract of deadlines: what still runs when a branch is rolled back ends on the server at once,
 * and no wait is without an end.
 */
import assert from 'node:assert/strict'
import { type Branch, errorOf, systemClock } from '../../src/adapter.ts'
import { branchOf, type OpenOptions, pause, sealed } from './harness.ts'
import { besideLock, type ContractCase, contract, INSERT, ids, listed, xidOf } from './stage.ts'

/** A client that died is noticed after more than a second, a statement that waits after many. */
const AT_ONCE_MS = 900

/** A statement that a roll-back ends: what it answers is of no use to anybody. */
async function rolledBackUnder(
  branch: Branch,
  running: Promise<unknown>,
): Promise<'resolved' | Error> {
  const ended = running.then(() => 'resolved' as const, errorOf)
  await pause(100)
  assert.equal(branch.seal(sealed)?.code, 'WORK_STILL_RUNNING')
  const startedAt = systemClock.monotonic()
  assert.deepEqual(await branch.rollback(), { kind: 'answered' })
  const tookMs = systemClock.monotonic() - startedAt
  assert.ok(tookMs < AT_ONCE_MS, `rolled back after ${tookMs} ms`)
  return ended
}

const ONE: OpenOptions = { poolSize: 1 }

export const deadlines: readonly ContractCase[] = [
  contract(
    'T4: cancels a running statement, keeps its connection, and hits nobody else on it',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      const [mine] = await opened.run(branch, harness.sessionId)
      await opened.run(branch, INSERT)
      const heard = await rolledBackUnder(branch, opened.run(branch, harness.sleep(30)))
      // MySQL and MariaDB let a SLEEP that was killed succeed.
      if (heard !== 'resolved') assert.match(heard.message, /sealed/)
      await other.run(INSERT)
      for (let times = 0; times < 5; times += 1) {
        const next = branchOf(opened)
        const [row] = await opened.run(next, harness.sessionId)
        assert.equal(row?.['id'], mine?.['id'], 'the connection went back to its pool')
        await opened.run(next, harness.sleep(0.05))
        await next.rollback()
      }
    },
    ONE,
  ),
  contract(
    'T4: cancels a statement that waits for a lock, and its own locks go at once',
    (stage) =>
      besideLock(stage, async () => {
        const { opened, other } = stage
        const branch = branchOf(opened)
        await opened.run(branch, INSERT)
        const waiting = opened.run(branch, 'UPDATE item SET v = 7 WHERE id = 5')
        const heard = await rolledBackUnder(branch, waiting)
        assert.ok(heard instanceof Error)
        assert.match(heard.message, /sealed/)
        await other.run(INSERT)
        assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 1])
      }),
    ONE,
  ),
  contract(
    'T4: a PREPARE that is queued behind a lock is fenced, and never appears',
    async ({ opened, other, harness }) => {
      const holder = await harness.session()
      try {
        const branch = branchOf(opened)
        await opened.run(branch, INSERT)
        await harness.lockMarkers(holder)
        const voting = branch.vote()
        await pause(200)
        const startedAt = systemClock.monotonic()
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        assert.equal((await voting).kind, 'unknown')
        await other.run('INSERT INTO item VALUES (1, 9)')
        const tookMs = systemClock.monotonic() - startedAt
        assert.ok(tookMs < AT_ONCE_MS, `its locks were there for ${tookMs} ms`)
        holder.close()
        await pause(1_500)
        assert.equal(await listed(opened, branch), false)
        assert.equal((await opened.participant.settle(xidOf(branch), 'abort')).kind, 'absent')
        assert.deepEqual(await ids(other), [1])
      } finally {
        holder.close()
      }
    },
    { markers: true, merges: true },
  ),
  contract(
    'keeps nobody for ever on a connection that is open at one end only',
    async ({ opened, other }) => {
      const [first, second, idle] = [branchOf(opened), branchOf(opened), branchOf(opened)]
      for (const [at, branch] of [first, second, idle].entries()) {
        await opened.run(branch, `INSERT INTO item VALUES (${at}, 1)`)
      }
      await idle.rollback()
      // What has just answered is open at both ends; what has been silent for so long may not be.
      await pause(500)
      const late = branchOf(opened)
      opened.proxy.stall(true)
      const [vote, answer] = await Promise.all([
        first.vote(),
        second.commitOnePhase(true),
        assert.rejects(opened.run(late, INSERT), { outcome: 'rolled-back' }),
      ])
      // A vote that is more than one packet may know that its last one never went.
      assert.notEqual(vote.kind, 'prepared')
      assert.notEqual(answer.kind, 'committed')
      const startedAt = systemClock.monotonic()
      const settled = await first.rollback()
      assert.equal(settled.kind, vote.kind === 'unknown' ? 'unknown' : 'answered')
      await late.rollback()
      const tookMs = systemClock.monotonic() - startedAt
      assert.ok(tookMs < 3_000, `gave up after ${tookMs} ms`)
      opened.proxy.stall(false)
      opened.proxy.dropAll()
      await pause(100)
      assert.deepEqual(await ids(other), [])
    },
    { answerMs: 400 },
  ),
  ...[false, true].map((merges) =>
    contract(
      `ends a wait for a lock in time, and leaves the session as it was${merges ? ', in merged packets' : ''}`,
      async (stage) => {
        const { opened, other, harness } = stage
        const before = await opened.leak(harness.lockWaits)
        await besideLock(stage, async () => {
          const startedAt = systemClock.monotonic()
          const branch = branchOf(opened)
          await opened.run(branch, INSERT)
          const cause: unknown = await opened
            .run(branch, 'UPDATE item SET v = 7 WHERE id = 5')
            .then(() => assert.fail('it waited for nothing'))
            .catch((error: unknown) => error)
          const tookMs = systemClock.monotonic() - startedAt
          assert.ok(tookMs > 650 && tookMs < 4_000, `waited ${tookMs} ms`)
          assert.equal(opened.participant.isTransient(cause), true)
          const refusal = branch.seal(sealed)
          assert.deepEqual([refusal?.code, refusal?.retryable], ['STATEMENT_FAILED', true])
          assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        })
        assert.deepEqual(await opened.leak(harness.lockWaits), before, 'after a roll-back')
        for (const end of ['vote', 'one phase'] as const) {
          const next = branchOf(opened)
          await opened.run(next, `INSERT INTO item VALUES (${end === 'vote' ? 2 : 3}, 1)`)
          assert.notDeepEqual(await opened.run(next, harness.lockWaits), before)
          if (end === 'vote') await next.vote().then(() => next.commit())
          else await next.commitOnePhase(true)
          assert.deepEqual(await opened.leak(harness.lockWaits), before, `after a ${end}`)
        }
        assert.deepEqual(await ids(other), [2, 3, 5])
        assert.equal(opened.pool().total, 1, 'one connection served them all')
      },
      { ...ONE, merges, lockTimeoutMs: 1_000 },
    ),
  ),
  contract(
    'leaves the lock waits of the session alone when told to',
    async ({ opened, harness }) => {
      const before = await opened.leak(harness.lockWaits)
      const branch = branchOf(opened)
      assert.deepEqual(await opened.run(branch, harness.lockWaits), before)
      await branch.rollback()
    },
    { ...ONE, lockTimeoutMs: 0 },
  ),
]
