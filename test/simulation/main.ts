/**
 * The simulator: `npm run sim -- --seeds <n>`.
 *
 *   --seeds <n>    how many (default 10,000)
 *   --seed <s>     the first one (default 0); alone: this one
 *   --workers <n>  processes that run them (default one a processor)
 *   --trace        with --seed: every event of it
 *   --mutants      breaks the protocol in many ways instead, and expects each to be caught
 *   --only <text>  with --mutants: those whose name contains it
 *   --part <k/n>   with --mutants: the k-th of n parts
 *
 * Ends with `N passed, N failed`, and exits with 1 when a seed failed.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Farm } from './farm.ts'
import { mutate } from './mutate.ts'
import type { Tally } from './tally.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRESS_MS = 30_000

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string' },
      seed: { type: 'string' },
      workers: { type: 'string' },
      trace: { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      only: { type: 'string' },
      part: { type: 'string', default: '1/1' },
    },
  })
  if (values.mutants) {
    process.exitCode = (await mutate(ROOT, values.only, values.part)) ? 0 : 1
    return
  }
  const first = Number(values.seed ?? 0)
  const count = Number(values.seeds ?? (values.seed === undefined ? 10_000 : 1))
  if (!Number.isInteger(first) || !Number.isInteger(count) || count < 1) {
    throw new Error('--seed and --seeds are whole numbers')
  }
  const farm = new Farm(ROOT, values.workers === undefined ? undefined : Number(values.workers))
  try {
    if (values.trace) {
      const { trace, hash, violation } = await farm.trace(first)
      console.log([...trace, `hash ${hash}`, violation ?? 'no violation'].join('\n'))
      process.exitCode = violation === undefined ? 0 : 1
      return
    }
    await run(farm, first, count)
  } finally {
    farm.close()
  }
}

async function run(farm: Farm, first: number, count: number): Promise<void> {
  const started = performance.now()
  let told = started
  const tally = await farm.run(first, count, false, (soFar) => {
    if (performance.now() - told < PROGRESS_MS) return
    told = performance.now()
    console.log(`${soFar.seeds} seeds, ${soFar.failures.length} failed`)
  })
  report(tally, (performance.now() - started) / 1000)
  process.exitCode = tally.failures.length === 0 ? 0 : 1
}

function report(tally: Tally, seconds: number): void {
  const { seeds, events, virtualMs, repeated, failures } = tally
  printCounts('faults', tally.faults)
  printCounts('answers', tally.answers)
  const crashes = tally.tenths.reduce((sum, one) => sum + one, 0)
  const shares = tally.tenths.map((one) => `${Math.round((100 * one) / Math.max(1, crashes))} %`)
  console.log(`crashes by the tenth of their run: ${shares.join(', ')}`)
  console.log(
    `${events} events, ${(virtualMs / 3_600_000).toFixed(1)} hours of virtual time, ${repeated} seeds run twice with equal hashes`,
  )
  for (const { seed, violation } of failures) {
    console.log(`seed ${seed}: ${violation}`)
    console.log(`  replay: npm run sim -- --seed ${seed} --trace`)
  }
  const perCpu = Math.round((1000 * seeds) / Math.max(1, tally.cpuMs))
  console.log(
    `${Math.round(seeds / seconds)} seeds per second, ${seconds.toFixed(1)} s; ${perCpu} per second of a processor, Node.js ${process.version}`,
  )
  console.log(`${seeds - failures.length} passed, ${failures.length} failed`)
}

function printCounts(title: string, counts: Readonly<Record<string, number>>): void {
  const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one)
  console.log(`${title}: ${sorted.map(([kind, count]) => `${kind} ${count}`).join(', ')}`)
}

await main()
