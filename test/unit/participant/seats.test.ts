/** Who may ask a pool for a connection: two pools cannot starve each other. */
import { describe, expect, it } from 'vitest'
import { type Claim, Seats } from '../../../src/participant/seats.ts'

const SIZE = 3

function world() {
  const seats = new Seats()
  const claim = (name: string, size = SIZE): Claim => seats.claim(name, size)
  const admitted = (...claims: readonly Claim[]) => claims.map((one) => one.admitted)
  return { claim, admitted }
}

describe('seats', () => {
  it('are all free while only one pool is in demand', () => {
    const { claim, admitted } = world()
    expect(admitted(claim('a'), claim('a'), claim('a'), claim('a'))).toEqual([
      true,
      true,
      true,
      false,
    ])
  })

  it('of two pools are never all taken by those who hold nothing', () => {
    const { claim, admitted } = world()
    const [a1, a2, a3] = [claim('a'), claim('a'), claim('a')]
    const [b1, b2, b3] = [claim('b'), claim('b'), claim('b')]
    expect(admitted(a1, a2, a3, b1, b2, b3)).toEqual([true, true, true, true, true, false])
    // The full pool has a free seat again: now the other may be full.
    a1.leave()
    expect(b3.admitted).toBe(true)
    const a4 = claim('a')
    expect(a4.admitted).toBe(false)
    b1.leave()
    expect(a4.admitted).toBe(true)
  })

  it('are given in the order in which they were asked for', async () => {
    const { claim } = world()
    const first = claim('a', 1)
    const told: string[] = []
    const [second, third] = [claim('a', 1), claim('a', 1)]
    const all = [
      second.whenAdmitted().then(() => told.push('second')),
      third.whenAdmitted().then(() => told.push('third')),
    ]
    first.leave()
    await all[0]
    expect([told, third.admitted]).toEqual([['second'], false])
    second.leave()
    await Promise.all(all)
    expect(told).toEqual(['second', 'third'])
  })

  it('are not needed by who has come by a connection elsewhere', async () => {
    const { claim, admitted } = world()
    const held = claim('a', 1)
    const waiting = claim('a', 1)
    const heard = waiting.whenAdmitted()
    waiting.waive()
    await heard
    // It took none: the next one is admitted when the holder leaves.
    const next = claim('a', 1)
    waiting.leave()
    expect(admitted(waiting, next)).toEqual([true, false])
    held.leave()
    expect(next.admitted).toBe(true)
  })

  it('are left once, by whoever waits as by whoever sits', () => {
    const { claim } = world()
    const held = claim('a', 1)
    const gaveUp = claim('a', 1)
    gaveUp.leave()
    gaveUp.leave()
    held.leave()
    held.leave()
    const [next, after] = [claim('a', 1), claim('a', 1)]
    expect([next.admitted, after.admitted, gaveUp.admitted]).toEqual([true, false, false])
  })

  it('of a pool without a limit are never short', () => {
    const { claim } = world()
    claim('b', 1)
    const many = Array.from({ length: 100 }, () => claim('a', Number.POSITIVE_INFINITY))
    expect(many.every(({ admitted }) => admitted)).toBe(true)
  })
})
