/**
 * The contract of recovery: listing, settling and proving from the participant's own connection.
 */
import assert from 'node:assert/strict'
import { branchOf, eventually, GTRID_PREFIX, pause, sealed } from './harness.ts'
import {
  both,
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  type Stage,
  xidOf,
} from './stage.ts'

/**
 * InnoDB answers who waits from a copy, which it makes anew only when nobody read it for a tenth of a
 * second: asked more often than that, it says the same for ever (MariaDB 11.8, MySQL 9.7).
 */
const INNODB_LOOKS_AGAIN_MS = 150

export const settling: readonly ContractCase[] = [
  ...both('a prepared branch survives its client, and is committed from outside', async (stage) => {
    const { opened, other, harness } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    branch.abandon()
    const second = await harness.open({ markers: (await opened.participant.contact()).markers })
    try {
      assert.ok(await listed(second, branch), 'listed by another participant of the database')
      const xid = xidOf(branch)
      assert.deepEqual(await second.participant.settle(xid, 'commit'), { kind: 'answered' })
    } finally {
      await second.close()
    }
    assert.deepEqual(await ids(other), [1])
  }),
  contract(
    'tells who waits for a prepared branch, and what it holds where the server does',
    async (stage) => {
      const { opened, other, harness } = stage
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      branch.abandon()
      const waiter = await harness.session()
      try {
        const [self] = await waiter.run(harness.sessionId)
        const held = (await opened.participant.list()).filter(
          ({ xid }) => xid?.gtrid === branch.xid?.gtrid,
        )
        const waiting = waiter.run('INSERT INTO item VALUES (1, 2)')
        await eventually(
          'the session is seen to wait',
          async () => {
            const seen = (await opened.participant.holds?.(held)) ?? []
            const its = seen.find(({ waiting: all }) =>
              all.some(({ session }) => session === String(self?.['id'])),
            )
            if (its === undefined) return false
            assert.ok(
              its.id === undefined || its.id === held[0]?.id,
              'for this branch, or for some branch',
            )
            return true
          },
          INNODB_LOOKS_AGAIN_MS,
        )
        await opened.participant.settle(xidOf(branch), 'abort')
        await waiting
        await eventually(
          'nobody waits any more',
          async () => {
            const after = (await opened.participant.holds?.(held)) ?? []
            const still = after.flatMap((one) => one.waiting).map(({ session }) => session)
            return !still.includes(String(self?.['id']))
          },
          INNODB_LOOKS_AGAIN_MS,
        )
      } finally {
        waiter.close()
      }
      assert.deepEqual(await ids(other), [1])
    },
  ),
  contract('T6: settled twice, it is absent, whatever the first answer was', async (stage) => {
    const { opened, other } = stage
    for (const [first, second] of [
      ['commit', 'commit'],
      ['commit', 'abort'],
      ['abort', 'commit'],
    ] as const) {
      await other.run('DELETE FROM item')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      branch.abandon()
      const xid = xidOf(branch)
      assert.deepEqual(await opened.participant.settle(xid, first), { kind: 'answered' })
      assert.equal((await opened.participant.settle(xid, second)).kind, 'absent')
      assert.deepEqual(await ids(other), first === 'commit' ? [1] : [])
    }
  }),
  contract('T3: settles a branch whose session still lives', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    evidenceOf(await branch.vote())
    const settled = await opened.participant.settle(xidOf(branch), 'commit')
    assert.deepEqual(settled, { kind: 'answered' })
    assert.deepEqual(await ids(other), [1])
    const late = await branch.rollback()
    assert.ok(late.kind === 'absent' || late.kind === 'unknown', late.kind)
    assert.deepEqual(await ids(other), [1])
  }),
  contract('is settled on the server that is named, and on no other', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const { server } = evidenceOf(await branch.vote())
    branch.abandon()
    const { participant } = opened
    for (const decision of ['commit', 'abort'] as const) {
      const elsewhere = { server: { ...server, server: 'another' }, only: true }
      const settled = await participant.settle(xidOf(branch), decision, elsewhere)
      assert.equal(settled.kind, 'other-server')
      assert.ok(await listed(opened, branch))
    }
    const earlier = { ...server, startedAtMs: server.startedAtMs - 60_000 }
    const recorded = { server: earlier, only: true }
    const settled = await participant.settle(xidOf(branch), 'commit', recorded)
    assert.deepEqual(settled, { kind: 'answered' }, 'in whichever life of it')
    assert.deepEqual(await ids(other), [1])
  }),
  contract('a branch that was never prepared is absent', async ({ opened }) => {
    const xid = { gtrid: `${GTRID_PREFIX}zzz`, bqual: 'ledger' }
    assert.equal((await opened.participant.settle(xid, 'commit')).kind, 'absent')
    assert.equal((await opened.participant.settle(xid, 'abort')).kind, 'absent')
  }),
  contract("lists other people's branches without taking them for ours", async (stage) => {
    const { opened, other, harness } = stage
    const before = (await opened.participant.list()).length
    const foreign = await harness.session()
    const { rollback } = await harness.foreign(foreign, 'other-application')
    const all = await opened.participant.list()
    assert.equal(all.length, before + 1)
    assert.ok(all.every((one) => one.xid === undefined))
    foreign.close()
    await eventually('it can be rolled back', async () => {
      await other.run(rollback).catch(() => undefined)
      return (await opened.participant.list()).length === before
    })
  }),
]

