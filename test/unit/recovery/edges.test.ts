/** What a look and a pass make of participants that fail, and of lists that are of another moment. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { noFailpoints } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import type { CommitRecord, LogSnapshot, PendingDecision } from '../../../src/log/decision-log.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { inspect } from '../../../src/recovery/inspect.ts'
import { recoverOnce } from '../../../src/recovery/once.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world() {
  const [ledger, shop] = [new FakeParticipant([]), new FakeParticipant([])]
  const clock = new VirtualClock()
  const events = new Events()
  const log = new MemoryLog([])
  const registry = createRegistry({ ledger, shop }, clock, events)
  const gtrid = (sequence: number): string =>
    formatGtrid({ logId: log.logId, incarnation: { epoch: 1, nonce: '00000000' }, sequence })
  const prepare = (participant: FakeParticipant, id: string): void => {
    const xid = { gtrid: id, bqual: participant.name }
    participant.prepared.set(gid(xid), xid)
  }
  const record = (id: string, name: string): CommitRecord => ({
    gtrid: id,
    decidedAtMs: 0,
    branches: [{ participant: name, bqual: name, server: SERVER, marker: false }],
  })
  /** Looks at a log that holds these, one after the other. */
  const look = (...readings: readonly (readonly PendingDecision[])[]) => {
    let reading = 0
    const readLog = async (): Promise<LogSnapshot> => {
      const pending = readings[Math.min(reading, readings.length - 1)] ?? []
      reading += 1
      const standing = () => 'older' as const
      return { logId: log.logId, pending, operators: [], standing, owner: undefined }
    }
    return inspect({ registry, clock, readLog, answerMs: 1_000 })
  }
  const recover = () =>
    recoverOnce({ registry, log, events, failpoints: noFailpoints, clock }, { waitMs: 0 })
  return { ledger, shop, clock, log, gtrid, prepare, record, look, recover }
}

describe('a look', () => {
  it('leaves out a decision that ended while the lists were taken', async () => {
    const { look, gtrid, record } = world()
    const ended = { record: record(gtrid(1), 'ledger'), answers: new Map() }
    expect((await look([ended], [])).transactions).toEqual([])
  })

  it('dates what nobody decided by the oldest branch that its server dates', async () => {
    const { look, ledger, shop, gtrid } = world()
    for (const [participant, preparedAtMs] of [
      [ledger, 7_000],
      [shop, 5_000],
    ] as const) {
      const xid = { gtrid: gtrid(1), bqual: participant.name }
      participant.list = async () => [{ id: gid(xid), xid, preparedAtMs, owner: 'app' }]
    }
    expect((await look()).transactions).toMatchObject([
      {
        sinceMs: 5_000,
        branches: [
          { participant: 'ledger', preparedAtMs: 7_000, owner: 'app' },
          { participant: 'shop', preparedAtMs: 5_000, owner: 'app' },
        ],
      },
    ])
  })

  it('calls no mistake of ours a participant that cannot be reached', async () => {
    const { look, ledger } = world()
    ledger.contact = () => Promise.reject(new InvariantError('ours'))
    await expect(look()).rejects.toBeInstanceOf(InvariantError)
  })

  it.each([
    ['refused', () => Promise.reject(new UnanimousError('PARTICIPANT_UNFIT', 'no grant'))],
    ['late', () => new Promise<never>(() => undefined)],
  ])(
    'goes on without the marker rows of a participant whose answer is %s',
    async (_, markersOf) => {
      const { look, ledger, shop, clock, gtrid, prepare } = world()
      shop.script.markers = true
      shop.markersOf = markersOf
      prepare(ledger, gtrid(1))
      const looking = look()
      await clock.advance(1_000)
      expect((await looking).transactions).toMatchObject([{ advice: { action: 'roll back' } }])
    },
  )

  it('calls no mistake of ours a participant without marker rows', async () => {
    const { look, ledger, shop, gtrid, prepare } = world()
    shop.script.markers = true
    shop.markersOf = () => Promise.reject(new InvariantError('ours'))
    prepare(ledger, gtrid(1))
    await expect(look()).rejects.toBeInstanceOf(InvariantError)
  })

  it('reports a branch that its logged commit does not name', async () => {
    const { look, ledger, gtrid, prepare, record } = world()
    prepare(ledger, gtrid(1))
    const pending = { record: record(gtrid(1), 'shop'), answers: new Map() }
    const [transaction] = (await look([pending])).transactions
    const branch = transaction?.branches.find(({ participant }) => participant === 'ledger')
    expect(branch?.advice).toEqual({
      action: 'report',
      why: 'the logged commit does not name this branch',
    })
  })
})

describe('a pass', () => {
  it('touches no branch that its logged commit does not name', async () => {
    const { recover, ledger, log, gtrid, prepare, record } = world()
    prepare(ledger, gtrid(1))
    log.add(record(gtrid(1), 'shop'))
    await recover()
    expect(ledger.prepared.size).toBe(1)
    expect([ledger.committed.size, ledger.rolledBack.size]).toEqual([0, 0])
  })

  it('takes a branch for rolled back that is gone since it was listed: its own session was quicker', async () => {
    const { recover, ledger, gtrid, prepare } = world()
    prepare(ledger, gtrid(1))
    const settle = ledger.settle.bind(ledger)
    ledger.settle = (xid, decision) => {
      ledger.finish(xid, 'abort')
      return settle(xid, decision)
    }
    const { done, unsettled } = await recover()
    expect([done, unsettled.size]).toEqual([[], 0])
  })
})
