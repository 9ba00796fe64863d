/**
 * The contract of what a database can testify by itself when a log is lost, and of what a person is
 * shown of it: `announce`, `announced`, `markersOf`, `sessions`, `examine`, `init`.
 */
import assert from 'node:assert/strict'
import type { PreparedBranch } from '../../src/adapter.ts'
import { branchOf, eventually, GTRID_PREFIX, requestOf, sealed } from './harness.ts'
import { type ContractCase, contract, evidenceOf, INSERT, ids, type Stage, xidOf } from './stage.ts'

const MARKED = { markers: true }
/** `una1-<log id>-<incarnation>-<seq>` */
const [, logId = '', incarnation = ''] = GTRID_PREFIX.split('-')

/** Others' rows stay in a table that cases share: each names a log of its own. */
let logs = 0
function nextLog(): string {
  logs += 1
  return logId.slice(0, -3) + String(logs).padStart(3, '0')
}

const sorted = (rows: readonly { readonly incarnation: string; readonly participant: string }[]) =>
  rows.map((row) => `${row.incarnation} ${row.participant}`).sort()

const announcing: readonly ContractCase[] = [
  contract(
    'announces participants durably, and again as well as once',
    async ({ opened, harness }) => {
      const [one, other] = [nextLog(), nextLog()]
      const { participant } = opened
      assert.deepEqual(await participant.announced(one), [])
      assert.equal(await participant.announce(one, '1.00000000', ['ledger']), true)
      assert.equal(await participant.announce(one, '1.00000000', ['ledger', 'shop']), true)
      assert.equal(await participant.announce(one, '2.00000000', ['ledger']), true)
      assert.equal(await participant.announce(other, '1.00000000', ['audit']), true)
      const second = await harness.open(MARKED)
      try {
        const seen = (await second.participant.announced(one)) ?? []
        assert.deepEqual(sorted(seen), [
          '1.00000000 ledger',
          '1.00000000 shop',
          '2.00000000 ledger',
        ])
        assert.deepEqual(sorted((await second.participant.announced(other)) ?? []), [
          '1.00000000 audit',
        ])
      } finally {
        await second.close()
      }
    },
    MARKED,
  ),
  contract(
    'announces nothing where a table is missing, and says so',
    async ({ opened }) => {
      const { participant } = opened
      assert.equal((await participant.contact()).markers, false)
      assert.equal(await participant.announce(logId, incarnation, ['ledger']), false)
      assert.equal(await participant.announced(logId), undefined)
      assert.deepEqual(await participant.markersOf([requestOf().gtrid]), [])
      assert.deepEqual(await participant.listMarkers(GTRID_PREFIX, 10), [])
    },
    { markers: false },
  ),
  contract(
    'announces on a connection of its own, while application code holds the whole pool',
    async ({ opened }) => {
      const holders = [branchOf(opened), branchOf(opened), branchOf(opened)]
      for (const holder of holders) await opened.run(holder, 'SELECT 1')
      assert.equal(await opened.participant.announce(nextLog(), incarnation, ['ledger']), true)
      for (const holder of holders) await holder.rollback()
    },
    MARKED,
  ),
  contract(
    'an announcement that a server did not confirm is an error, never a yes',
    async ({ opened }) => {
      await opened.participant.contact()
      opened.proxy.stall(true)
      const asked = opened.participant.announce(nextLog(), incarnation, ['ledger'])
      await assert.rejects(asked, { code: 'PARTICIPANT_UNREACHABLE' })
      opened.proxy.stall(false)
      opened.proxy.dropAll()
    },
    { markers: true, answerMs: 500 },
  ),
  contract(
    'init runs what it prints, twice as well as once',
    async ({ opened, other }) => {
      const { participant } = opened
      for (const table of ['unanimous_branch', 'unanimous_log']) {
        await other.run(`DROP TABLE IF EXISTS ${table}`)
      }
      await participant.examine()
      assert.equal((await participant.contact()).markers, false)
      for (const statement of participant.initStatements()) await other.run(statement)
      await participant.init()
      await participant.init()
      assert.equal((await participant.contact()).markers, true)
      assert.equal(await participant.announce(nextLog(), incarnation, ['ledger']), true)
    },
    { markers: false },
  ),
]