async function settledBranch(stage: Stage, decision: 'commit' | 'abort') {
  const { opened } = stage
  const branch = branchOf(opened)
  await opened.run(branch, INSERT)
  const evidence = evidenceOf(await branch.vote())
  const xid = xidOf(branch)
  assert.equal((await opened.participant.prove(xid, evidence)).kind, 'look-again', 'while listed')
  branch.abandon()
  assert.deepEqual(await opened.participant.settle(xid, decision), { kind: 'answered' })
  return { xid, evidence }
}

export const proofs: readonly ContractCase[] = [
  contract(
    'proves a commit and a rollback by the marker',
    async (stage) => {
      const { participant } = stage.opened
      const committed = await settledBranch(stage, 'commit')
      const { xid8: _, ...withoutId } = committed.evidence
      for (const evidence of [committed.evidence, withoutId]) {
        assert.deepEqual(await participant.prove(committed.xid, evidence), {
          kind: 'committed',
          by: 'marker',
        })
      }
      await stage.other.run('DELETE FROM item')
      const aborted = await settledBranch(stage, 'abort')
      const { xid8: __, ...onlyMarker } = aborted.evidence
      assert.deepEqual(await participant.prove(aborted.xid, onlyMarker), {
        kind: 'rolled-back',
        by: 'marker',
      })
    },
    { markers: true },
  ),
  contract('proves by the transaction id, or says that there is no proof', async (stage) => {
    const { opened, harness } = stage
    for (const decision of ['commit', 'abort'] as const) {
      await stage.other.run('DELETE FROM item')
      const { xid, evidence } = await settledBranch(stage, decision)
      const outcome = decision === 'commit' ? 'committed' : 'rolled-back'
      assert.deepEqual(
        await opened.participant.prove(xid, evidence),
        harness.hasTransactionIds
          ? { kind: outcome, by: 'transaction id' }
          : { kind: 'none', life: 'same' },
      )
      const { server } = evidence
      const earlier = { ...server, startedAtMs: server.startedAtMs - 60_000 }
      const { xid8: _, ...withoutId } = evidence
      assert.deepEqual(await opened.participant.prove(xid, { ...withoutId, server: earlier }), {
        kind: 'none',
        life: 'restarted',
      })
      const elsewhere = { ...evidence, server: { ...server, server: 'another' } }
      assert.deepEqual(await opened.participant.prove(xid, elsewhere), {
        kind: 'none',
        life: 'other-server',
      })
    }
  }),
  contract(
    'an absent marker proves nothing on another server',
    async (stage) => {
      const { xid, evidence } = await settledBranch(stage, 'abort')
      const elsewhere = { ...evidence, server: { ...evidence.server, server: 'another' } }
      assert.deepEqual(await stage.opened.participant.prove(xid, elsewhere), {
        kind: 'none',
        life: 'other-server',
      })
    },
    { markers: true },
  ),
  ...both('one phase: proves a commit whose answer was lost', async (stage) => {
    const { opened, other, harness } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    opened.proxy.cut(harness.verbs.commitOnePhase, 'after')
    const answer = await branch.commitOnePhase(true)
    assert.equal(answer.kind, 'unknown')
    if (answer.kind !== 'unknown') return
    await opened.proxy.cutDone()
    await eventually('it is committed', async () => (await ids(other)).length === 1)
    const proof = await opened.participant.proveOnePhase(xidOf(branch), answer.evidence)
    const { marker } = answer.evidence
    if (marker) assert.deepEqual(proof, { kind: 'committed', by: 'marker' })
    else if (!harness.hasTransactionIds) assert.deepEqual(proof, { kind: 'none', life: 'same' })
    else assert.deepEqual(proof, { kind: 'committed', by: 'transaction id' })
  }),
  ...both('one phase: proves that a commit which never arrived will not happen', async (stage) => {
    const { opened, other, harness } = stage
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    opened.proxy.cut(harness.verbs.commitOnePhase, 'before')
    const answer = await branch.commitOnePhase(true)
    assert.equal(answer.kind, 'unknown')
    if (answer.kind !== 'unknown') return
    const { marker } = answer.evidence
    const prove = () => opened.participant.proveOnePhase(xidOf(branch), answer.evidence)
    if (!marker && !harness.hasTransactionIds) {
      assert.deepEqual(await prove(), { kind: 'none', life: 'same' })
      return
    }
    const by = marker ? 'marker' : 'transaction id'
    await eventually('the session has ended', async () => (await prove()).kind !== 'look-again')
    assert.deepEqual(await prove(), { kind: 'rolled-back', by })
    assert.deepEqual(await prove(), { kind: 'rolled-back', by }, 'the same when asked again')
    assert.deepEqual(await ids(other), [])
  }),
  contract(
    'one phase: a fence waits for an insert in flight, and looks again',
    async (stage) => {
      const { opened } = stage
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      // A branch of the same key that has not ended: its marker row is locked.
      evidenceOf(await branch.vote())
      const evidence = { server: (await identityOf(stage)).server, marker: true }
      const proof = await opened.participant.proveOnePhase(xidOf(branch), evidence)
      assert.equal(proof.kind, 'look-again')
      await branch.rollback()
    },
    { markers: true },
  ),
  contract(
    'collects markers, and lists those that begin with a prefix',
    async (stage) => {
      const { opened } = stage
      await opened.participant.collectMarkers(
        await opened.participant.listMarkers(GTRID_PREFIX, 1_000),
      )
      const { xid } = await settledBranch(stage, 'commit')
      assert.deepEqual(await opened.participant.listMarkers(GTRID_PREFIX, 10), [xid.gtrid])
      assert.deepEqual(await opened.participant.listMarkers(`${GTRID_PREFIX}~`, 10), [])
      await opened.participant.collectMarkers([xid.gtrid])
      assert.deepEqual(await opened.participant.listMarkers(GTRID_PREFIX, 10), [])
    },
    { markers: true },
  ),
]

