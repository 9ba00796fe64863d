/** What is shown of the locks that prepared branches hold: for what is on the screen, and never waited for. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import type { PreparedBranch, SeenHold } from '../../../src/participant/participant.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { withHolds } from '../../../src/recovery/holds.ts'
import type {
  InspectedBranch,
  InspectedTransaction,
  Inspection,
} from '../../../src/recovery/inspection.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

class HoldingParticipant extends FakeParticipant {
  readonly asked: (readonly string[])[] = []
  answer: () => Promise<readonly SeenHold[]> = async () => []

  holds(branches: readonly PreparedBranch[]): Promise<readonly SeenHold[]> {
    this.asked.push(branches.map(({ id }) => id))
    return this.answer()
  }
}

function transaction(gtrid: string): InspectedTransaction {
  const advice = { action: 'commit', why: '' } as const
  const branch = { participant: 'ledger', bqual: 'ledger', state: 'prepared', advice } as const
  const branches = [{ ...branch, id: `${gtrid}:ledger` }]
  return { gtrid, state: 'unsettled', decision: 'commit', branches, advice }
}

function world(prepared = 2) {
  const ledger = new HoldingParticipant([])
  const clock = new VirtualClock()
  const registry = createRegistry({ ledger }, clock, new Events())
  const inspection: Inspection = {
    atMs: 0,
    logId: '0000000000000000',
    owner: undefined,
    participants: [{ name: 'ledger', prepared }],
    transactions: [transaction('a'), transaction('b')],
    apart: [],
    operators: [],
  }
  const look = (shown: readonly InspectedTransaction[] = [transaction('b')]) =>
    withHolds(inspection, { registry, clock, answerMs: 1_000, shown })
  return { ledger, clock, inspection, look }
}

describe('what prepared branches hold', () => {
  it('is asked for those that are shown, and put beside them', async () => {
    const { ledger, look } = world()
    const waiting = [{ session: '77', waitingMs: 5 }]
    ledger.answer = async () => [
      { id: 'b:ledger', locks: 3, waiting },
      { id: undefined, waiting: [{ session: '78' }] },
    ]
    const { transactions, participants } = await look()
    expect(ledger.asked).toEqual([['b:ledger']])
    expect(transactions[0]?.branches[0]?.holds).toBeUndefined()
    expect(transactions[1]?.branches[0]?.holds).toEqual({ id: 'b:ledger', locks: 3, waiting })
    expect(participants[0]?.waiting).toEqual([{ session: '78' }])
  })

  it('is left out where the server refuses to tell', async () => {
    const { ledger, inspection, look } = world()
    ledger.answer = () => Promise.reject(new UnanimousError('PARTICIPANT_UNFIT', 'denied'))
    expect(await look()).toEqual(inspection)
  })

  it('is asked for branches of its own that a list has shown', async () => {
    const { ledger, look } = world()
    const [b] = [transaction('b')]
    const more: Partial<InspectedBranch>[] = [{ participant: 'shop' }, { id: undefined as never }]
    const branches = [...b.branches, ...more.map((each) => ({ ...b.branches[0], ...each }))]
    await look([{ ...b, branches: branches as InspectedBranch[] }])
    expect(ledger.asked).toEqual([['b:ledger']])
  })

  it('is asked for no page where thousands are prepared, only who waits: locks cost too much', async () => {
    const { ledger, inspection, look } = world(1_001)
    ledger.answer = async () => [{ id: undefined, waiting: [{ session: '78' }] }]
    const { participants } = await look(inspection.transactions)
    expect(ledger.asked).toEqual([[]])
    expect(participants[0]?.waiting).toEqual([{ session: '78' }])
    await look([transaction('b')])
    expect(ledger.asked[1]).toEqual(['b:ledger'])
  })

  it('is asked for a page where no more than a thousand are prepared', async () => {
    const { ledger, inspection, look } = world(1_000)
    await look(inspection.transactions)
    expect(ledger.asked).toEqual([['a:ledger', 'b:ledger']])
  })

  it('hides no failure of the look itself', async () => {
    const { ledger, look } = world()
    ledger.answer = () => Promise.reject(new TypeError('not a function'))
    await expect(look()).rejects.toBeInstanceOf(TypeError)
  })

  it('is left out where the server does not answer in time', async () => {
    const { ledger, clock, inspection, look } = world()
    ledger.answer = () => new Promise(() => undefined)
    const looking = look()
    await clock.advance(1_000)
    expect(await looking).toEqual(inspection)
  })
})
