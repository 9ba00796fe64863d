/**
 * `npm run coverage`: which branches of the parts that decide about data no test without a server takes.
 * Runs the unit tests, the sample of the storage suite and the simulator's seeds, and compares what is left
 * with the list of gaps that have a reason (branch-coverage/gaps.ts).
 *
 * A branch that is neither taken nor listed fails, and so does a line of the list that no longer names
 * exactly the branches it says. The last line counts branches: `N passed, N failed`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GAPS } from './branch-coverage/gaps.ts'
import { branchesOf, judge, type RawCoverage } from './branch-coverage/judge.ts'
import { runCommand } from './run-command.ts'
import { ROOT } from './source-tree.ts'

const MEASURED = ['log', 'protocol', 'recovery', 'commit']
/** Of one test, on a loaded machine and with every branch counted. */
const LIMIT_MS = 300_000
const SUITES = [...MEASURED, 'coordinator', 'participant', 'cli', 'live']

const folder = mkdtempSync(join(tmpdir(), 'unanimous-coverage-'))
try {
  const run = await runCommand('vitest', [
    ...['run', '--project', 'unit', '--coverage', '--coverage.provider=v8'],
    ...[`--coverage.include=src/{${MEASURED.join(',')}}/**`, '--coverage.reporter=json'],
    `--coverage.reportsDirectory=${folder}`,
    `--testTimeout=${LIMIT_MS}`,
    ...SUITES.map((name) => `test/unit/${name}/`),
    'test/simulation/',
  ])
  if (!run.passed) throw new Error(`the tests did not pass:\n${run.output}`)
  const raw = JSON.parse(readFileSync(join(folder, 'coverage-final.json'), 'utf8')) as RawCoverage
  const branches = branchesOf(raw, ROOT, (path) => readFileSync(path, 'utf8'))
  const verdict = judge(branches, GAPS)
  for (const name of MEASURED) {
    const own = branches.filter(({ file }) => file.startsWith(`src/${name}/`))
    const taken = own.filter((branch) => branch.taken).length
    const share = ((100 * taken) / own.length).toFixed(1)
    console.log(`src/${name.padEnd(10)} ${taken} of ${own.length} branches taken, ${share} %`)
  }
  console.log(`with a reason  ${verdict.explained}`)
  for (const line of verdict.complaints) console.log(line)
  const failed = verdict.complaints.length
  console.log(`\n${verdict.taken + verdict.explained} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
