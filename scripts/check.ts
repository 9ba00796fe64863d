/**
 * `npm run check`: everything that can be said about the code without running it. All checks run,
 * also after one failed, so that one look shows everything that is wrong.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packInto } from './package-file.ts'
import { type CommandResult, mustRun, runCommand } from './run-command.ts'
import { readRepository } from './source-tree.ts'

interface Check {
  readonly name: string
  readonly run: () => Promise<CommandResult>
}

const folder = await mkdtemp(join(tmpdir(), 'unanimous-check-'))
let tarball: string | undefined

async function pack(): Promise<CommandResult> {
  const built = await mustRun('npm', ['run', '--silent', 'build'])
  tarball = await packInto(folder)
  return built
}

async function onTarball(tool: string, ...args: string[]): Promise<CommandResult> {
  if (tarball === undefined) throw new Error('there is no package to look at')
  return await runCommand(tool, [...args, tarball])
}

const CHECKS: readonly Check[] = [
  {
    name: 'format and lint',
    run: () => runCommand('biome', ['ci', '--colors=off', '--error-on-warnings', '.']),
  },
  { name: 'lint by types', run: () => runCommand('oxlint', ['--type-aware']) },
  { name: 'types', run: () => runCommand('tsc', ['-p', 'tsconfig.json', '--pretty', 'false']) },
  { name: 'layers', run: () => runCommand('tsx', ['scripts/layers.ts']) },
  { name: 'tidy', run: () => runCommand('tsx', ['scripts/tidy.ts']) },
  { name: 'build and pack', run: pack },
  { name: 'publint', run: () => onTarball('publint', 'run', '--strict') },
  {
    name: 'attw',
    run: () => onTarball('attw', '--profile', 'esm-only', '--no-color', '--no-emoji'),
  },
]

async function verdict(check: Check): Promise<boolean> {
  const started = performance.now()
  const result = await check.run().catch(
    (cause: unknown): CommandResult => ({
      passed: false,
      output: cause instanceof Error ? cause.message : String(cause),
      stdout: '',
      seconds: (performance.now() - started) / 1000,
    }),
  )
  const word = result.passed ? 'ok    ' : 'FAILED'
  console.log(`${word} ${check.name.padEnd(16)} ${result.seconds.toFixed(1).padStart(5)} s`)
  if (!result.passed) console.log(result.output.trimEnd())
  return result.passed
}

const started = performance.now()
let failed = 0
try {
  for (const check of CHECKS) if (!(await verdict(check))) failed += 1
} finally {
  await rm(folder, { recursive: true, force: true })
}
const seconds = ((performance.now() - started) / 1000).toFixed(1)
const files = readRepository().length
console.log(
  `check: ${CHECKS.length - failed} passed, ${failed} failed (${files} files, ${seconds} s)`,
)
if (failed > 0) process.exitCode = 1
