import { describe, expect, it } from 'vitest'
import { Patience } from '../../../adapters/dialect/patience.ts'
import type { Done } from '../../../adapters/dialect/waiting.ts'
import { systemClock } from '../../../src/clock.ts'
import { messageOf } from '../../../src/errors.ts'
import { ManualClock } from '../../support/test-log.ts'

function asked(patience: Patience): { answer: Promise<number>; done: Done<number> } {
  let done: Done<number> = () => undefined
  const answer = patience.ask<number>((given) => {
    done = given
  })
  return { answer, done: (cause, value) => done(cause, value) }
}

describe('patience with a server', () => {
  it('passes the answer on, or the error', async () => {
    const patience = new Patience(new ManualClock(), 100)
    const [one, other] = [asked(patience), asked(patience)]
    one.done(null, 7)
    other.done(new Error('refused'))
    expect(await one.answer).toBe(7)
    await expect(other.answer).rejects.toThrow('refused')
  })

  it('ends each wait in its own time, on one timer', async () => {
    const clock = new ManualClock()
    const patience = new Patience(clock, 100)
    const ends: string[] = []
    const note = (name: string, { answer }: { answer: Promise<number> }): Promise<void> =>
      answer.then(
        () => void ends.push(`${name} answered`),
        (cause: unknown) => void ends.push(`${name}: ${messageOf(cause)}`),
      )
    const first = asked(patience)
    clock.advance(60)
    const second = asked(patience)
    const third = asked(patience)
    expect(clock.waiting).toBe(1)
    const all = [note('first', first), note('second', second), note('third', third)]
    clock.advance(40)
    await all[0]
    expect(ends).toEqual(['first: no answer within 100 ms'])
    third.done(null, 3)
    clock.advance(59)
    await all[2]
    expect(ends).toHaveLength(2)
    clock.advance(1)
    await Promise.all(all)
    expect(ends).toEqual([
      'first: no answer within 100 ms',
      'third answered',
      'second: no answer within 100 ms',
    ])
    expect(clock.waiting).toBe(0)
  })

  it('hears nothing of an answer that comes too late', async () => {
    const clock = new ManualClock()
    const { answer, done } = asked(new Patience(clock, 100))
    clock.advance(100)
    done(null, 1)
    await expect(answer).rejects.toThrow('no answer within 100 ms')
  })
})

describe('patience with what may take its time', () => {
  /** @param looks - whether the session is idle, look by look; then the answer comes */
  async function heardAfter(...looks: boolean[]): Promise<{ heard: unknown; looked: number }> {
    let answer: (value: number) => void = () => undefined
    const asked = new Promise<number>((resolve) => {
      answer = resolve
    })
    let looked = 0
    const isDone = async (): Promise<boolean> => {
      const isIdle = looks[looked]
      looked += 1
      if (isIdle === undefined) answer(7)
      return isIdle ?? false
    }
    const waited = new Patience(systemClock, 5).askLong(isDone, asked)
    return { heard: await waited.catch(messageOf), looked }
  }

  it('gives up what its session was idle without, twice in a row', async () => {
    expect(await heardAfter(false, true, true, true)).toEqual({
      heard: 'no answer, and the session is idle',
      looked: 3,
    })
  })

  it('waits on where the packet was read only after a look, or the look fails', async () => {
    expect(await heardAfter(true, false, true, false)).toEqual({ heard: 7, looked: 5 })
    const failing = new Patience(systemClock, 5)
    let answer: (value: number) => void = () => undefined
    const asked = new Promise<number>((resolve) => {
      answer = resolve
    })
    let looked = 0
    const heard = failing.askLong(async () => {
      looked += 1
      if (looked === 4) answer(7)
      throw new Error('out of reach')
    }, asked)
    expect(await heard).toBe(7)
  })

  it('lets an answer that is there wait for no look', async () => {
    let answer: (value: number) => void = () => undefined
    const asked = new Promise<number>((resolve) => {
      answer = resolve
    })
    const isDone = (): Promise<boolean> => {
      setImmediate(() => answer(7))
      return new Promise(() => undefined)
    }
    expect(await new Patience(systemClock, 5).askLong(isDone, asked)).toBe(7)
  })
})