/** A branch that is prepared, and given up. */
async function left({ opened }: Stage, id: number) {
  const branch = branchOf(opened)
  await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
  const evidence = evidenceOf(await branch.vote())
  branch.abandon()
  return { xid: xidOf(branch), evidence }
}

const reading: readonly ContractCase[] = [
  contract(
    'markersOf waits for no prepared branch, and calls committed only what is',
    async (stage) => {
      const { participant } = stage.opened
      const committed = await left(stage, 1)
      const aborted = await left(stage, 2)
      const open = await left(stage, 3)
      assert.deepEqual(await participant.settle(committed.xid, 'commit'), { kind: 'answered' })
      assert.deepEqual(await participant.settle(aborted.xid, 'abort'), { kind: 'answered' })
      const gtrids = [committed, aborted, open].map(({ xid }) => xid.gtrid)
      const seen = await participant.markersOf([...gtrids, requestOf().gtrid])
      const states = new Map(seen.map(({ gtrid, state }) => [gtrid, state]))
      assert.equal(states.get(committed.xid.gtrid), 'committed')
      assert.equal(states.has(aborted.xid.gtrid), false)
      // A server that shows what is not committed may show it, as that.
      assert.notEqual(states.get(open.xid.gtrid), 'committed')
      assert.deepEqual(await participant.settle(open.xid, 'commit'), { kind: 'answered' })
      const [last] = await participant.markersOf([open.xid.gtrid])
      assert.deepEqual(last, { ...open.xid, state: 'committed' })
    },
    MARKED,
  ),
  contract(
    'a fence is no marker: neither listed nor collected, and it stays',
    async (stage) => {
      const { opened, other } = stage
      const { participant } = opened
      const { evidence } = await left(stage, 1)
      const [listed] = await participant.list()
      if (listed?.xid !== undefined) await participant.settle(listed.xid, 'abort')
      const fenced = { gtrid: requestOf().gtrid, bqual: 'ledger' }
      const { server } = evidence
      const proof = await participant.proveOnePhase(fenced, { server, marker: true })
      assert.deepEqual(proof, { kind: 'rolled-back', by: 'marker' })
      assert.deepEqual(await participant.markersOf([fenced.gtrid]), [])
      assert.equal((await participant.listMarkers(GTRID_PREFIX, 100)).includes(fenced.gtrid), false)
      const rows = await other.run(
        `SELECT state FROM unanimous_branch WHERE gtrid = '${fenced.gtrid}'`,
      )
      assert.deepEqual(
        rows.map((row) => row['state']),
        ['fenced'],
      )
      const again = await participant.proveOnePhase(fenced, { server, marker: true })
      assert.deepEqual(again, { kind: 'rolled-back', by: 'marker' })
    },
    MARKED,
  ),
  contract(
    'lists and reads more markers than go into one statement',
    async ({ opened, other }) => {
      const { participant } = opened
      await participant.collectMarkers(await participant.listMarkers(GTRID_PREFIX, 10_000))
      const gtrids = Array.from({ length: 1_201 }, () => requestOf().gtrid)
      const rows = gtrids.map((gtrid) => `('${gtrid}', 'ledger', 'committed')`)
      await other.run(
        `INSERT INTO unanimous_branch (gtrid, bqual, state) VALUES ${rows.join(', ')}`,
      )
      assert.equal((await participant.markersOf(gtrids)).length, 1_201)
      assert.equal((await participant.listMarkers(GTRID_PREFIX, 700)).length, 700)
      await participant.collectMarkers(gtrids)
      assert.deepEqual(await participant.listMarkers(GTRID_PREFIX, 10), [])
    },
    MARKED,
  ),
  contract('sees the sessions that name a text, and not its own', async ({ opened, harness }) => {
    const { participant } = opened
    const name = `${GTRID_PREFIX}named`
    const before = await participant.sessions(name)
    assert.deepEqual(before.naming, [])
    assert.equal(before.hidden, false, 'a superuser sees all')
    assert.notEqual(before.user, '')
    const busy = await harness.session()
    const [self] = await busy.run(harness.sessionId)
    const running = busy.run(`${harness.sleep(20)} /* ${name} */`).catch(() => undefined)
    await eventually('it is seen', async () => {
      return (await participant.sessions(name)).naming.length === 1
    })
    const [seen] = (await participant.sessions(name)).naming
    assert.equal(seen?.id, String(self?.['id']))
    assert.ok(seen?.statement.includes(name))
    const killer = await harness.session()
    await killer.run(harness.killSession(self?.['id']))
    await running
    killer.close()
    busy.close()
    await eventually('it is gone', async () => {
      return (await participant.sessions(name)).naming.length === 0
    })
  }),
]

