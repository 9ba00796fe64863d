/**
 * The contract of lost answers: connections cut at a chosen message, killed, or dead with work queued.
 */
import assert from 'node:assert/strict'
import { branchOf, eventually, pause, sealed } from './harness.ts'
import {
  both,
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  xidOf,
} from './stage.ts'

export const lostAnswers: readonly ContractCase[] = [
  ...both(
    'T5: a vote whose answer is lost is unknown, and rolled back it leaves nothing',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      opened.proxy.cut(harness.verbs.prepare, 'after')
      assert.equal((await branch.vote()).kind, 'unknown')
      await opened.proxy.cutDone()
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.equal(await listed(opened, branch), false)
      assert.deepEqual(await ids(other), [])
    },
  ),
  ...both(
    'T5: a vote whose answer is lost is unknown; given up, the branch is listed',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      opened.proxy.cut(harness.verbs.prepare, 'after')
      assert.equal((await branch.vote()).kind, 'unknown')
      await opened.proxy.cutDone()
      branch.abandon()
      assert.equal((await branch.rollback()).kind, 'unknown')
      await eventually('it is listed', () => listed(opened, branch))
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'abort'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract(
    'a vote that never arrived is unknown, and nothing is listed',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      opened.proxy.cut(harness.verbs.prepare, 'before')
      assert.equal((await branch.vote()).kind, 'unknown')
      await branch.rollback()
      assert.equal(await listed(opened, branch), false)
      assert.equal((await opened.participant.settle(xidOf(branch), 'abort')).kind, 'absent')
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract(
    'a commit whose answer is lost is unknown; asked again, the branch is absent',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const evidence = evidenceOf(await branch.vote())
      opened.proxy.cut(harness.verbs.commit, 'after')
      assert.equal((await branch.commit()).kind, 'unknown')
      await opened.proxy.cutDone()
      assert.equal((await opened.participant.settle(xidOf(branch), 'commit')).kind, 'absent')
      assert.deepEqual(await opened.participant.prove(xidOf(branch), evidence), {
        kind: 'committed',
        by: 'marker',
      })
      assert.deepEqual(await ids(other), [1])
    },
    { markers: true },
  ),
  contract(
    'a commit that never arrived is unknown; asked again, it is done',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      opened.proxy.cut(harness.verbs.commit, 'before')
      assert.equal((await branch.commit()).kind, 'unknown')
      assert.deepEqual(await opened.participant.settle(xidOf(branch), 'commit'), {
        kind: 'answered',
      })
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract(
    'E: a connection killed under the application dooms the branch',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      const [row] = await opened.run(branch, harness.sessionId)
      await opened.run(branch, INSERT)
      await other.run(harness.killSession(row?.['id']))
      await assert.rejects(
        (async () => {
          for (;;) await opened.run(branch, 'SELECT id FROM item')
        })(),
      )
      const refusal = branch.seal(sealed)
      assert.equal(refusal?.code, 'CONNECTION_LOST')
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      await eventually('the row is gone', async () => (await ids(other)).length === 0)
    },
  ),
  contract(
    'E: a connection that dies between statement and vote is a refusal',
    async ({ opened, other, harness }) => {
      const branch = branchOf(opened)
      const [row] = await opened.run(branch, harness.sessionId)
      await opened.run(branch, INSERT)
      await other.run(harness.killSession(row?.['id']))
      await pause(200)
      const vote = await branch.vote()
      assert.equal(vote.kind, 'refused')
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [])
    },
  ),
  contract(
    'T4: a PREPARE that was queued when its client died appears later, and a sweep finds it',
    async ({ opened, other, harness }) => {
      const holder = await harness.session()
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      await harness.lockMarkers(holder)
      const voting = branch.vote()
      await pause(200)
      branch.abandon()
      assert.equal((await voting).kind, 'unknown')
      assert.equal(await listed(opened, branch), false, 'nothing yet')
      holder.close()
      if (harness.votesInOnePacket) {
        await eventually('the zombie appears', () => listed(opened, branch))
        assert.deepEqual(await opened.participant.settle(xidOf(branch), 'abort'), {
          kind: 'answered',
        })
      }
      await eventually('the row is gone', async () => (await ids(other)).length === 0)
    },
    { markers: true, merges: true },
  ),
]
