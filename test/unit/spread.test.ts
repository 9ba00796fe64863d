/** A part of the crash matrix must not leave a whole kind of case out. */
import { expect, test } from 'vitest'
import { spread } from '../crash/spread.ts'
import { allCases, type Case, FAULTS, SCENARIOS, WITHOUT_ROW } from '../crash/table.ts'

test('every failpoint has a row, and no two cases the same title', () => {
  expect(WITHOUT_ROW).toEqual([])
  const titles = allCases().map(({ title }) => title)
  expect(new Set(titles).size).toBe(titles.length)
})

test('a hundred cases have every scenario and fault, and 300 each with each and every failpoint', () => {
  const hundred = spread(allCases(), 100)
  expect(new Set(hundred.map(({ scenario }) => scenario))).toEqual(new Set(SCENARIOS))
  expect(new Set(hundred.map(({ fault }) => fault))).toEqual(new Set(FAULTS))
  const more = spread(allCases(), 300)
  const pairs = new Set(more.map(({ scenario, fault }) => `${scenario}, ${fault}`))
  expect(pairs.size).toBe(SCENARIOS.length * FAULTS.length)
  expect(points(more)).toEqual(points(allCases()))
})

function points(cases: readonly Case[]): ReadonlySet<string> {
  return new Set(cases.flatMap(({ instant }) => (instant.kind === 'point' ? [instant.point] : [])))
}
