/** Before the first prepare every participant names all: once, durably, and for this incarnation. */
import { expect, it } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { Events } from '../../../src/events.ts'
import { Announcements } from '../../../src/participant/announcements.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { FakeParticipant, type Script } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'

function world(scripts: Record<string, Script>) {
  const fakes = Object.fromEntries(
    Object.entries(scripts).map(([name, script]) => [name, new FakeParticipant([], script)]),
  )
  const told: string[] = []
  for (const [name, fake] of Object.entries(fakes)) {
    const announce = fake.announce.bind(fake)
    fake.announce = (logId, incarnation, names) => {
      told.push(`${name}: ${names.join(' ')}`)
      return announce(logId, incarnation, names)
    }
  }
  const registry = createRegistry(fakes, systemClock, new Events())
  const announcements = new Announcements(registry, new MemoryLog([]))
  const namesIn = (name: string): readonly string[] =>
    [...(fakes[name]?.rows ?? [])].map((row) => row.split(' ')[2] ?? '').sort()
  return { fakes, told, announcements, namesIn }
}

it('each names itself first, then all, and never again', async () => {
  const { announcements, told, namesIn } = world({ a: { markers: true }, b: { markers: true } })
  expect(await announcements.ensure(['b', 'a'])).toBeUndefined()
  expect(told).toEqual(['a: a', 'b: b', 'a: a b', 'b: a b'])
  expect([namesIn('a'), namesIn('b')]).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ])
  expect(announcements.ensure(['a', 'b'])).toBe(undefined)
  expect(told).toHaveLength(4)
})

it('concurrent transactions share one announcement; another set costs its own', async () => {
  const script = { markers: true }
  const { announcements, told, namesIn } = world({ a: script, b: script, c: script })
  await Promise.all([
    announcements.ensure(['a', 'b']),
    announcements.ensure(['b', 'a']),
    announcements.ensure(['a', 'c']),
  ])
  expect(told.sort()).toEqual(['a: a', 'a: a b', 'a: a c', 'b: a b', 'b: b', 'c: a c', 'c: c'])
  expect(namesIn('a')).toEqual(['a', 'b', 'c'])
  expect(namesIn('b')).toEqual(['a', 'b'])
})

it('waits for no participant that is not of the transaction', async () => {
  const { announcements } = world({ a: { markers: true }, b: { markers: true }, c: {} })
  const c = world({ c: { unreachable: true } })
  expect(await announcements.ensure(['a', 'b'])).toBeUndefined()
  expect(await c.announcements.ensure(['c'])).toMatchObject({ participant: 'c' })
})

it('who has no tables is named by the others and holds nothing itself', async () => {
  const { announcements, namesIn } = world({ a: { markers: true }, b: {} })
  expect(await announcements.ensure(['a', 'b'])).toBeUndefined()
  expect([namesIn('a'), namesIn('b')]).toEqual([['a', 'b'], []])
  expect([announcements.isMarked('a'), announcements.isMarked('b')]).toEqual([true, false])
})

it('tables that come while an incarnation lasts stay empty: its earlier branches had no marker', async () => {
  const { announcements, fakes, namesIn } = world({
    a: { markers: true },
    b: {},
    c: { markers: true },
  })
  await announcements.ensure(['a', 'b'])
  if (fakes['b'] !== undefined) fakes['b'].script.markers = true
  await announcements.ensure(['b', 'c'])
  expect(namesIn('b')).toEqual([])
  expect(namesIn('c')).toEqual(['b', 'c'])
})

it('tables that go while an incarnation lasts refuse', async () => {
  const script = { markers: true }
  const { announcements, fakes } = world({ a: script, b: { markers: true }, c: script })
  await announcements.ensure(['a', 'b'])
  if (fakes['b'] !== undefined) fakes['b'].script.markers = false
  expect(await announcements.ensure(['b', 'c'])).toMatchObject({ participant: 'b' })
})

it('a participant that cannot be told refuses, and is told by the next transaction', async () => {
  const { announcements, fakes, namesIn } = world({ a: { markers: true }, b: { markers: true } })
  if (fakes['b'] !== undefined) fakes['b'].script.unreachable = true
  expect(await announcements.ensure(['a', 'b'])).toMatchObject({ participant: 'b' })
  expect(namesIn('a'), 'nobody is named who does not hold rows').toEqual(['a'])
  if (fakes['b'] !== undefined) fakes['b'].script.unreachable = false
  expect(await announcements.ensure(['a', 'b'])).toBeUndefined()
  expect(namesIn('b')).toEqual(['a', 'b'])
})
