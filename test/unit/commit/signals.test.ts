/** One listener on a signal, however many follow it. */
import { getEventListeners } from 'node:events'
import { expect, it } from 'vitest'
import { follow } from '../../../src/commit/signals.ts'

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

it('many follow a signal through one listener, which goes with the last of them', () => {
  const { signal } = new AbortController()
  const ends = Array.from({ length: 100 }, () => follow(signal, () => undefined))
  expect(listeners(signal)).toBe(1)
  for (const end of ends.slice(1)) end()
  expect(listeners(signal)).toBe(1)
  ends[0]?.()
  expect(listeners(signal)).toBe(0)
  // Ended twice, and followed again.
  ends[0]?.()
  follow(signal, () => undefined)
  ends[0]?.()
  expect(listeners(signal)).toBe(1)
})

it('all who still follow hear of it, once, also when one of them ends as it hears', () => {
  const controller = new AbortController()
  const heard: string[] = []
  const early = follow(controller.signal, () => heard.push('early'))
  const first = follow(controller.signal, () => {
    heard.push('first')
    first()
  })
  follow(controller.signal, () => heard.push('second'))
  early()
  controller.abort()
  expect(heard).toEqual(['first', 'second'])
  expect(listeners(controller.signal)).toBe(0)
})
