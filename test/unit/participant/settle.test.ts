import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { Events } from '../../../src/events.ts'
import { Settlements } from '../../../src/participant/settle.ts'
import type { BranchRecord } from '../../../src/protocol/vocabulary.ts'
import { SERVER } from '../../support/fake-participant.ts'
import { settle } from '../../support/virtual-clock.ts'

const BRANCHES: readonly BranchRecord[] = [
  { participant: 'ledger', bqual: 'ledger', server: SERVER, marker: true },
  { participant: 'shop', bqual: 'shop.7', server: SERVER, marker: false },
]

function world() {
  const calls: string[] = []
  let fail = false
  let durable: () => void = () => undefined
  const log = {
    answered: (_: string, bqual: string, answer: string) => {
      calls.push(`${bqual} ${answer}`)
    },
    end: async () => {
      calls.push('end')
      if (fail) throw new Error('poisoned')
      await new Promise<void>((resolve) => {
        durable = resolve
      })
    },
  }
  const ended: [string, readonly string[]][] = []
  const events = new Events()
  const settlements = new Settlements(log, events, systemClock, (...args) => ended.push(args))
  return {
    calls,
    ended,
    events,
    settlements,
    poison: () => {
      fail = true
    },
    makeDurable: () => durable(),
  }
}

describe('the answers of a commit', () => {
  it('rule 7: end it only when every branch has answered', () => {
    const { settlements, calls } = world()
    settlements.follow('g', BRANCHES)
    settlements.answer('g', 'ledger', 'committed', 'live')
    expect(calls).toEqual(['ledger committed'])
    settlements.answer('g', 'shop.7', 'committed-unproven', 'recovery')
    expect(calls).toEqual(['ledger committed', 'shop.7 committed-unproven', 'end'])
  })

  it('free the markers only when the end is durable, and only where there are any', async () => {
    const { settlements, ended, makeDurable } = world()
    settlements.follow('g', BRANCHES)
    settlements.answer('g', 'ledger', 'committed', 'live')
    settlements.answer('g', 'shop.7', 'committed', 'live')
    await settle()
    expect(ended).toEqual([])
    expect(settlements.isNeeded('g')).toBe(true)
    makeDurable()
    await settle()
    expect(ended).toEqual([['g', ['ledger']]])
    expect(settlements.isNeeded('g')).toBe(false)
  })

  it('keep the markers when the end cannot be written', async () => {
    const { settlements, ended, poison } = world()
    settlements.follow('g', BRANCHES)
    poison()
    settlements.answer('g', 'ledger', 'committed', 'live')
    settlements.answer('g', 'shop.7', 'committed', 'live')
    await settle()
    expect(ended).toEqual([])
    expect(settlements.isNeeded('g')).toBe(true)
  })

  it('confirm a commit once one database is known to hold it', () => {
    const { settlements } = world()
    expect(settlements.isConfirmed('g')).toBe(false)
    settlements.follow('g', BRANCHES)
    settlements.answer('g', 'shop.7', 'committed-unproven', 'recovery')
    expect(settlements.isConfirmed('g')).toBe(false)
    settlements.answer('g', 'ledger', 'committed', 'recovery')
    expect(settlements.isConfirmed('g')).toBe(true)
  })

  it('count once: a second answer of a branch changes nothing', () => {
    const { settlements, calls } = world()
    settlements.follow('g', BRANCHES)
    settlements.answer('g', 'ledger', 'heuristic-hazard', 'recovery')
    settlements.answer('g', 'ledger', 'committed', 'recovery')
    settlements.answer('g', 'shop.7', 'committed', 'live')
    expect(calls).toEqual(['ledger heuristic-hazard', 'shop.7 committed'])
    expect(settlements.answersOf('g')).toEqual(['heuristic-hazard', 'committed'])
  })

  it('go on from what the log already holds', () => {
    const { settlements, calls } = world()
    settlements.follow('g', BRANCHES, new Map([['ledger', 'committed' as const]]))
    settlements.answer('g', 'shop.7', 'committed', 'recovery')
    expect(calls).toEqual(['shop.7 committed', 'end'])
  })

  it('end a decision whose crash came between the last answer and the end', () => {
    const { settlements, calls } = world()
    const answers = BRANCHES.map(({ bqual }) => [bqual, 'committed'] as const)
    settlements.follow('g', BRANCHES, new Map(answers))
    expect(calls).toEqual(['end'])
  })
})
