import { describe, expect, it } from 'vitest'
import { checkOptions, type TransactionOptions } from '../../../src/commit/options.ts'

const NAMES = new Set(['ledger', 'shop'])
const check = (options: TransactionOptions) => checkOptions(options, NAMES, 30_000)

describe('the options of a transaction', () => {
  it('have defaults', () => {
    const options = check({})
    expect(options).toMatchObject({ name: undefined, timeoutMs: 30_000, settle: 'awaited' })
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

  it('retry only on demand, with pauses of their own', () => {
    expect(check({}).retry.attempts).toBe(1)
    expect(check({ retry: { attempts: 3 } }).retry).toEqual({
      attempts: 3,
      minDelayMs: 20,
      maxDelayMs: 2_000,
    })
    expect(check({ retry: { attempts: 3, minDelayMs: 9_000 } }).retry.maxDelayMs).toBe(9_000)
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
    ['meta that is no JSON', { meta: () => 1 }, 'INVALID_OPTION'],
    ['a name that is no text', { name: 5 }, 'INVALID_OPTION'],
    ['a signal that is none', { signal: {} }, 'INVALID_OPTION'],
    ['a time-out of nothing', { timeoutMs: 0 }, 'INVALID_OPTION'],
    ['a time-out that is no number', { timeoutMs: Number.NaN }, 'INVALID_OPTION'],
    ['a time-out that timers cannot hold', { timeoutMs: 2 ** 31 }, 'INVALID_OPTION'],
    ['an unknown isolation level', { isolation: 'chaos' }, 'INVALID_OPTION'],
    ['an unknown propagation', { propagation: 'mandatory' }, 'INVALID_OPTION'],
    ['an unknown settle', { settle: 'later' }, 'INVALID_OPTION'],
    ['a retry that is no object', { retry: 3 }, 'INVALID_OPTION'],
    ['a retry without attempts', { retry: {} }, 'INVALID_OPTION'],
    ['a retry of none', { retry: { attempts: 0 } }, 'INVALID_OPTION'],
    ['a retry for ever', { retry: { attempts: 1e6 } }, 'INVALID_OPTION'],
    ['a pause that is negative', { retry: { attempts: 2, minDelayMs: -1 } }, 'INVALID_OPTION'],
    [
      'a longest pause that is the shortest',
      { retry: { attempts: 2, minDelayMs: 9, maxDelayMs: 8 } },
      'INVALID_OPTION',
    ],
    ['an unknown participant', { isolation: { lager: 'serializable' } }, 'PARTICIPANT_UNKNOWN'],
    ['an unknown read-only participant', { readOnly: ['lager'] }, 'PARTICIPANT_UNKNOWN'],
  ])('refuse %s, before anything has begun', (_, options, code) => {
    expect(() => check(options as TransactionOptions)).toThrow(
      expect.objectContaining({ code, outcome: 'rolled-back', hint: expect.any(String) }),
    )
  })
})
