/**
 * The contract of a branch's life: how it ends, and what it takes from the application.
 */
import assert from 'node:assert/strict'
import type { Branch } from '../../src/adapter.ts'
import { branchOf, pause, sealed } from './harness.ts'
import { both, type ContractCase, contract, evidenceOf, INSERT, ids, listed } from './stage.ts'

export const endings: readonly ContractCase[] = [
  ...both('commits in two phases', async ({ opened, other }) => {
    const branch = branchOf(opened)
    assert.equal(branch.enlisted, false)
    assert.equal(opened.pool().total, 0, 'nothing is taken before the first statement')
    await opened.run(branch, INSERT)
    assert.equal(branch.enlisted, true)
    assert.equal(branch.seal(sealed), undefined)
    assert.equal(await branch.probe(), 'wrote')
    const vote = await branch.vote()
    assert.equal(evidenceOf(vote).marker, (await opened.participant.contact()).markers)
    assert.ok(await listed(opened, branch))
    assert.deepEqual(await ids(other), [], 'invisible while prepared')
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [1])
  }),
  ...both('commits in one phase', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    assert.equal(branch.seal(sealed), undefined)
    assert.equal(await branch.probe(), 'wrote')
    const { markers } = await opened.participant.contact()
    assert.deepEqual(await branch.commitOnePhase(true), { kind: 'committed', marker: markers })
    assert.deepEqual(await ids(other), [1])
  }),
  contract(
    'commits a declared read-only branch, and the server refuses its writes',
    async ({ opened, other }) => {
      const branch = branchOf(opened, { readOnly: true })
      await opened.run(branch, 'SELECT id FROM item')
      assert.equal(branch.seal(sealed), undefined)
      assert.equal(await branch.probe(), 'read-only')
      assert.deepEqual(await branch.commitOnePhase(false), { kind: 'committed', marker: false })
      const writer = branchOf(opened, { readOnly: true })
      await assert.rejects(opened.run(writer, INSERT), /READ.ONLY/i)
      assert.deepEqual(await writer.rollback(), { kind: 'answered' })
      const next = branchOf(opened)
      await opened.run(next, INSERT)
      await next.rollback()
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract('runs each isolation level as asked', async ({ opened }) => {
    for (const isolation of ['read committed', 'repeatable read', 'serializable'] as const) {
      const branch = branchOf(opened, { isolation })
      await opened.run(branch, 'SELECT id FROM item')
      await branch.rollback()
    }
  }),
  ...both('rolls back from every state', async ({ opened, other }) => {
    const untouched = branchOf(opened)
    assert.deepEqual(await untouched.rollback(), { kind: 'answered' })
    const active = branchOf(opened)
    await opened.run(active, INSERT)
    assert.deepEqual(await active.rollback(), { kind: 'answered' })
    const prepared = branchOf(opened)
    await opened.run(prepared, INSERT)
    evidenceOf(await prepared.vote())
    assert.deepEqual(await prepared.rollback(), { kind: 'answered' })
    const again = branchOf(opened)
    await opened.run(again, INSERT)
    assert.deepEqual(await again.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [])
    assert.equal(opened.pool().total, 1, 'one connection served them all')
  }),
  contract(
    'takes no statement after it was sealed, not even a queued one',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      // Enlisted: what follows is sent at once, however long a connection takes on a busy machine.
      await opened.run(branch, 'SELECT 1')
      const first = opened.run(branch, harness.sleep(0.5))
      const queued = opened.run(branch, INSERT)
      await pause(50)
      assert.equal(branch.seal(sealed)?.code, 'WORK_STILL_RUNNING')
      await first
      await assert.rejects(queued, /sealed/)
      await assert.rejects(opened.run(branch, INSERT), /sealed/)
      await branch.rollback()
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract('touches its connection no more once it has ended', async ({ opened, other }) => {
    const ends: ((branch: Branch) => Promise<unknown>)[] = [
      (branch) => branch.rollback(),
      (branch) => branch.commitOnePhase(true),
      async (branch) => {
        evidenceOf(await branch.vote())
        await branch.commit()
      },
    ]
    for (const [at, end] of ends.entries()) {
      const ended = branchOf(opened)
      await opened.run(ended, `INSERT INTO item VALUES (${at}, 1)`)
      await end(ended)
      const next = branchOf(opened)
      await opened.run(next, `INSERT INTO item VALUES (${at + 10}, 1)`)
      assert.equal(opened.pool().total, 1, 'the next branch has the same connection')
      // Late calls, as a deadline that loses a race may make them.
      await ended.rollback()
      ended.abandon()
      assert.equal((await ended.commit()).kind, 'unknown', 'only a prepared branch is committed')
      await assert.rejects(opened.run(ended, 'DELETE FROM item'), /has ended/)
      evidenceOf(await next.vote())
      assert.deepEqual(await next.commit(), { kind: 'answered' })
    }
    assert.deepEqual(await ids(other), [1, 2, 10, 11, 12])
  }),
]