const looking: readonly ContractCase[] = [
  contract(
    'examine looks again, changes nothing, and says what contact would',
    async ({ opened, other }) => {
      const { participant } = opened
      const first = await participant.examine()
      const known = await participant.contact()
      assert.equal(first.server, known.server)
      assert.equal(first.markers, false)
      assert.match(first.server, /^\S+ \d+(?:\.\d+)+$/)
      assert.ok(Math.abs(first.clockSkewMs) < 60_000, 'on one machine there is one clock')
      assert.ok(Object.keys(first.settings).length > 0)
      for (const { code, message, mend } of first.findings) {
        assert.match(code, /^[a-z-]+$/)
        assert.notEqual(message, '')
        assert.notEqual(mend, '', `${code} says what mends it`)
      }
      assert.deepEqual(
        first.findings.filter(({ severity }) => severity === 'unfit'),
        [],
      )
      for (const statement of participant.initStatements()) await other.run(statement)
      assert.equal((await participant.contact()).markers, false, 'known until it looks again')
      assert.equal((await participant.examine()).markers, true)
      assert.equal((await participant.contact()).markers, true)
    },
    { markers: false },
  ),
  contract('tells what may be worth another try from what is not', async ({ opened }) => {
    const { participant } = opened
    const branch = branchOf(opened)
    await opened.run(branch, INSERT)
    const cause: unknown = await opened
      .run(branch, 'INSERT INTO no_such_table VALUES (1)')
      .catch((error: unknown) => error)
    assert.equal(participant.isTransient(cause), false)
    assert.equal(participant.isTransient(new TypeError('no')), false)
    assert.equal(participant.isTransient(undefined), false)
    branch.seal(sealed)
    await branch.rollback()
  }),
  contract(
    'savepoints around the caller are set once, and what they take back is taken back',
    async ({ opened, other }) => {
      const around: string[] = []
      const branch = branchOf(opened, { savepoints: () => [...around] })
      await opened.run(branch, 'INSERT INTO item VALUES (1, 1)')
      await branch.endSavepoint('una_s9', 'rollback')
      around.push('una_s1')
      await opened.run(branch, 'INSERT INTO item VALUES (2, 2)')
      around.push('una_s2')
      await opened.run(branch, 'INSERT INTO item VALUES (3, 3)')
      await branch.endSavepoint('una_s2', 'rollback')
      around.pop()
      await opened.run(branch, 'INSERT INTO item VALUES (4, 4)')
      await branch.endSavepoint('una_s1', 'release')
      around.pop()
      assert.equal(branch.seal(sealed), undefined)
      evidenceOf(await branch.vote())
      assert.deepEqual(await branch.commit(), { kind: 'answered' })
      assert.deepEqual(await ids(other), [1, 2, 4])
    },
  ),
  contract('lists what a person needs of a prepared branch', async (stage) => {
    const { opened } = stage
    const { xid } = await left(stage, 1)
    const mine = (await opened.participant.list()).find((one: PreparedBranch) => {
      return one.xid?.gtrid === xid.gtrid
    })
    assert.deepEqual(mine?.xid, xid)
    assert.ok(mine?.id.includes(xid.gtrid), 'the server’s own spelling has the gtrid in it')
    await eventually('it can be settled', async () => {
      return (await opened.participant.settle(xid, 'abort')).kind === 'answered'
    })
  }),
]

export const witness: readonly ContractCase[] = [...announcing, ...reading, ...looking]
