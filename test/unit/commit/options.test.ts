import { describe, expect, it } from 'vitest'
import { checkOptions, type TransactionOptions } from '../../../src/commit/options.ts'

const NAMES = new Set(['ledger', 'shop'])
const check = (options: TransactionOptions) => checkOptions(options, NAMES, 30_000)

describe('the options of a transaction', () => {
  it('have defaults', () => {
    const options = check({})
    expect(options).toMatchObject({ name: undefined, meta: undefined, timeoutMs: 30_000 })
    expect(options.isolation('ledger')).toBeUndefined()
    expect(options.isReadOnly('ledger')).toBe(false)
  })

  it('take one isolation level for all, or one by participant', () => {
    expect(check({ isolation: 'serializable' }).isolation('shop')).toBe('serializable')
    const some = check({ isolation: { shop: 'repeatable read' } })
    expect([some.isolation('ledger'), some.isolation('shop')]).toEqual([
      undefined,
      'repeatable read',
    ])
  })

  it('accept the longest name and meta, and Infinity', () => {
    check({
      name: 'n'.repeat(128),
      meta: { k: 'm'.repeat(1024 - 8) },
      timeoutMs: Number.POSITIVE_INFINITY,
    })
  })

  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic
  it.each([
    ['a name too long', { name: 'n'.repeat(129) }, 'INVALID_OPTION'],
    ['a name too long in bytes', { name: 'é'.repeat(65) }, 'INVALID_OPTION'],
    ['meta too long', { meta: { k: 'm'.repeat(1024) } }, 'INVALID_OPTION'],
    ['meta with a cycle', { meta: cyclic }, 'INVALID_OPTION'],
    ['a time-out of nothing', { timeoutMs: 0 }, 'INVALID_OPTION'],
    ['a time-out that is no number', { timeoutMs: Number.NaN }, 'INVALID_OPTION'],
    ['a time-out that timers cannot hold', { timeoutMs: 2 ** 31 }, 'INVALID_OPTION'],
    ['an unknown isolation level', { isolation: 'chaos' }, 'INVALID_OPTION'],
    ['an unknown participant', { isolation: { lager: 'serializable' } }, 'PARTICIPANT_UNKNOWN'],
    ['an unknown read-only participant', { readOnly: ['lager'] }, 'PARTICIPANT_UNKNOWN'],
  ])('refuse %s, before anything has begun', (_, options, code) => {
    expect(() => check(options as TransactionOptions)).toThrow(
      expect.objectContaining({ code, outcome: 'rolled-back', hint: expect.any(String) }),
    )
  })
})
