/**
 * Round trips, counted, and what they cost where the network is slow: `npm run bench -- trips`. Every
 * variant of the transfer, by one caller, through wires that add a delay to each direction.
 *
 *   --mysql mariadb|mysql[:<version>], --postgres <version>   which servers
 *   --delay-ms <n>     of each direction (default 1)
 *   --turn-ms <n>      how long a turn is, of five for each variant (default 1,000)
 *   --warm-ms <n>      how long each variant runs before that, without a delay (default 20,000)
 *   --most <n>         fail when ours takes more trips on its critical path (default 3)
 *   --latency <x>      fail when ours takes longer than this part of hand-written (default 0.66)
 *   --out <folder>     (default bench/results)
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { circumstances, RESULTS, saveResults } from './support/results.ts'
import { PLAIN_OURS, YARDSTICK } from './transfer/banks.ts'
import { count } from './transfer/counts.ts'
import { printCounts } from './transfer/report.ts'
import { startWorld } from './transfer/world.ts'

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      'delay-ms': { type: 'string', default: '1' },
      'turn-ms': { type: 'string', default: '1000' },
      'warm-ms': { type: 'string', default: '20000' },
      most: { type: 'string', default: '3' },
      latency: { type: 'string', default: '0.66' },
      out: { type: 'string', default: RESULTS },
    },
  })
  const delayMs = Number(values['delay-ms'])
  const directory = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  const world = await startWorld({ version: values.postgres }, mysqlWish(values.mysql))
  try {
    const lengths = {
      warmMs: Number(values['warm-ms']),
      turnMs: Number(values['turn-ms']),
      delayMs,
    }
    const counts = await count(world.urls, directory, lengths, YARDSTICK)
    console.log(world.title)
    printCounts(counts, delayMs)
    const { title, flavour } = world
    saveResults(values.out, `trips-${flavour}`, { title, delayMs, ...circumstances(), counts })
    const ours = counts.find(({ variant }) => variant === PLAIN_OURS)
    if (ours === undefined) throw new Error(`no ${PLAIN_OURS} among the variants`)
    const critical = Math.max(ours.trips.ledger, ours.trips.shop)
    const holds = critical <= Number(values.most) && ours.latencyRatio <= Number(values.latency)
    console.log(
      `trips: ${critical} on the critical path of ours, at most ${values.most}; latency ${ours.latencyRatio.toFixed(2)} of ${YARDSTICK}, at most ${values.latency}: ${holds ? 'holds' : 'BROKEN'}`,
    )
    if (!holds) process.exitCode = 1
  } finally {
    await world.stop()
    rmSync(directory, { recursive: true })
  }
}

await main()
