import { describe, expect, it } from 'vitest'
import { TurnoverMap } from '../../src/turnover-map.ts'

describe('a map of things that come and go', () => {
  it('holds what a Map would hold, in the same order, over many turnovers', () => {
    const ours = new TurnoverMap<number, string>()
    const model = new Map<number, string>()
    for (let key = 0; key < 5000; key += 1) {
      ours.set(key, `v${key}`)
      model.set(key, `v${key}`)
      // Three of four go soon, every 64th stays for ever.
      const gone = key - 50
      if (gone % 64 !== 0) expect(ours.delete(gone)).toBe(model.delete(gone))
      if (key % 7 === 0) ours.set(key - 3, 'again')
      if (key % 7 === 0) model.set(key - 3, 'again')
      expect(ours.size).toBe(model.size)
      expect(ours.get(key - 3)).toBe(model.get(key - 3))
      expect(ours.has(gone)).toBe(model.has(gone))
    }
    expect([...ours.values()]).toEqual([...model.values()])
  })
})
