import { EventEmitter } from 'node:events'
import { expect, it } from 'vitest'
import type { MysqlPoolCore, MysqlPromisePool } from '../../../adapters/mysql2/driver-types.ts'
import { Kept } from '../../../adapters/mysql2/kept.ts'

/** What a pool tells of itself; real ones are in test/integration/kept-sessions.test.ts. */
function stage(shape: object) {
  const core = Object.assign(new EventEmitter(), { config: {} }, shape)
  const given: unknown[] = []
  const kept = new Kept({ pool: core } as unknown as MysqlPromisePool, (one, text) =>
    given.push([one, text]),
  )
  const session = (destroyed = false): MysqlPoolCore =>
    ({ stream: { destroyed } }) as unknown as MysqlPoolCore
  return { core, kept, given, session }
}

const FREE = { _connectionQueue: { length: 0 } }

it('keeps nothing where the queue does not show, is not empty, or the pool resets what it gets back', () => {
  const resets = { ...FREE, config: { resetOnRelease: true } }
  for (const shape of [{}, { _connectionQueue: { length: 1 } }, resets]) {
    const { kept, session } = stage(shape)
    expect(kept.admits()).toBe(false)
    expect(kept.keep(session(), 'SET own')).toBe(false)
  }
  const { kept, session } = stage(FREE)
  expect(kept.admits()).toBe(true)
  expect(kept.keep(session(), 'SET own')).toBe(true)
})

it('takes what it kept itself with its limits, and gives it back for others once', () => {
  const { core, kept, given, session } = stage(FREE)
  const one = session()
  kept.keep(one, 'SET own')
  kept.taking(() => core.emit('acquire', one))
  expect(kept.took(one)).toBe('SET own')
  expect(kept.took(one)).toBeUndefined()
  kept.keep(one, 'SET own')
  core.emit('acquire', one)
  core.emit('acquire', one)
  expect(given).toEqual([[one, 'SET own']])
})

it('lets go of the dead, and gives back what lives at its close', () => {
  const { kept, given, session } = stage(FREE)
  for (let n = 0; n < 64; n += 1) kept.keep(session(true), 'SET own')
  const alive = session()
  kept.keep(alive, 'SET own')
  kept.close()
  expect(given).toEqual([[alive, 'SET own']])
  expect(kept.took(alive)).toBeUndefined()
})
