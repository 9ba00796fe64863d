/**
 * The storage-fault suite of the decision log: `npm run test:log`.
 *
 *   --sample <n>     every n-th case (default 1: all of them)
 *   --section <name> damage | torn | crash | faults
 *   --json           this process alone, beginning with case --first; prints the tally
 *
 * Ends with `N passed, N failed`, and exits with 1 when a case failed.
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { crash } from './crash.ts'
import { damage } from './damage.ts'
import { faults } from './faults.ts'
import { makeHistory } from './history.ts'
import { Tally, type TallyCounts } from './tally.ts'
import { torn } from './torn.ts'

export const SECTIONS = ['damage', 'torn', 'crash', 'faults'] as const

/** Runs the sections over every `sample`-th case, beginning with case `first`. */
export async function runSuite(
  sample: number,
  first: number,
  sections: readonly string[],
): Promise<Tally> {
  const tally = new Tally(sample, first)
  const history = await makeHistory()
  if (sections.includes('damage')) damage(history, tally)
  if (sections.includes('torn')) torn(history, tally)
  if (sections.includes('crash')) await crash(tally)
  if (sections.includes('faults')) await faults(tally)
  return tally
}

/** Shares the cases out to as many processes as there are processors. */
async function runShards(sample: number, sections: readonly string[]): Promise<Tally> {
  const shards = availableParallelism()
  const parts = Array.from({ length: shards }, (_, shard) =>
    runShard(sample, shard, shards, sections),
  )
  const tally = new Tally(sample)
  for (const part of await Promise.all(parts)) tally.add(part)
  return tally
}

function runShard(
  sample: number,
  shard: number,
  shards: number,
  sections: readonly string[],
): Promise<TallyCounts> {
  const args = ['--sample', sample * shards, '--first', shard * sample, '--json']
  const child = fork(
    fileURLToPath(import.meta.url),
    [...args.map(String), ...sections.flatMap((name) => ['--section', name])],
    { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] },
  )
  return new Promise((resolve, reject) => {
    let output = ''
    child.stdout?.on('data', (chunk) => {
      output += String(chunk)
    })
    child.once('exit', (code) => {
      if (output === '') reject(new Error(`a part of the suite ended with exit code ${code}`))
      else resolve(parse(output))
    })
  })
}

function parse(output: string): TallyCounts {
  const counts: TallyCounts = JSON.parse(output)
  return counts
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      sample: { type: 'string', default: '1' },
      first: { type: 'string', default: '0' },
      section: { type: 'string', multiple: true, default: [...SECTIONS] },
      json: { type: 'boolean', default: false },
    },
  })
  const sample = Number(values.sample)
  const started = performance.now()
  if (values.json) {
    // Every refusal is an error, and nobody reads its stack.
    Error.stackTraceLimit = 0
    console.log(JSON.stringify(await runSuite(sample, Number(values.first), values.section)))
    return
  }
  const tally = await runShards(sample, values.section)
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s`)
  console.log(tally.report())
  process.exitCode = tally.failureCount === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
