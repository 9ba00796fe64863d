/**
 * What `npm run sim -- --mutants` and `npm run test:log:mutants` break is still there to be broken, by the
 * tests that are named.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { MUTANTS as LOG_MUTANTS } from '../log/mutants.ts'
import { MUTANTS } from '../simulation/mutants.ts'

function source(path: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
}

test.each(MUTANTS)('$rule: $name', (mutant) => {
  for (const { file, find, replace } of [mutant, ...(mutant.also ? [mutant.also] : [])]) {
    expect(source(`src/${file}`).split(find)).toHaveLength(2)
    expect(replace).not.toBe(find)
  }
  if (mutant.test !== undefined) expect(source(mutant.test[0])).toContain(mutant.test[1])
})

test.each(LOG_MUTANTS)('the log: $name', ({ file, find, replace }) => {
  expect(source(`src/log/${file}`).split(find)).toHaveLength(2)
  expect(replace).not.toBe(find)
})

test('every rule is broken', () => {
  const rules = new Set(MUTANTS.map(({ rule }) => rule))
  for (let rule = 1; rule <= 12; rule += 1) expect(rules).toContain(String(rule))
})
