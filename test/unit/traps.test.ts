/** docs/traps.md and the tests cannot drift apart: each names what the other has. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** How many rows the measured facts have, by section. */
const ROWS = { T: 11, A: 35, B: 45, E: 21 }
const FOLDERS = ['adapters/contract', 'test/contract', 'test/integration', 'test/unit']

interface Row {
  readonly id: string
  readonly does: string
  readonly tests: readonly string[]
}

const rows: readonly Row[] = readFileSync(join(ROOT, 'docs/traps.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [id = '', , does = '', tests = ''] = line.split(' | ').map((cell) => cell.trim())
    if (!/^\| [TABE]\d+$/.test(id)) return []
    const titles = [...tests.matchAll(/`([^`]+)`/g)].map((found) => found[1] ?? '')
    return [{ id: id.slice(2), does, tests: titles }]
  })

/** The tests of the tests speak of traps that are none. */
const NOT_HERE = /traps\.test\.ts$|^support\//

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !NOT_HERE.test(name))
    .map((name) => readFileSync(join(ROOT, folder, name), 'utf8')),
).join('\n')

const named = new Set(
  [...sources.matchAll(/(['"`])((?:T\d+|[ABE]): (?:(?!\1)[^\n])+)\1/g)].map((one) => one[2] ?? ''),
)

describe('docs/traps.md', () => {
  test.each(Object.entries(ROWS))('has every row of section %s, in order', (section, count) => {
    const wanted = Array.from({ length: count }, (_, at) => `${section}${at + 1}`)
    expect(rows.map(({ id }) => id).filter((id) => id.startsWith(section))).toEqual(wanted)
  })

  test.each(rows)('$id: has a test of that title, or says why not', ({ does, tests }) => {
    if (tests.length === 0) expect(does).toMatch(/^nothing: \w+/)
    for (const title of tests) {
      const literals = ["'", '"', '`'].map((quote) => quote + title + quote)
      expect(
        literals.filter((one) => sources.includes(one)),
        title,
      ).not.toEqual([])
    }
  })

  test('has every test that is named after a trap', () => {
    const listed = new Set(rows.flatMap(({ tests }) => tests))
    expect(named.size).toBeGreaterThan(70)
    expect([...named].filter((title) => !listed.has(title)).join('\n')).toBe('')
  })
})
