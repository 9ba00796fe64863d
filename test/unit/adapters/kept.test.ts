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

it('keeps nothing where the queue does not show, is not empty, or the pool resets or tells of connections', () => {
  const resets = { ...FREE, config: { resetOnRelease: true } }
  const stages = [{}, { _connectionQueue: { length: 1 } }, resets].map((shape) => stage(shape))
  for (const event of ['acquire', 'release']) {
    const heard = stage(FREE)
    heard.core.on(event, () => undefined)
    stages.push(heard)
  }
  for (const { kept, session } of stages) {
    expect(kept.admitsNext()).toBe(false)
    expect(kept.keep(session(), 'SET own')).toBe(false)
  }
  const { kept, session } = stage(FREE)
  expect(kept.admitsNext()).toBe(true)
  expect(kept.keep(session(), 'SET own')).toBe(true)
  expect(kept.admitsNext()).toBe(true)
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
  const { core, kept, given, session } = stage(FREE)
  for (let n = 0; n < 64; n += 1) kept.keep(session(true), 'SET own')
  const alive = session()
  kept.keep(alive, 'SET own')
  kept.close()
  expect(given).toEqual([[alive, 'SET own']])
  expect(kept.took(alive)).toBeUndefined()
  expect(kept.keep(session(), 'SET own')).toBe(false)
  expect(core.listenerCount('acquire')).toBe(0)
})

it('gives back what it kept once somebody else listens', () => {
  const { core, kept, given, session } = stage(FREE)
  const one = session()
  kept.keep(one, 'SET own')
  core.on('release', () => undefined)
  expect(kept.keep(session(), 'SET own')).toBe(false)
  expect(given).toEqual([[one, 'SET own']])
})