/** The server as a branch records it. */
async function identityOf(stage: Stage) {
  const probe = branchOf(stage.opened)
  await stage.opened.run(probe, 'INSERT INTO item VALUES (99, 1)')
  const evidence = evidenceOf(await probe.vote())
  await probe.rollback()
  return evidence
}

export const connections: readonly ContractCase[] = [
  ...both('leaks neither a connection nor a listener', async ({ opened, other }) => {
    const ends = [
      async (branch: ReturnType<typeof branchOf>) => void (await branch.rollback()),
      async (branch: ReturnType<typeof branchOf>) => void (await branch.commitOnePhase(true)),
      async (branch: ReturnType<typeof branchOf>) => {
        evidenceOf(await branch.vote())
        await branch.commit()
      },
      async (branch: ReturnType<typeof branchOf>) => {
        evidenceOf(await branch.vote())
        await branch.rollback()
      },
    ]
    const round = async (): Promise<void> => {
      for (const [at, end] of ends.entries()) {
        const branch = branchOf(opened)
        await opened.run(branch, `INSERT INTO item VALUES (${at}, 1)`)
        branch.seal(sealed)
        await end(branch)
      }
      await other.run('DELETE FROM item')
    }
    await round()
    const before = opened.pool()
    assert.equal(before.idle, before.total)
    for (let times = 0; times < 5; times += 1) await round()
    assert.deepEqual(opened.pool(), before)
  }),
  contract('lists and settles while application code holds the whole pool', async (stage) => {
    const { opened } = stage
    const prepared = branchOf(opened)
    await opened.run(prepared, INSERT)
    evidenceOf(await prepared.vote())
    prepared.abandon()
    const holders = [branchOf(opened), branchOf(opened), branchOf(opened)]
    for (const holder of holders) await opened.run(holder, 'SELECT 1')
    assert.deepEqual(await opened.participant.settle(xidOf(prepared), 'abort'), {
      kind: 'answered',
    })
    for (const holder of holders) await holder.rollback()
  }),
  contract('finds its own connection dead, and makes another', async ({ opened, other }) => {
    await opened.participant.list()
    opened.proxy.dropAll()
    await pause(100)
    assert.deepEqual(
      (await opened.participant.list()).filter((one) => one.xid !== undefined),
      [],
    )
    assert.deepEqual(await ids(other), [])
  }),
  contract(
    'gives up an own connection that does not answer, and does not say that it did',
    async ({ opened }) => {
      await opened.participant.contact()
      const xid = { gtrid: `${GTRID_PREFIX}zzzz`, bqual: 'ledger' }
      opened.proxy.stall(true)
      assert.equal((await opened.participant.settle(xid, 'commit')).kind, 'unknown')
      assert.equal((await opened.participant.settle(xid, 'commit')).kind, 'later')
      assert.equal((await opened.participant.prove(xid, NO_EVIDENCE)).kind, 'look-again')
      opened.proxy.stall(false)
      assert.equal((await opened.participant.settle(xid, 'commit')).kind, 'absent')
    },
    { answerMs: 500 },
  ),
  contract(
    'answers nothing after it was closed',
    async ({ opened }) => {
      await opened.participant.list()
      await opened.participant.close()
      await assert.rejects(opened.participant.list(), { code: 'PARTICIPANT_UNREACHABLE' })
    },
    { closes: true },
  ),
]

const NO_EVIDENCE = { server: { server: '', startedAtMs: 0 }, marker: false }
