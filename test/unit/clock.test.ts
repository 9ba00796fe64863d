import * as vm from 'node:vm'
import { describe, expect, it } from 'vitest'
import { isPending, LATE, sleep, systemClock, within } from '../../src/clock.ts'

it('sees what is still to come, of whatever class of promises it is', () => {
  class Other<T> extends Promise<T> {}
  expect([Promise.resolve(7), Other.resolve(7)].map(isPending)).toEqual([true, true])
  const { promise }: { promise: object } = { promise: vm.runInNewContext('Promise.resolve(7)') }
  expect(isPending(promise)).toBe(true)
  expect(['wrote', undefined, null, 7, { code: 'CALLBACK_FAILED' }].map(isPending)).not.toContain(
    true,
  )
})

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
