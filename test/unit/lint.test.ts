/**
 * The linters in force, with the configuration of this repository: bad files are planted in an empty
 * folder, first among them each promise bug that could lose a COMMIT, and must be reported.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT } from '../../scripts/source-tree.ts'

/** By oxlint's rule; what follows a slash tells two files for one rule apart. */
const BY_TYPES: Readonly<Record<string, string>> = {
  'no-floating-promises': "export function f(): void { work('a') }",
  'no-floating-promises/void': "export function f(): void { void work('a') }",
  'no-misused-promises': 'export const f = (): string => (work() ? 1 : 2).toString()',
  'await-thenable': 'export async function f(): Promise<void> { await 1 }',
  'return-await':
    'export async function f(): Promise<number> { try { return work() } catch { return 1 } }',
  'switch-exhaustiveness-check':
    "export function f(a: 'x' | 'y'): void { switch (a) { case 'x': console.log(1) } }",
  'no-unnecessary-type-assertion': 'export const f = (a: string): string => a as string',
  'no-explicit-any': 'export const f = (a: any): number => 1',
  'no-unsafe-assignment': "export const f: string = JSON.parse('1')",
  'only-throw-error': "export function f(): void { throw 'text' }",
}
const PRELUDE = '\nasync function work(...name: string[]): Promise<number> { return name.length }\n'

/** By Biome's rule. */
const BY_FORM: readonly (readonly [rule: string, path: string, text: string])[] = [
  ['noExplicitAny', 'src/log/any.ts', 'export const a = (b: any): string => String(b)'],
  ['noNonNullAssertion', 'src/log/non-null.ts', 'export const a = (b?: string): string => b!'],
  ['useFilenamingConvention', 'src/log/camelCase.ts', 'export const a = 1'],
  ['useNodejsImportProtocol', 'src/log/import.ts', "import { open } from 'fs'; open('a', () => 1)"],
  ['noUnusedVariables', 'src/log/unused.ts', 'const a = 1'],
  ['noConsole', 'src/log/console.ts', 'console.log(1)'],
  ['noConsole', 'adapters/pg/console.ts', 'console.log(1)'],
  // The override that forbids the console must not have lifted its neighbours.
  ['noFocusedTests', 'src/log/focused.test.ts', `${['it', 'only'].join('.')}('a', () => {})`],
]

const folder = mkdtempSync(join(tmpdir(), 'unanimous-lint-'))
let oxlint: readonly string[] = []
let biome: readonly string[] = []

beforeAll(() => {
  const compilerOptions = { strict: true, target: 'es2023', module: 'nodenext', noEmit: true }
  plant('oxlint/tsconfig.json', JSON.stringify({ compilerOptions, include: ['src'] }))
  plant('oxlint/package.json', '{ "type": "module" }')
  copyFileSync(join(ROOT, '.oxlintrc.json'), join(folder, 'oxlint', '.oxlintrc.json'))
  for (const [name, text] of Object.entries(BY_TYPES)) plant(byTypes(name), text + PRELUDE)
  oxlint = lint('oxlint', 'oxlint/bin/oxlint', '-f', 'unix')

  for (const [, path, text] of BY_FORM) plant(`biome/${path}`, text)
  plant('biome/src/cli/console.ts', 'console.log(1)')
  copyFileSync(join(ROOT, 'biome.json'), join(folder, 'biome', 'biome.json'))
  const options = ['--vcs-enabled=false', '--reporter=github', '--max-diagnostics=none']
  biome = lint('biome', '@biomejs/biome/bin/biome', 'lint', ...options)
}, 30_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

function byTypes(name: string): string {
  return `oxlint/src/${name.replace('/', '-')}.ts`
}

function plant(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), text)
}

/** The lines of the linter's report, one a finding. */
function lint(where: string, tool: string, ...args: string[]): string[] {
  const run = spawnSync(process.execPath, [join(ROOT, 'node_modules', tool), ...args, '.'], {
    cwd: join(folder, where),
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return `${run.stdout}${run.stderr}`.split('\n')
}

describe('oxlint, by types', () => {
  it.each(Object.keys(BY_TYPES))('%s', (name) => {
    const file = byTypes(name).replace('oxlint/', '')
    const found = oxlint.filter((line) => line.includes(file))
    expect(found.join('\n')).toContain(`(${name.split('/')[0]})`)
  })
})

describe('biome', () => {
  it.each(BY_FORM)('%s in %s', (rule, path) => {
    const found = biome.filter((line) => line.includes(path))
    expect(found.join('\n')).toContain(`/${rule}`)
  })

  it('leaves the console to the command line', () => {
    expect(biome.filter((line) => line.includes('src/cli/console.ts'))).toEqual([])
  })
})
