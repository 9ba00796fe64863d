/** A sample of the storage-fault suite and of the fuzzer; whole: `npm run test:log`. */
import { describe, expect, it } from 'vitest'
import { fuzz } from '../../log/fuzz.ts'
import { runSuite } from '../../log/main.ts'

describe('storage faults, sampled', { timeout: 60_000 }, () => {
  it.each([
    ['damage', 4999],
    ['torn', 1999],
    ['crash', 29],
    ['faults', 47],
  ])('%s', async (section, sample) => {
    const tally = await runSuite(sample, 0, [section])
    expect(tally.total).toBeGreaterThan(80)
    expect(tally.examples).toEqual([])
    expect(tally.failureCount).toBe(0)
  })

  it('what is no log of ours', () => {
    const result = fuzz(1_000_000, 20_260_101, 1500)
    expect(result.inputs).toBeGreaterThan(1000)
    expect(result.accepted).toBeGreaterThan(result.inputs / 100)
    expect(result.failures).toEqual([])
    expect(result.largestAllocation).toBeLessThanOrEqual(8 * 4096)
  })
})
