import { describe, expect, it } from 'vitest'
import { readRepository } from '../../scripts/source-tree.ts'
import { type TidyRule, tidyFindings } from '../../scripts/tidy.ts'

// The bans hold in this file too, so what they look for is put together here.
const at = (...folders: string[]): string => ['', ...folders].join('/')
const host = (...names: string[]): string => ['https:', '', names.join('.'), 'a.tgz'].join('/')
const call = (...names: string[]): string => `${names.join('.')}('a', () => {})`
const word = (...parts: string[]): string => parts.join('')

const CHANGELOG = '# Changelog\n\n## [Unreleased]\n\n### Added\n\n- a\n'
const lock = (...places: string[]): string => {
  const wants = { 'node_modules/a': { optionalDependencies: { '@a/other-platform': '1.0.0' } } }
  return JSON.stringify({
    packages: { ...wants, ...Object.fromEntries(places.map((p) => [p, {}])) },
  })
}
const lines = (count: number): string => '//\n'.repeat(count)

type BadFile = readonly [rule: TidyRule, path: string, text: string]

const BAD: readonly BadFile[] = [
  ['file-length', 'src/log/a.ts', lines(401)],
  ['function-length', 'src/log/a.ts', `export function a() {\n${lines(69)}}\n`],
  ['function-length', 'adapters/pg/a.ts', `export const a = () => {\n${lines(69)}}\n`],
  ['function-length', 'src/log/a.ts', `export class A {\n  a() {\n${lines(69)}}\n}\n`],
  ['machine-path', 'docs/a.md', `see ${at('root', 'notes')}`],
  ['machine-path', 'test/a.ts', `const a = '${at('home', 'someone', 'x')}'`],
  ['machine-path', 'scripts/a.ts', `const a = '${at('work', 'main')}'`],
  ['machine-path', 'a.json', JSON.stringify({ a: at('Users', 'someone') })],
  ['machine-path', 'docs/a.md', `file://${at('root', 'notes')}`],
  ['registry-host', 'a.json', host('registry', 'npmjs', 'org')],
  ['registry-host', 'docker/a.sh', host('deb', 'debian', 'org')],
  ['registry-host', 'a.json', `"resolved": ${JSON.stringify(host('mirror', 'example'))},`],
  ['unfinished', 'src/log/a.ts', `// ${word('TO', 'DO')}: later`],
  ['unfinished', 'docs/a.md', word('FIX', 'ME')],
  ['focused-test', 'test/a.test.ts', call('it', 'only')],
  ['focused-test', 'test/a.test.ts', call('describe', 'only')],
  ['focused-test', 'test/a.test.ts', call('describe', 'only', 'each([1])')],
  ['skipped-test', 'test/a.test.ts', call('it', 'skip')],
  ['skipped-test', 'test/a.test.ts', call(word('x', 'it'))],
  ['changelog', 'CHANGELOG.md', CHANGELOG.replace('# Changelog', '# History')],
  ['changelog', 'CHANGELOG.md', CHANGELOG.replace('[Unreleased]', 'Next')],
  ['changelog', 'CHANGELOG.md', CHANGELOG.replace('Added', 'New')],
  ['changelog', 'CHANGELOG.md', `${CHANGELOG}\n## [1.0.0]\n`],
  ['changelog', 'CHANGELOG.md', `${CHANGELOG}## [1.0.0] - 2030-01-01\n## [1.1.0] - 2030-02-01\n`],
  ['link', 'docs/a.md', '[a](missing.md)'],
  ['link', 'docs/a.md', '[a](README.md)'],
  ['link', 'README.md', 'text\n\n[a]: docs/missing.md#part\n'],
  ['lockfile', 'package-lock.json', lock()],
  ['take-out', 'src/xid.ts', 'export const FORMAT_ID = 2'],
  ['link', 'README.md', '<img src="docs/missing.svg">'],
]

describe('a rule catches its bad file', () => {
  it.each(BAD)('%s in %s: %s', (rule, path, text) => {
    const files = [
      { path, text },
      { path: 'README.md', text: '' },
    ]
    expect(tidyFindings(files).map((finding) => finding.rule)).toContain(rule)
  })
})

describe('what is right passes', () => {
  it.each([
    ['src/log/a.ts', lines(400)],
    ['src/log/a.ts', `export function a() {\n${lines(68)}}\n`],
    ['docs/a.md', '[a](../README.md#part) [b](https://example.org/x) [c](#part) `[d](missing)`'],
    ['docs/a.md', '```\n[a](missing.md)\n```'],
    ['docs/a.md', 'https://example.org/home/page, src/work/a, docs/home/someone/'],
    ['test/support/a.ts', 'mysql://root:secret@localhost:3306/root'],
    ['docs/a.md', '[a](.) [b](../docs/)'],
    ['test/a.test.ts', "it.skipIf(true)('a', () => {})"],
    ['package-lock.json', lock('node_modules/@a/other-platform')],
    ['CHANGELOG.md', `${CHANGELOG}## [1.1.0] - 2030-02-01\n## [1.0.0] - 2030-01-01\n`],
  ])('%s: %s', (path, text) => {
    const files = [
      { path, text },
      { path: 'README.md', text: '' },
    ]
    expect(tidyFindings(files)).toEqual([])
  })
})

it('names the file and the line', () => {
  const message = 'leads nowhere: missing.md'
  expect(tidyFindings([{ path: 'docs/a.md', text: '\n\n[a](missing.md)' }])).toEqual([
    { rule: 'link', path: 'docs/a.md', line: 3, message },
  ])
})

it('the tree is tidy', () => {
  expect(tidyFindings(readRepository())).toEqual([])
})
