import { describe, expect, it } from 'vitest'
import {
  ABORTABLE,
  TRANSACTION_TRANSITIONS,
  type TransactionState,
  transition,
} from '../../../src/protocol/transaction-state.ts'

const STATES = Object.keys(TRANSACTION_TRANSITIONS) as TransactionState[]

/** Every state that can follow, at any distance. */
function reachable(from: TransactionState): Set<TransactionState> {
  const seen = new Set<TransactionState>()
  const open = [from]
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (const next of TRANSACTION_TRANSITIONS[state]) {
      if (!seen.has(next)) open.push(next)
      seen.add(next)
    }
  }
  return seen
}

describe('the state table of a global transaction', () => {
  it('enters committing only from deciding, or from a force that was late', () => {
    const sources = STATES.filter((state) => TRANSACTION_TRANSITIONS[state].includes('committing'))
    expect(sources).toEqual(['deciding', 'in-doubt'])
  })

  it('never reverses a durable decision', () => {
    for (const end of ['aborting', 'rolled-back'] as const) {
      expect(reachable('committing')).not.toContain(end)
      expect(reachable('in-doubt')).not.toContain(end)
    }
  })

  it('lets nothing abort from outside once the decision was handed over', () => {
    for (const state of ABORTABLE) expect(TRANSACTION_TRANSITIONS[state]).toContain('aborting')
    expect(ABORTABLE).toEqual(['active', 'preparing'])
  })

  it('ends every path', () => {
    for (const state of STATES) {
      const ends = [state, ...reachable(state)].filter(
        (s) => TRANSACTION_TRANSITIONS[s].length === 0,
      )
      expect(ends.length, state).toBeGreaterThan(0)
    }
  })

  it('throws for every step that the table does not have', () => {
    for (const from of STATES) {
      for (const to of STATES) {
        if (TRANSACTION_TRANSITIONS[from].includes(to)) expect(transition(from, to)).toBe(to)
        else expect(() => transition(from, to)).toThrow('invariant broken')
      }
    }
  })
})
