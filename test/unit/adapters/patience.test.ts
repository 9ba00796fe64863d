import { describe, expect, it } from 'vitest'
import { Patience } from '../../../adapters/dialect/patience.ts'
import type { Done } from '../../../adapters/dialect/waiting.ts'
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
