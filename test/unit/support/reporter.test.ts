/** The last line of a run: its form, and that a run which is not green never says `0 failed`. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { countsLine, parseCounts, parseServerLine, serverLine } from '../../support/reporter.ts'

const REPORTER = fileURLToPath(new URL('../../support/reporter.ts', import.meta.url))
const VITEST = join(
  dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
  'vitest.mjs',
)

let folder = ''

beforeAll(() => {
  // Inside the checkout, so that the files find vitest; git ignores the folder.
  folder = mkdtempSync(join(dirname(REPORTER), '../../node_modules/.reporter-'))
})

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** Runs one test file through the reporter in a process of its own. */
function run(source: string): { lines: readonly string[]; code: number | null } {
  writeFileSync(join(folder, 'sample.test.js'), `import { test, expect } from 'vitest'\n${source}`)
  writeFileSync(join(folder, 'vitest.config.js'), 'export default { test: {} }')
  const args = [VITEST, 'run', '--root', folder, '--reporter=default', `--reporter=${REPORTER}`]
  const env = { ...process.env }
  delete env['VITEST']
  const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8', env })
  return { lines: stdout.trimEnd().split('\n'), code: status }
}

function lastLine(source: string): { line: string; code: number | null } {
  const { lines, code } = run(source)
  return { line: lines.at(-1) ?? '', code }
}

test('counts passed, failed and skipped', () => {
  const source = "test('a', () => {})\ntest('b', () => expect(1).toBe(2))\ntest.skip('c', () => {})"
  expect(lastLine(source)).toEqual({ line: '1 passed, 1 failed, 1 skipped', code: 1 })
})

test('does not speak of skipped tests when there are none', () => {
  expect(lastLine("test('a', () => {})")).toEqual({ line: '1 passed, 0 failed', code: 0 })
})

test('a file that cannot be loaded is a failure', () => {
  expect(lastLine("import './missing.js'\ntest('a', () => {})").line).toBe('0 passed, 1 failed')
})

test('a hook that throws is a failure', () => {
  const source =
    "import { afterAll } from 'vitest'\nafterAll(() => { throw new Error('x') })\ntest('a', () => {})"
  expect(lastLine(source)).toEqual({ line: '1 passed, 1 failed', code: 1 })
})

test('an error outside of any test is a failure', () => {
  const source =
    "test('a', () => { setTimeout(() => { throw new Error('x') }, 0); return new Promise(r => setTimeout(r, 50)) })"
  expect(lastLine(source)).toEqual({ line: '1 passed, 1 failed', code: 1 })
})

test('the line can be read back', () => {
  for (const counts of [
    { passed: 3, failed: 0, skipped: 0 },
    { passed: 3, failed: 1, skipped: 2 },
  ]) {
    expect(parseCounts(countsLine(counts))).toEqual(counts)
  }
  expect(parseCounts('3 passed')).toBeUndefined()
})

test('counts the contract and the traps by server, in a line that reads back', () => {
  const source = `import { describe } from 'vitest'
    describe('contract on PostgreSQL 15.18', () => {
      test('T5: a vote', () => {})
      test('commits', () => {})
    })
    describe('traps on PostgreSQL 15.18, killed with kill -9', () => {
      test('T8, A: an aborted block', () => {})
      test('E: broken', () => expect(1).toBe(2))
    })`
  const { lines } = run(source)
  const line = 'PostgreSQL 15.18: contract 2, traps 2, failed 1 (T5 T8 A)'
  expect(lines).toContain(line)
  const parsed = parseServerLine(line)
  expect(parsed && serverLine(parsed.server, parsed.counts)).toBe(line)
  expect(parseServerLine('1 passed, 0 failed')).toBeUndefined()
})
