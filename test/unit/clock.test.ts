import { describe, expect, it } from 'vitest'
import { LATE, sleep, systemClock, within } from '../../src/clock.ts'

describe('waiting within a limit', () => {
  it('answers what the work answers, in time', async () => {
    expect(await within(systemClock, 1_000, Promise.resolve(7))).toBe(7)
    await expect(within(systemClock, 1_000, Promise.reject(new Error('no')))).rejects.toThrow('no')
  })

  it('answers LATE, and survives a failure that comes afterwards', async () => {
    const work = sleep(systemClock, 20).then(() => {
      throw new Error('too late to matter')
    })
    expect(await within(systemClock, 5, work)).toBe(LATE)
    await sleep(systemClock, 30)
  })

  it('does not fire at once when the limit is longer than a timer can be', async () => {
    let fired = false
    const timer = systemClock.timer(Number.POSITIVE_INFINITY, () => {
      fired = true
    })
    await sleep(systemClock, 5)
    timer.clear()
    expect(fired).toBe(false)
  })
})
