/**
 * The contract of refusals: what a branch does not take, and how it says so.
 */
import assert from 'node:assert/strict'
import { branchOf, pause, sealed } from './harness.ts'
import { type ContractCase, contract, evidenceOf, INSERT, ids } from './stage.ts'

export const refusals: readonly ContractCase[] = [
  contract('refuses transaction control before anything is sent', async ({ opened, harness }) => {
    for (const text of harness.control) {
      const branch = branchOf(opened)
      await assert.rejects(opened.run(branch, text), { code: 'TRANSACTION_CONTROL' }, text)
      assert.equal(branch.enlisted, false, text)
      assert.equal(branch.seal(sealed)?.code, 'STATEMENT_FAILED', text)
    }
    assert.equal(opened.pool().total, 0)
  }),
  contract('lets savepoints pass', async ({ opened, other, harness }) => {
    const branch = branchOf(opened)
    for (const text of harness.allowed) await opened.run(branch, text)
    assert.equal(branch.seal(sealed), undefined)
    evidenceOf(await branch.vote())
    await branch.commit()
    assert.deepEqual(await ids(other), [1])
  }),
  contract(
    'finds a swallowed error that leaves nothing to commit',
    async ({ opened, other, harness }) => {
      const holder = await harness.session()
      try {
        for (const text of harness.dooming.elsewhere) await holder.run(text)
        const branch = branchOf(opened)
        await opened.run(branch, 'INSERT INTO item VALUES (7, 7)')
        for (const text of harness.dooming.inBranch) await opened.run(branch, text)
        await assert.rejects(opened.run(branch, harness.dooming.statement))
        const refusal = branch.seal(sealed)
        assert.equal(refusal?.code, 'STATEMENT_FAILED')
        assert.ok(refusal?.cause instanceof Error)
        assert.equal(opened.participant.isTransient(refusal?.cause), refusal?.retryable)
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      } finally {
        holder.close()
      }
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract(
    'goes on after a duplicate key that the application handled',
    async ({ opened, other }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      await opened.run(branch, 'SAVEPOINT before_it')
      await assert.rejects(opened.run(branch, INSERT), /duplicate/i)
      await opened.run(branch, 'ROLLBACK TO SAVEPOINT before_it')
      assert.equal(branch.seal(sealed), undefined)
      evidenceOf(await branch.vote())
      await branch.commit()
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract(
    'waits for a connection no longer than told, and gives back one that comes late',
    async ({ opened, other }) => {
      const first = branchOf(opened)
      await opened.run(first, INSERT)
      const second = branchOf(opened, { enlist: () => 100 })
      await assert.rejects(opened.run(second, 'SELECT id FROM item'), {
        code: 'ACQUIRE_TIMEOUT',
        retryable: true,
        outcome: 'rolled-back',
      })
      assert.equal(second.seal(sealed)?.retryable, true)
      assert.deepEqual(await second.rollback(), { kind: 'answered' })
      await first.rollback()
      const third = branchOf(opened)
      await opened.run(third, INSERT)
      await third.rollback()
      assert.deepEqual(await ids(other), [])
    },
    { poolSize: 1 },
  ),
  contract(
    'takes no connection for a branch that was rolled back while it waited',
    async ({ opened, other }) => {
      const first = branchOf(opened)
      await opened.run(first, INSERT)
      const second = branchOf(opened)
      const waiting = opened.run(second, INSERT)
      await pause(30)
      assert.deepEqual(await second.rollback(), { kind: 'answered' })
      await first.rollback()
      await assert.rejects(waiting, { code: 'ENLIST_FAILED' })
      assert.deepEqual(await ids(other), [])
    },
    { poolSize: 1 },
  ),
  contract('hears that the transaction takes no further work', async ({ opened }) => {
    const refuse = (): never => {
      throw new Error('no further work')
    }
    const branch = branchOf(opened, { enlist: refuse })
    await assert.rejects(opened.run(branch, INSERT), /no further work/)
    assert.equal(branch.enlisted, false)
  }),
]
