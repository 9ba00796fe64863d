/** What `npm run test:takeout` takes out is still there to be taken out, and every trap has its turn. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { MYSQL_TAKE_OUTS } from '../../scripts/take-out/mysql.ts'
import { POSTGRES_TAKE_OUTS } from '../../scripts/take-out/postgres.ts'

const ALL = [...MYSQL_TAKE_OUTS, ...POSTGRES_TAKE_OUTS]

function source(path: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
}

test.each(ALL)('$trap: $what stands once in $file', ({ file, from, to }) => {
  expect(source(file).split(from)).toHaveLength(2)
  expect(to).not.toBe(from)
})

test('every trap is taken out, and at least twenty rows', () => {
  const traps = new Set(ALL.map(({ trap }) => trap))
  const missing = Array.from({ length: 10 }, (_, at) => `T${at + 1}`).filter((id) => !traps.has(id))
  expect(missing).toEqual([])
  expect([...traps].filter((id) => !id.startsWith('T')).length).toBeGreaterThanOrEqual(20)
})
