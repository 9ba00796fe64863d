/**
 * Tests the tests: `npx tsx test/log/mutate.ts [name]`.
 *
 * Each mutant is applied to a copy of the sources, where the storage-fault suite runs in its
 * sampled form and then, if that saw nothing, the unit tests of the log. One of them must fail.
 * Prints what caught each; exits with 1 when one lives.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyMutant, copyTree, type Mutant } from '../support/mutation.ts'
import { MUTANTS } from './mutants.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** A mutant can make a suite wait for ever; a busy machine alone must not look like that. */
const TIME_LIMIT_MS = 600_000

interface Suite {
  readonly name: string
  readonly command: readonly string[]
}

const SUITES: readonly Suite[] = [
  { name: 'power loss', command: suite('crash', 5) },
  { name: 'failing requests', command: suite('faults', 5) },
  { name: 'damage', command: suite('damage', 997) },
  { name: 'torn batches', command: suite('torn', 499) },
  {
    name: 'unit tests',
    command: ['node_modules/.bin/vitest', 'run', '--project', 'unit', 'test/unit/log'],
  },
]

function suite(section: string, sample: number): string[] {
  const options = ['--section', section, '--sample', String(sample)]
  return ['node_modules/.bin/tsx', 'test/log/main.ts', ...options]
}

function caughtBy(mutant: Mutant | undefined, directory: string): string | undefined {
  const undo =
    mutant === undefined ? () => undefined : applyMutant(mutant, join(directory, 'src/log'))
  try {
    for (const { name, command } of SUITES) {
      const [program = '', ...args] = command
      const { status } = spawnSync(join(directory, program), args, {
        cwd: directory,
        stdio: 'ignore',
        timeout: TIME_LIMIT_MS,
      })
      if (status === null) return `${name}, which did not end`
      if (status !== 0) return name
    }
    return undefined
  } finally {
    undo()
  }
}

const { folder: directory, remove } = copyTree(ROOT)
try {
  const wanted = process.argv[2]
  const mutants = MUTANTS.filter(({ name }) => wanted === undefined || name.includes(wanted))
  const sound = caughtBy(undefined, directory)
  if (sound !== undefined) throw new Error(`"${sound}" fails without any mutant`)
  let alive = 0
  for (const mutant of mutants) {
    const catcher = caughtBy(mutant, directory)
    if (catcher === undefined) alive += 1
    console.log(`${mutant.name}: ${catcher ?? 'ALIVE'}`)
  }
  console.log(`${mutants.length - alive} passed, ${alive} failed`)
  process.exitCode = alive === 0 ? 0 : 1
} finally {
  remove()
}
