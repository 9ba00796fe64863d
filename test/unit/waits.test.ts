import { describe, expect, it } from 'vitest'
import { LATE } from '../../src/clock.ts'
import { Waits } from '../../src/waits.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

function world({ holds = false } = {}) {
  const clock = new VirtualClock()
  const late: string[] = []
  const waits = new Waits(clock, 100, holds)
  const begin = (name: string) =>
    waits.begin(() => late.push(`${name} at ${clock.monotonic() % 1_000}`))
  return { clock, late, waits, begin }
}

describe('waits that are all as long', () => {
  it('are over each in its own time, on one timer', async () => {
    const { clock, late, begin } = world()
    begin('first')
    await clock.advance(60)
    const cleared = begin('cleared')
    begin('second')
    expect(clock.waiting).toBe(1)
    cleared.clear()
    cleared.clear()
    await clock.advance(200)
    expect(late).toEqual(['first at 100', 'second at 160'])
    expect(clock.waiting).toBe(0)
  })

  it('are over in time when the oldest was cleared, and when one that was late begins another', async () => {
    const { clock, late, waits, begin } = world()
    begin('cleared').clear()
    await clock.advance(50)
    waits.begin(() => begin('third'))
    await clock.advance(50)
    begin('second')
    await clock.advance(300)
    expect(late).toEqual(['second at 200', 'third at 250'])
  })

  it('are over in time although the one before threw', async () => {
    const { clock, late, waits, begin } = world()
    waits.begin(() => {
      throw new Error('not ours')
    })
    await clock.advance(10)
    begin('second')
    await expect(clock.advance(90)).rejects.toThrow('not ours')
    await clock.advance(10)
    expect(late).toEqual(['second at 110'])
  })

  it('leave their timer to those who come, unless it would keep the process', () => {
    const [left, held] = [world(), world({ holds: true })]
    left.begin('one').clear()
    expect(left.clock.waiting).toBe(1)
    const [one, other] = [held.begin('one'), held.begin('other')]
    one.clear()
    expect(held.clock.waiting).toBe(1)
    other.clear()
    expect(held.clock.waiting).toBe(0)
  })

  it('answer what comes in time, its failure too, and that it was late', async () => {
    const { clock, waits } = world({ holds: true })
    expect(await waits.within(Promise.resolve(7))).toBe(7)
    await expect(waits.within(Promise.reject(new Error('failed')))).rejects.toThrow('failed')
    const waited = waits.within(new Promise<never>(() => undefined))
    await clock.advance(100)
    expect(await waited).toBe(LATE)
    expect(clock.waiting).toBe(0)
  })
})
