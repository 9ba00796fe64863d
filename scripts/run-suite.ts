import { join } from 'node:path'
import { type Counts, parseCounts } from '../test/support/reporter.ts'
import { type CommandOptions, runCommand } from './run-command.ts'

/**
 * Runs the suite, or the files whose paths hold one of the filters, with a Node.js, and says what it
 * counted. The exit code has the last word: a run that is not green never counts as one.
 */
export async function runSuite(
  node: string,
  filters: readonly string[],
  options: CommandOptions = {},
): Promise<Counts> {
  const vitest = join('node_modules', 'vitest', 'vitest.mjs')
  const run = await runCommand(node, [vitest, 'run', ...filters], { ...options, live: true })
  const counts = run.stdout
    .split('\n')
    .map(parseCounts)
    .findLast((line) => line !== undefined)
  if (counts === undefined) return { passed: 0, failed: 1, skipped: 0 }
  return { ...counts, failed: run.passed ? 0 : Math.max(counts.failed, 1) }
}
