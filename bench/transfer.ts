/**
 * What atomicity costs: `npm run bench`. bench/README.md tells the method and the results.
 *
 *   --mysql mariadb|mysql[:<version>], --postgres <version>   which servers
 *   --callers <n,n,…>  (default 1,8,32,64)
 *   --rounds <n>       each a turn of every variant (default 12)
 *   --turn-ms <n>      how long a turn is (default 500)
 *   --peers            Narayana and Atomikos take turns, too: needs Maven and Java 17
 *   --warm-ms <n>      how long each contender runs before it is measured (default 20,000)
 *   --delay-ms <n>     of each direction, where trips are counted (default 1)
 *   --variants <names> those with ; between them, `hand-written` among them (default: all)
 *   --out <folder>     for JSON and chart (default bench/results)
 *
 * Absolute figures mean nothing on a machine that does other work: read the ratios.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { openPeers } from './peers/peers.ts'
import { type Circumstances, circumstances, RESULTS, saveResults } from './support/results.ts'
import { PLAIN_OURS, VARIANTS, YARDSTICK } from './transfer/banks.ts'
import { chart } from './transfer/chart.ts'
import { openContenders } from './transfer/contenders.ts'
import { type Counts, count } from './transfer/counts.ts'
import { type Contender, type Row, rounds, rowsOf } from './transfer/measure.ts'
import type { Profile } from './transfer/profile.ts'
import { printCounts, printProfile, printRows } from './transfer/report.ts'
import { MAX_CALLERS, startWorld, verifyAccounts, type World } from './transfer/world.ts'

const PROFILED_CALLERS = 32

interface Settings {
  readonly callers: readonly number[]
  readonly rounds: number
  readonly turnMs: number
  readonly delayMs: number
  readonly variants: readonly string[]
  readonly warmMs: number
}

interface Results extends Circumstances {
  readonly title: string
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
      peers: { type: 'boolean', default: false },
      'warm-ms': { type: 'string', default: '20000' },
      'delay-ms': { type: 'string', default: '1' },
      variants: { type: 'string' },
      out: { type: 'string', default: RESULTS },
    },
  })
  const settings = {
    callers: values.callers.split(',').map((text) => Math.min(Number(text), MAX_CALLERS)),
    rounds: Number(values.rounds),
    turnMs: Number(values['turn-ms']),
    delayMs: Number(values['delay-ms']),
    warmMs: Number(values['warm-ms']),
    variants: values.variants?.split(';') ?? [...VARIANTS.keys()],
  }
  const directory = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  const report = (line: string): void => console.log(line)
  const world = await startWorld({ version: values.postgres }, mysqlWish(values.mysql))
  try {
    const peers = values.peers
      ? await openPeers(world, directory, settings.warmMs, report)
      : undefined
    try {
      const results = await measure(world, directory, settings, peers?.all ?? [])
      report(await verifyAccounts(world.urls))
      const name = `transfer-${world.flavour}${peers === undefined ? '' : '-peers'}`
      const title = `Transfers per second against hand-written two-phase commit without a log: ${world.title}`
      const axes = { of: (row: Row) => row.throughputRatio, group: 'caller' }
      saveResults(values.out, name, results, chart(title, results.rows, axes))
    } finally {
      await peers?.close()
    }
  } finally {
    await world.stop()
    rmSync(directory, { recursive: true })
  }
}

async function measure(
  world: World,
  directory: string,
  settings: Settings,
  peers: readonly Contender[],
): Promise<Results> {
  const rows: Row[] = []
  let profiled: Profile | undefined
  const { delayMs, turnMs, warmMs } = settings
  console.log(
    `${world.title}, ${settings.rounds} rounds of ${turnMs} ms; ratios to "${YARDSTICK}", median (quarters)\n`,
  )
  const own = await openContenders(world.urls, join(directory, 'own'), warmMs, settings.variants)
  try {
    for (const callers of settings.callers) {
      const turns = await rounds([...own.all, ...peers], callers, settings.rounds, turnMs)
      const some = rowsOf(turns, callers, YARDSTICK)
      printRows(some)
      rows.push(...some)
      const ours = own.all.find(({ name }) => name === PLAIN_OURS)
      if (callers === PROFILED_CALLERS) profiled = await ours?.profile(callers, 5 * turnMs)
    }
  } finally {
    await own.close()
  }
  const lengths = { warmMs, turnMs, delayMs }
  const counts = await count(world.urls, join(directory, 'wire'), lengths, YARDSTICK)
  printCounts(counts, delayMs)
  if (profiled !== undefined) printProfile(profiled, `${PROFILED_CALLERS} callers, ${PLAIN_OURS}`)
  return {
    title: world.title,
    ...circumstances(),
    rounds: settings.rounds,
    turnMs,
    rows,
    delayMs,
    counts,
    profile: profiled,
  }
}

await main()
