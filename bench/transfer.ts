/**
 * What atomicity costs: `npm run bench`. bench/README.md tells the method and the results.
 *
 *   --mysql mariadb|mysql[:<version>], --postgres <version>   which servers
 *   --callers <n,n,…>  (default 1,8,32,64)
 *   --rounds <n>       each a turn of every variant (default 12)
 *   --turn-ms <n>      how long a turn is (default 500)
 *   --delay-ms <n>     of each direction, where trips are counted (default 1)
 *   --out <folder>     for JSON and chart (default bench/results)
 *
 * Absolute figures mean nothing on a machine that does other work: read the ratios.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { openVariants, PLAIN_OURS, YARDSTICK } from './transfer/banks.ts'
import { chart } from './transfer/chart.ts'
import { type Counts, count } from './transfer/counts.ts'
import { type Row, rounds, rowsOf } from './transfer/measure.ts'
import { type Profile, profile } from './transfer/profile.ts'
import { MAX_CALLERS, openPools, startWorld, type World } from './transfer/world.ts'

const PROFILED_CALLERS = 32

interface Settings {
  readonly callers: readonly number[]
  readonly rounds: number
  readonly turnMs: number
  readonly delayMs: number
  readonly out: string
}

interface Results {
  readonly title: string
  readonly machine: string
  readonly node: string
  readonly at: string
  readonly rounds: number
  readonly turnMs: number
  readonly rows: readonly Row[]
  readonly delayMs: number
  readonly counts: readonly Counts[]
  readonly profile: Profile | undefined
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      callers: { type: 'string', default: '1,8,32,64' },
      rounds: { type: 'string', default: '12' },
      'turn-ms': { type: 'string', default: '500' },
      'delay-ms': { type: 'string', default: '1' },
      out: { type: 'string', default: fileURLToPath(new URL('results', import.meta.url)) },
    },
  })
  const settings = {
    callers: values.callers.split(',').map((text) => Math.min(Number(text), MAX_CALLERS)),
    rounds: Number(values.rounds),
    turnMs: Number(values['turn-ms']),
    delayMs: Number(values['delay-ms']),
    out: values.out,
  }
  const directory = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  const world = await startWorld({ version: values.postgres }, mysqlWish(values.mysql))
  try {
    const results = await measure(world, directory, settings)
    mkdirSync(settings.out, { recursive: true })
    const file = `transfer-${world.flavour}`
    writeFileSync(join(settings.out, `${file}.json`), `${JSON.stringify(results, undefined, 1)}\n`)
    writeFileSync(join(settings.out, `${file}.svg`), chart(world.title, results.rows))
  } finally {
    await world.stop()
    rmSync(directory, { recursive: true })
  }
}

async function measure(world: World, directory: string, settings: Settings): Promise<Results> {
  const rows: Row[] = []
  let profiled: Profile | undefined
  console.log(
    `${world.title}, ${settings.rounds} rounds of ${settings.turnMs} ms; ratios to "${YARDSTICK}", median (quarters)\n`,
  )
  for (const callers of settings.callers) {
    const pools = openPools(world.urls, callers)
    const variants = await openVariants(pools, join(directory, String(callers)))
    try {
      const turns = await rounds(variants.all, callers, settings.rounds, settings.turnMs)
      const some = rowsOf(turns, callers, YARDSTICK)
      printRows(some)
      rows.push(...some)
      const ours = variants.all.find(({ name }) => name === PLAIN_OURS)
      if (callers === PROFILED_CALLERS && ours !== undefined) {
        profiled = await profile(ours.transfer, callers, 5 * settings.turnMs)
      }
    } finally {
      await variants.close()
      await pools.close()
    }
  }
  const { delayMs, turnMs } = settings
  const counts = await count(world.urls, join(directory, 'wire'), delayMs, turnMs, YARDSTICK)
  printCounts(counts, delayMs)
  if (profiled !== undefined) printProfile(profiled)
  return {
    title: world.title,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, kernel ${release()}`,
    node: process.version,
    at: new Date().toISOString(),
    rounds: settings.rounds,
    turnMs,
    rows,
    delayMs,
    counts,
    profile: profiled,
  }
}

function printRows(rows: readonly Row[]): void {
  console.log(
    'callers  variant               throughput          latency  per s   p50 ms  CPU µs  forces',
  )
  for (const row of rows) {
    const { median, low, high } = row.throughputRatio
    const cells = [
      String(row.callers).padStart(7),
      ` ${row.variant.padEnd(20)}`,
      `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`.padEnd(18),
      row.latencyRatio.median.toFixed(2).padStart(8),
      row.perSecond.toFixed(0).padStart(6),
      row.p50Ms.toFixed(2).padStart(8),
      row.cpuUs.toFixed(0).padStart(7),
      row.forces.toFixed(2).padStart(7),
    ]
    console.log(cells.join(' '))
  }
  console.log()
}

function printCounts(counts: readonly Counts[], delayMs: number): void {
  console.log(
    `1 caller, ${delayMs} ms each way: latency ratio, p50, and trips to PostgreSQL and MySQL`,
  )
  for (const { variant, latencyRatio, p50Ms, trips } of counts) {
    console.log(
      `         ${variant.padEnd(20)} ${latencyRatio.toFixed(2)} ${p50Ms.toFixed(1).padStart(8)} ms   ${trips.ledger} ${trips.shop}`,
    )
  }
  console.log()
}

function printProfile({ timePercent, allocatedKiB }: Profile): void {
  console.log(
    `${PROFILED_CALLERS} callers, ${PLAIN_OURS}: % of the main thread, KiB allocated a transfer`,
  )
  for (const [owner, percent] of Object.entries(timePercent).toSorted(([, a], [, b]) => b - a)) {
    const kib = allocatedKiB[owner] ?? 0
    console.log(
      `         ${owner.padEnd(20)} ${percent.toFixed(1).padStart(5)} % ${kib.toFixed(1).padStart(7)}`,
    )
  }
}

await main()
