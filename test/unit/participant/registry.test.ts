import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { Events } from '../../../src/events.ts'
import {
  createRegistry,
  type Participants,
  RESERVED_NAMES,
} from '../../../src/participant/registry.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'

const create = (names: readonly string[]) =>
  createRegistry(
    Object.fromEntries(names.map((name) => [name, new FakeParticipant([])])) as Participants,
    systemClock,
    new Events(),
  )

describe('the names of participants', () => {
  it('are kept as they are', () => {
    expect([...create(['ledger', 'shop_2', 'a-b']).keys()]).toEqual(['ledger', 'shop_2', 'a-b'])
  })

  it.each(['', 'with space', 'dot.ted', "qu'ote", '7up', 'n'.repeat(41), 'größe'])(
    'refuse %j with what a name may be',
    (name) => {
      expect(() => create([name])).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION', hint: expect.stringContaining('40') }),
      )
    },
  )

  it.each(RESERVED_NAMES)('refuse %s, which the transaction object uses', (name) => {
    expect(() => create([name])).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })

  it('refuse an empty configuration and what is no adapter', () => {
    expect(() => create([])).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    const pool = { query: () => undefined } as unknown as FakeParticipant
    expect(() => createRegistry({ ledger: pool }, systemClock, new Events())).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTION',
        hint: expect.stringContaining('postgres(pool)'),
      }),
    )
  })
})
