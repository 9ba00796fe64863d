/** Operator decisions: what is refused, what is recorded before anything is done, and what it leaves. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import type { OperatedLog, OperatorEntry, OperatorNote } from '../../../src/log/decision-log.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import type { InspectedBranch, InspectedTransaction } from '../../../src/recovery/inspection.ts'
import {
  carryOutWish,
  checkForget,
  type OperatorStep,
  planWish,
  type Wish,
} from '../../../src/recovery/operate.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const GTRID = formatGtrid({
  logId: '0000000000000000',
  incarnation: { epoch: 1, nonce: '00000000' },
  sequence: 1,
})
const WORD = { who: 'alice', host: 'pay-1', reason: 'ticket 17' }
const LEAVE = { action: 'leave', why: '' } as const

class OperatedMemoryLog extends MemoryLog implements OperatedLog {
  readonly operators: OperatorNote[] = []

  async operator(entry: OperatorEntry): Promise<void> {
    this.trace.push(`log ${entry.action} ${entry.bqual} by ${entry.who}`)
    this.operators.push({ ...entry, atMs: 0 })
  }

  async forget(entry: OperatorEntry): Promise<void> {
    this.operators.push({ ...entry, atMs: 0 })
  }
}

function world() {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace)
  const shop = new FakeParticipant(trace)
  const clock = new VirtualClock()
  const log = new OperatedMemoryLog(trace)
  const events = new Events()
  const registry = createRegistry({ ledger, shop }, clock, events)
  for (const one of [ledger, shop]) {
    const xid = { gtrid: GTRID, bqual: one.name }
    one.prepared.set(gid(xid), xid)
  }
  const logCommit = (): void => {
    const branches = [ledger, shop].map(({ name }) => ({
      participant: name,
      bqual: name,
      server: SERVER,
      marker: false,
    }))
    log.add({ gtrid: GTRID, decidedAtMs: 0, branches })
  }
  const carryOut = (...steps: OperatorStep[]) =>
    carryOutWish({ registry, log, events, clock }, GTRID, steps, WORD)
  return { ledger, shop, log, trace, logCommit, carryOut }
}

function step(participant: string, decision: 'commit' | 'abort', against: boolean): OperatorStep {
  return { participant, bqual: participant, decision, against }
}

function transaction(
  decision: 'commit' | 'none',
  ...branches: readonly Partial<InspectedBranch>[]
): InspectedTransaction {
  const all = branches.map((one, index) => ({
    participant: ['ledger', 'shop'][index] ?? '',
    bqual: ['ledger', 'shop'][index] ?? '',
    state: 'prepared' as const,
    advice: LEAVE,
    ...one,
  }))
  return { gtrid: GTRID, state: 'unsettled', decision, branches: all, advice: LEAVE }
}

function refusal(work: () => unknown): string {
  try {
    work()
  } catch (cause) {
    if (cause instanceof UnanimousError) return cause.code
  }
  return 'nothing was refused'
}

describe('what an operator may want', () => {
  const wish = (decision: Wish['decision'], more: Partial<Wish> = {}): Wish => ({
    decision,
    against: false,
    ...more,
  })

  it.each([
    ['commit', 'commit', 'nothing was refused'],
    ['commit', 'abort', 'AGAINST_DECISION'],
    ['none', 'abort', 'nothing was refused'],
    ['none', 'commit', 'AGAINST_DECISION'],
  ] as const)('rule 12: the log holds %s, the operator wants %s: %s', (held, decision, code) => {
    const both = transaction(held, {}, {})
    expect(refusal(() => planWish(both, wish(decision)))).toBe(code)
    const forced = planWish(both, wish(decision, { against: true }))
    const against = code === 'AGAINST_DECISION'
    expect(forced).toMatchObject([{ against }, { against }])
  })

  it('one branch is as much as the operator names', () => {
    const steps = planWish(transaction('commit', {}, {}), wish('commit', { branch: 'shop' }))
    expect(steps).toEqual([step('shop', 'commit', false)])
  })

  it.each([
    ['a participant without a branch', {}, 'archive', 'INVALID_OPTION'],
    ['a branch that has ended', { state: 'not listed' }, 'ledger', 'INVALID_OPTION'],
    ['a branch that cannot be seen', { state: 'unreachable' }, 'ledger', 'PARTICIPANT_UNREACHABLE'],
  ] as const)('%s is refused', (_, seen, branch, code) => {
    const shown = transaction('commit', seen, {})
    expect(refusal(() => planWish(shown, wish('commit', { branch })))).toBe(code)
  })
})

it('tells whoever is refused what speaks against it', () => {
  const shown = transaction('none', {}, { state: 'not listed', answer: 'heuristic-commit' })
  const wish = { decision: 'commit', against: false } as const
  expect(() => planWish({ ...shown, state: 'heuristic' }, wish)).toThrow(
    expect.objectContaining({ hint: expect.stringMatching(/^Another branch of it has committed/) }),
  )
})

describe('carrying it out', () => {
  it('rule 12: abort is in the register, and the word on record, before a branch is touched', async () => {
    const { carryOut, trace, ledger } = world()
    const acted = await carryOut(step('ledger', 'abort', false))
    expect(acted).toMatchObject([{ participant: 'ledger', did: 'rolled-back' }])
    expect(trace.filter((line) => !line.includes('list'))).toEqual([
      'log abort',
      'log roll back ledger by alice',
      'ledger settle abort',
    ])
    expect(ledger.rolledBack.size).toBe(1)
  })

  it('as decided: the branches answer, and the decision ends', async () => {
    const { carryOut, logCommit, log, ledger } = world()
    logCommit()
    const acted = await carryOut(step('ledger', 'commit', false), step('shop', 'commit', false))
    expect(acted.map(({ did }) => did)).toEqual(['committed', 'committed'])
    expect([...ledger.told.values()]).toEqual([{ server: SERVER, only: false }])
    expect(log.pending()).toEqual([])
    expect(log.operators).toMatchObject([
      { ...WORD, action: 'commit', gtrid: GTRID, bqual: 'ledger' },
      { ...WORD, action: 'commit', gtrid: GTRID, bqual: 'shop' },
    ])
  })

  it('a rollback against the log is a heuristic, on record, and keeps the decision', async () => {
    const { carryOut, logCommit, log } = world()
    logCommit()
    const acted = await carryOut(step('shop', 'abort', true))
    expect(acted).toMatchObject([{ participant: 'shop', did: 'heuristic-rollback' }])
    expect(log.operators).toMatchObject([{ action: 'roll back against the log', bqual: 'shop' }])
    expect(log.pending()[0]?.answers.get('shop')).toBe('heuristic-rollback')
  })

  it('a commit against presumed abort is on record, for nothing else tells of it', async () => {
    const { carryOut, log, ledger } = world()
    const acted = await carryOut(step('ledger', 'commit', true))
    expect(acted).toMatchObject([{ participant: 'ledger', did: 'committed-against' }])
    expect(log.operators).toMatchObject([{ action: 'commit against the log', bqual: 'ledger' }])
    expect(ledger.committed.size).toBe(1)
  })

  it('does nothing when the log has come to hold something else than the plan went by', async () => {
    const { carryOut, logCommit, trace, log } = world()
    logCommit()
    await expect(carryOut(step('shop', 'abort', false))).rejects.toMatchObject({
      code: 'AGAINST_DECISION',
    })
    expect(trace.filter((line) => line.includes('settle'))).toEqual([])
    expect(log.operators).toEqual([])
  })

  it('a branch that the logged commit does not name is committed with it, and answers for none', async () => {
    const { carryOut, log, ledger } = world()
    const shop = { participant: 'shop', bqual: 'shop', server: SERVER, marker: false }
    log.add({ gtrid: GTRID, decidedAtMs: 0, branches: [shop] })
    const acted = await carryOut(step('ledger', 'commit', false))
    expect(acted).toEqual([{ participant: 'ledger', bqual: 'ledger', did: 'committed' }])
    expect(ledger.committed.size).toBe(1)
    expect(log.pending()[0]?.answers.size).toBe(0)
  })

  it('a branch of a logged commit that is gone has ended as its proof says', async () => {
    const { carryOut, logCommit, ledger } = world()
    logCommit()
    ledger.prepared.clear()
    ledger.script.proof = { kind: 'rolled-back', by: 'marker' }
    expect(await carryOut(step('ledger', 'commit', false))).toMatchObject([
      { did: 'heuristic-rollback' },
    ])
    ledger.script.proof = { kind: 'look-again' }
    expect(await carryOut(step('ledger', 'commit', false))).toMatchObject([
      { did: undefined, trouble: 'no such branch' },
    ])
  })

  it('tells what could not be done, and what the server said', async () => {
    const { carryOut, shop } = world()
    shop.script.settle = 'later'
    expect(await carryOut(step('shop', 'abort', false))).toEqual([
      { participant: 'shop', bqual: 'shop', did: undefined, trouble: 'busy' },
    ])
  })
})

describe('what may be forgotten', () => {
  const gone = { state: 'not listed' } as const

  it('a heuristic whose branches have all ended', () => {
    const shown = transaction(
      'commit',
      { ...gone, answer: 'committed' },
      { ...gone, answer: 'heuristic-rollback' },
    )
    expect(refusal(() => checkForget(shown, false))).toBe('nothing was refused')
  })

  it('rule 7: not while a branch is prepared, whatever is confirmed', () => {
    const shown = transaction('commit', { ...gone, answer: 'heuristic-rollback' }, {})
    expect(refusal(() => checkForget(shown, true))).toBe('INVALID_OPTION')
  })

  it('rule 7: one that has not answered only when its database is said to be lost', () => {
    const shown = transaction('commit', { ...gone, answer: 'committed' }, { state: 'unreachable' })
    expect(refusal(() => checkForget(shown, false))).toBe('INVALID_OPTION')
    expect(refusal(() => checkForget(shown, true))).toBe('nothing was refused')
  })

  it('nothing that the log forgets by itself', () => {
    const shown = transaction('commit', { ...gone, answer: 'committed' })
    expect(() => checkForget({ ...shown, state: 'settled' }, true)).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('by itself') }),
    )
  })

  it('nothing that was never decided', () => {
    expect(refusal(() => checkForget(transaction('none', {}), true))).toBe('INVALID_OPTION')
  })
})
