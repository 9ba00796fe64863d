/** What a look and a pass make of participants that fail, and of lists that are of another moment. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { noFailpoints } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import type { CommitRecord, LogSnapshot, PendingDecision } from '../../../src/log/decision-log.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import {
  type Choice,
  type InspectOptions,
  inspect,
  narrowed,
  type Survey,
  survey,
} from '../../../src/recovery/inspect.ts'
import { recoverOnce } from '../../../src/recovery/once.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** What the log holds, one reading after the other. */
type Readings = readonly (readonly PendingDecision[])[]

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
  /** Of a look at a log that holds these, one after the other. */
  const options = (...readings: Readings): InspectOptions => {
    let reading = 0
    const readLog = async (): Promise<LogSnapshot> => {
      const pending = readings[Math.min(reading, readings.length - 1)] ?? []
      reading += 1
      const standing = () => 'older' as const
      const find = (id: string) => pending.find(({ record: { gtrid } }) => gtrid === id)
      return { logId: log.logId, pending, find, operators: [], standing, owner: undefined }
    }
    return { registry, clock, readLog, answerMs: 1_000 }
  }
  const look = (...readings: Readings) => inspect(options(...readings))
  const recover = () =>
    recoverOnce({ registry, log, events, failpoints: noFailpoints, clock }, { waitMs: 0 })
  return { ledger, shop, clock, log, gtrid, prepare, record, options, look, recover }
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

  it('takes a marker whose branch has not committed so far for no hand', async () => {
    const { look, ledger, shop, gtrid, prepare } = world()
    shop.script.markers = true
    shop.markersOf = async (ids) => ids.map((id) => ({ gtrid: id, bqual: 'shop', state: 'open' }))
    prepare(ledger, gtrid(1))
    expect((await look()).transactions).toMatchObject([{ advice: { action: 'roll back' } }])
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

describe('what a look shows apart', () => {
  it.each([
    ['when it was prepared, and by whom', { preparedAtMs: 5_000, owner: 'app' }],
    ['when it was prepared', { preparedAtMs: 5_000 }],
    ['no more than its id', {}],
  ])('has %s, as its server tells', async (_, told) => {
    const { look, ledger } = world()
    ledger.list = async () => [{ id: 'somebody-else', ...told }]
    const why = 'not made by this library'
    expect((await look()).apart).toEqual([
      { participant: 'ledger', id: 'somebody-else', kind: 'foreign', why, ...told },
    ])
  })
})

describe('a page of a look', () => {
  /** Prepared and undecided in the ledger; committed by hand in the shop; decided, and answered there. */
  function three() {
    const { ledger, shop, gtrid, prepare, record, options } = world()
    const [undecided, split, decided] = [gtrid(1), gtrid(2), gtrid(3)]
    prepare(ledger, undecided)
    prepare(ledger, split)
    shop.script.markers = true
    shop.committed.add(gid({ gtrid: split, bqual: 'shop' }))
    shop.prepared.set('somebody', { gtrid: 'somebody', bqual: 'shop' })
    const answers = new Map([['shop', 'committed']] as const)
    const looked = options([{ record: record(decided, 'shop'), answers }])
    const inShop = ({ outlines, isIn }: Choice) =>
      outlines.filter((each) => isIn(each.gtrid, 'shop'))
    return { undecided, split, decided, looked, inShop }
  }

  it('knows where each transaction has branches: prepared, committed by hand, or only logged', async () => {
    const { split, decided, looked, inShop } = three()
    const { outlines, inspection } = await survey(looked, inShop)
    expect(outlines).toHaveLength(3)
    expect(inspection.transactions.map((each) => each.gtrid)).toEqual([split, decided])
    const inLedger = await survey(looked, (choice) =>
      choice.outlines.filter((each) => choice.isIn(each.gtrid, 'ledger')),
    )
    expect(inLedger.inspection.transactions).toHaveLength(2)
  })

  it('has each branch once where two participants share a database, and list the same', async () => {
    const { ledger, shop, gtrid, prepare, options } = world()
    prepare(ledger, gtrid(1))
    prepare(shop, gtrid(1))
    const both = [...ledger.prepared.values(), ...shop.prepared.values()]
    const list = async () => both.map((xid) => ({ id: gid(xid), xid }))
    Object.assign(ledger, { list })
    Object.assign(shop, { list })
    const { inspection } = await survey(options([]), ({ outlines }) => outlines)
    const [transaction] = inspection.transactions
    expect(transaction?.branches.map(({ participant }) => participant)).toEqual(['ledger', 'shop'])
  })

  it('is the same of what another process has looked at', async () => {
    const { looked, inShop } = three()
    const comparable = ({ apart, ...rest }: Survey) => ({
      ...rest,
      kinds: apart.map(({ kind }) => kind),
    })
    for (const most of [0, 1, 9]) {
      const own = await survey(looked, inShop, most)
      const others = narrowed(await inspect(looked), inShop, most)
      expect(comparable(others)).toEqual(comparable(own))
      expect(own.inspection.apart).toHaveLength(Math.min(most, own.apart.length))
    }
  })

  it('of what another process has looked at has nothing that it never saw', async () => {
    const { gtrid, options } = world()
    const stranger = { gtrid: gtrid(9), state: 'unsettled', sinceMs: undefined } as const
    let isThere = true
    const { inspection } = narrowed(await inspect(options([])), ({ isIn }) => {
      isThere = isIn(stranger.gtrid, 'ledger')
      return [stranger]
    })
    expect([inspection.transactions, isThere]).toEqual([[], false])
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
    expect([done, unsettled]).toEqual([[], []])
  })
})
