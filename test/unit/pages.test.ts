/** The pages for operators say what the code says: every error code, every crash point with its outcome. */
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { type TransactionErrorCode, UnanimousError } from '../../src/errors.ts'
import { FAILPOINTS } from '../../src/failpoint.ts'
import { allCases, type Letter } from '../crash/table.ts'

/** Rows of the page's tables that begin with a word of code. */
async function rowsOf(page: string): Promise<readonly (readonly string[])[]> {
  const text = await readFile(page, 'utf8')
  const lines = text.split('\n').filter((line) => line.startsWith('| `'))
  return lines.map((line) =>
    line.split(' | ').map((cell) => cell.replace(/^\| |^`|`$| \|$/g, '').replace(/^`|`$/g, '')),
  )
}

describe('docs/errors.md', () => {
  it('has every code of the source, once, and no other', async () => {
    const sources = await Promise.all(
      ['src/errors.ts', 'src/protocol/vocabulary.ts'].map((path) => readFile(path, 'utf8')),
    )
    const codes = sources.flatMap((text) =>
      [...text.matchAll(/^ {2}\| '([A-Z_]+)'$/gm)].map(([, code]) => code),
    )
    const listed = (await rowsOf('docs/errors.md')).map(([code]) => code ?? '')
    expect(listed.filter((code) => /^[A-Z_]+$/.test(code)).toSorted(byText)).toEqual(
      codes.toSorted(byText),
    )
  })

  it('gives the exit code that the command line has for each', async () => {
    const rows = (await rowsOf('docs/errors.md')).filter(([, exit]) => /^\d+$/.test(exit ?? ''))
    expect(rows.length).toBeGreaterThan(10)
    for (const [code, exit] of rows) {
      const error = new UnanimousError(code as TransactionErrorCode, 'x')
      expect([code, exitCodeOf(error)]).toEqual([code, Number(exit)])
    }
  })
})

describe('docs/failure-modes.md', () => {
  it('has a row for every crash point, with the outcome that the crash matrix requires', async () => {
    const rows = (await rowsOf('docs/failure-modes.md')).filter(([point]) => point?.includes(':'))
    expect(rows.map(([point]) => point).toSorted(byText)).toEqual([...FAILPOINTS].toSorted(byText))
    for (const [point, , , , outcome] of rows)
      expect([point, outcome]).toEqual([point, required(point ?? '')])
  })
})

function byText(a = '', b = ''): number {
  return a < b ? -1 : Number(a > b)
}

const MEANS: { readonly [L in Letter]: string } = {
  C: 'committed',
  c: 'committed',
  H: 'committed',
  h: 'committed',
  R: 'rolled back',
  r: 'rolled back',
  E: 'either',
  e: 'either',
}

/** When the coordinator is killed there, whatever it was doing: of one transaction, not of many at once. */
function required(point: string): string {
  const letters = allCases().flatMap(({ scenario, instant, fault, required: letter }) =>
    scenario !== 'many' &&
    instant.kind === 'point' &&
    instant.point === point &&
    fault === 'coordinator killed'
      ? [MEANS[letter]]
      : [],
  )
  const all = new Set(letters)
  return all.size === 1 ? (letters[0] ?? '') : 'either'
}
