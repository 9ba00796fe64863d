/** Runs a range of seeds in this process. */
import { messageOf } from '../../src/errors.ts'
import { runSeed } from './run.ts'
import { addFailure, addResult, newTally, type Tally } from './tally.ts'

export interface SeedRange {
  readonly first: number
  readonly count: number
  /** From one seed to the next, so that processes can share a range. */
  readonly step: number
  /** Ends at the first failure. */
  readonly untilFailure: boolean
}

/** One seed of a hundred is run twice: the same seed must lead to the same events. */
const REPEATED = 100

export async function runSeeds(
  range: SeedRange,
  onProgress?: (tally: Tally) => void,
): Promise<Tally> {
  const tally = newTally()
  const before = process.cpuUsage()
  let unhandled: unknown
  const onUnhandled = (cause: unknown): void => {
    unhandled = cause
  }
  process.on('unhandledRejection', onUnhandled)
  try {
    for (let index = 0; index < range.count; index += 1) {
      const seed = range.first + index * range.step
      const result = await runSeed(seed)
      addResult(tally, result)
      if (index % REPEATED === 0) {
        const again = await runSeed(seed)
        if (again.hash === result.hash) tally.repeated += 1
        else addFailure(tally, seed, `the same seed led to other events: ${again.hash}`)
      }
      // Between two seeds Node tells of rejections that nobody handled.
      await new Promise((resolve) => setImmediate(resolve))
      if (unhandled !== undefined) {
        addFailure(tally, seed, `an unhandled rejection: ${messageOf(unhandled)}`)
        unhandled = undefined
      }
      if (range.untilFailure && tally.failures.length > 0) break
      if (index % 500 === 499) onProgress?.(tally)
    }
  } finally {
    process.off('unhandledRejection', onUnhandled)
  }
  const { user, system } = process.cpuUsage(before)
  tally.cpuMs = (user + system) / 1000
  return tally
}
