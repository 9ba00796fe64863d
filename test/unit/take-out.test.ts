/** Every trap has its turn in `npm run test:takeout`. That what it takes out is there is one of tidy's rules. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { editsOf, TAKE_OUTS } from '../../scripts/take-out/all.ts'

function source(path: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
}

test.each(TAKE_OUTS)('$trap: $what: without it the file is another one', (one) => {
  for (const { from, to } of editsOf(one)) expect(to).not.toBe(from)
})

/** Rows of docs/traps.md that bear on a decision, and their tests. */
const rows = source('docs/traps.md')
  .split('\n')
  .flatMap((line) => {
    const [id = '', , does = '', tests = ''] = line.split(' | ').map((cell) => cell.trim())
    if (!/^\| [TABE]\d+$/.test(id) || does.startsWith('nothing: ')) return []
    return [
      { id: id.slice(2), tests: [...tests.matchAll(/`([^`]+)`/g)].map((one) => one[1] ?? '') },
    ]
  })

/** Nothing of ours stands there that could be taken out, and why. */
const NOTHING_TO_TAKE_OUT: Readonly<Record<string, string>> = {
  A3: 'shorter by construction: test/unit/xid.test.ts',
  A12: 'allowed: nothing stands in its way',
  B1: 'shorter by construction: test/unit/xid.test.ts',
  B2: 'no gtrid of ours is empty: test/unit/xid.test.ts',
  B11: 'the refusal is the server’s own',
  B15: 'the answer is the server’s own',
  E18: 'the refusal is the server’s own',
}

test.each(rows)('$id: a test of the row must miss what is taken out', ({ id, tests }) => {
  const missed = TAKE_OUTS.some(({ test: title }) => tests.some((one) => one.startsWith(title)))
  expect(missed, id).toBe(!(id in NOTHING_TO_TAKE_OUT))
})
