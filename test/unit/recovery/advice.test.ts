/** The words that an operator reads at night: what each choice would do, and what happened before. */
import { describe, expect, it } from 'vitest'
import {
  answeredAdvice,
  choicesOf,
  resolutionAdvice,
  transactionAdvice,
  unseenAdvice,
} from '../../../src/recovery/advice.ts'
import { historyOf } from '../../../src/recovery/history.ts'
import type { InspectedBranch, InspectedTransaction } from '../../../src/recovery/inspection.ts'

const GTRID = 'una1-0000000000000000-1.00000000-1'
const LEAVE = { action: 'leave', why: '' } as const

function transaction(
  decision: 'commit' | 'none',
  ledger: Partial<InspectedBranch>,
  shop: Partial<InspectedBranch>,
): InspectedTransaction {
  const branch = { state: 'prepared', advice: LEAVE } as const
  return {
    gtrid: GTRID,
    state: 'unsettled',
    decision,
    branches: [
      { ...branch, participant: 'ledger', bqual: 'ledger', ...ledger },
      { ...branch, participant: 'shop', bqual: 'shop.7', ...shop },
    ],
    advice: LEAVE,
  }
}

describe('what ending it by hand would do', () => {
  const ended = { state: 'not listed' } as const

  it('nothing, where nothing is prepared', () => {
    const { commit, rollBack } = choicesOf(transaction('commit', ended, ended), false)
    expect([commit, rollBack]).toEqual([expect.stringMatching(/^nothing is prepared/), commit])
  })

  it.each([
    [true, 'as decided: the running coordinator does it'],
    [false, 'as decided: `unanimous recover --apply` does it'],
  ])('as decided, and whose work that is (owner: %s)', (hasOwner, commit) => {
    expect(choicesOf(transaction('commit', {}, {}), hasOwner).commit).toBe(commit)
  })

  it.each([
    [{}, 'the other branches commit'],
    [{ ...ended, answer: 'committed' } as const, 'ledger has committed'],
  ])('split what the log has decided', (ledger, split) => {
    expect(choicesOf(transaction('commit', ledger, {}), false).rollBack).toBe(
      `against the log, and splits the transaction: ${split}`,
    )
  })

  it('follow or contradict the hand that was there before', () => {
    const choices = choicesOf(
      transaction('none', { ...ended, answer: 'heuristic-commit' }, {}),
      false,
    )
    expect(choices.commit).toMatch(/^against the log, and follows ledger/)
    expect(choices.rollBack).toMatch(/stays split: ledger has committed$/)
  })

  it('contradict a coordinator that may still decide', () => {
    const { commit, rollBack } = choicesOf(transaction('none', {}, {}), true)
    expect(new Set([commit, rollBack])).toEqual(
      new Set(['may contradict what the running coordinator decides']),
    )
  })

  it('as presumed, with what it takes to commit instead', () => {
    const { commit, rollBack } = choicesOf(transaction('none', {}, {}), false)
    expect(commit).toMatch(/^against the log: unless ledger and shop and every other branch commit/)
    expect(rollBack).toBe('as presumed: `unanimous recover --apply` does it')
  })
})

describe('advice', () => {
  it('leaves what no list has shown to the process that holds the log', () => {
    const advice = unseenAdvice('not asked', { pid: 4121, host: 'pay-1', sinceMs: 0 })
    expect(advice).toMatchObject({ action: 'leave', why: expect.stringContaining('4121') })
  })

  it('for the whole is the most urgent of its branches, and all of them in that order', () => {
    const { branches } = transaction(
      'commit',
      { advice: { action: 'prove', why: 'gone' } },
      { advice: { action: 'commit', why: 'logged' } },
    )
    expect(transactionAdvice(branches)).toEqual({
      action: 'commit',
      why: 'commit shop: logged; prove ledger: gone',
    })
  })

  it('reports what the log cannot speak for', () => {
    expect(resolutionAdvice('unrecorded').action).toBe('report')
    expect(answeredAdvice('heuristic-hazard')).toMatchObject({
      action: 'report',
      why: expect.stringContaining('restarted'),
    })
  })
})

describe('history', () => {
  const by = { who: 'alice', host: 'pay-1', reason: 'ticket 17' }

  it('is in the order in which it happened, with who did what', () => {
    const seen = transaction(
      'commit',
      { preparedAtMs: 10, answer: 'committed', answeredAtMs: 40 },
      { preparedAtMs: 20, answer: 'committed' },
    )
    const history = historyOf(GTRID, { ...seen, decidedAtMs: 30 }, [
      { ...by, atMs: 60, action: 'forget', gtrid: GTRID },
      { ...by, atMs: 50, action: 'commit', gtrid: GTRID, bqual: 'shop.7' },
      { ...by, atMs: 55, action: 'roll back', gtrid: `${GTRID}0`, bqual: 'shop.7' },
      { ...by, atMs: 70, action: 'adopt', gtrid: GTRID, bqual: '' },
    ])
    expect(history).toEqual([
      { atMs: 10, kind: 'prepared', participant: 'ledger', what: 'prepared' },
      { atMs: 20, kind: 'prepared', participant: 'shop', what: 'prepared' },
      { atMs: 30, kind: 'decided', what: 'commit' },
      { atMs: 40, kind: 'answered', participant: 'ledger', what: 'committed' },
      { ...by, atMs: 50, kind: 'operator', participant: 'shop', what: 'commit' },
      { ...by, atMs: 60, kind: 'operator', what: 'forget' },
      { ...by, atMs: 70, kind: 'operator', what: 'adopt' },
    ])
  })

  it('is what operators did, of a transaction that nothing else knows', () => {
    const note = { ...by, atMs: 1, action: 'forget', gtrid: GTRID }
    expect(historyOf(GTRID, undefined, [note])).toHaveLength(1)
    expect(historyOf(GTRID, transaction('none', {}, {}), [])).toEqual([])
  })
})
