/** A sample of seeds with every test run; `npm run sim` runs as many as it is given. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runSeed } from './run.ts'
import { runSeeds } from './seeds.ts'

interface Regression {
  readonly seed: number
  readonly what: string
}

const REGRESSIONS: readonly Regression[] = JSON.parse(
  readFileSync(new URL('regressions.json', import.meta.url), 'utf8'),
)

test('two hundred seeds keep every invariant', async () => {
  const tally = await runSeeds({ first: 1_000_000, count: 200, step: 1, untilFailure: false })
  expect(tally.failures).toEqual([])
  expect(tally.repeated).toBe(2)
}, 120_000)

test.each(REGRESSIONS)('seed $seed: $what', async ({ seed }) => {
  expect((await runSeed(seed)).violation).toBeUndefined()
})

test('another seed leads to other events', async () => {
  expect((await runSeed(1)).hash).not.toBe((await runSeed(2)).hash)
})
