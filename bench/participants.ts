/**
 * What more participants cost: `npm run bench -- participants`.
 *
 * A transaction of 2, 4, 6 and 8 databases, half of them on each server, by one caller through wires that
 * add a delay to each direction; then of 2 and 8 of which one is far away. All cases take turns. Its
 * latency should be that of the slowest participant, not the sum: as hand-written code, whose phases
 * speak to all at once.
 *
 *   --mysql mariadb|mysql[:<version>], --postgres <version>   which servers
 *   --delay-ms <n>     of each direction (default 5), and three times that for the one far away
 *   --rounds <n>       (default 12)
 *   --turn-ms <n>      (default 500)
 *   --out <folder>     (default bench/results)
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { type Fleet, MOST, openFleet } from './participants/fleet.ts'
import { circumstances, RESULTS, saveResults } from './support/results.ts'
import { chart } from './transfer/chart.ts'
import { median, perSecond, type Row, rounds, spread, type Turn, turn } from './transfer/measure.ts'

const COUNTS = [2, 4, 6, MOST]
const WAYS = ['hand-written', 'ours'] as const

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      'delay-ms': { type: 'string', default: '5' },
      rounds: { type: 'string', default: '12' },
      'turn-ms': { type: 'string', default: '500' },
      out: { type: 'string', default: RESULTS },
    },
  })
  const report = { report: (line: string): void => console.error(line) }
  const delayMs = Number(values['delay-ms'])
  const postgres = await startPostgres({ version: values.postgres }, report)
  const mysql = await startMysqlFamily(mysqlWish(values.mysql), report)
  const directory = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  try {
    const places = {
      ledgers: await databases(postgres),
      shops: await databases(mysql),
    }
    const near = await openFleet(places, join(directory, 'near'), [delayMs, delayMs])
    const far = await openFleet(places, join(directory, 'far'), [3 * delayMs, delayMs])
    try {
      const rows = await measure(near, far, Number(values.rounds), Number(values['turn-ms']))
      const title = `PostgreSQL ${postgres.version} and ${mysql.flavour} ${mysql.version}`
      print(rows, title, delayMs)
      const svg = chart(
        `Latency against two participants, ${delayMs} ms each way: ${title}`,
        rows,
        {
          of: (row) => row.latencyRatio,
          group: 'participant',
        },
      )
      saveResults(
        values.out,
        `participants-${mysql.flavour}`,
        { title, delayMs, ...circumstances(), rows },
        svg,
      )
    } finally {
      await near.close()
      await far.close()
    }
  } finally {
    await Promise.all([postgres.stop(), mysql.stop()])
    rmSync(directory, { recursive: true })
  }
}

async function databases(server: { readonly url: string }): Promise<readonly string[]> {
  const names = Array.from({ length: MOST / 2 }, (_, at) => `bench_${process.pid}_${at}`)
  return Promise.all(names.map((name) => createDatabase(server, name)))
}

/** What the chart takes for callers is the number of participants here. */
async function measure(near: Fleet, far: Fleet, count: number, turnMs: number): Promise<Row[]> {
  const cases = WAYS.flatMap((way) => [
    ...COUNTS.map((size) => ({ way: way as string, size, fleet: near, transfer: near[way](size) })),
    ...[2, MOST].map((size) => ({
      way: `${way}, one far away`,
      size,
      fleet: far,
      transfer: far[way](size),
    })),
  ])
  const name = (way: string, size: number): string => `${way}: ${size}`
  const turns = await rounds(
    cases.map(({ way, size, transfer }) => ({
      name: name(way, size),
      turn: (callers, forMs) => turn(transfer, undefined, callers, forMs),
    })),
    1,
    count,
    turnMs,
  )
  const of = (way: string, size: number): readonly Turn[] => turns.get(name(way, size)) ?? []
  return cases.map(({ way, size }) => {
    const [own, two] = [of(way, size), of(way, 2)]
    const ratio = (pick: (turn: Turn) => number): ReturnType<typeof spread> =>
      spread(
        own.flatMap((one, at) => {
          const other = two[at]
          return other === undefined ? [] : [pick(one) / pick(other)]
        }),
      )
    const middle = (pick: (turn: Turn) => number): number => median(own.map(pick))
    return {
      variant: way,
      callers: size,
      throughputRatio: ratio(perSecond),
      latencyRatio: ratio(({ p50Ms }) => p50Ms),
      perSecond: middle(perSecond),
      p50Ms: middle(({ p50Ms }) => p50Ms),
      cpuUs: middle(({ cpuUs }) => cpuUs),
      forces: middle(({ forces = Number.NaN }) => forces),
    }
  })
}

function print(rows: readonly Row[], title: string, delayMs: number): void {
  console.log(`${title}, 1 caller, ${delayMs} ms each way; "far away" is one of them, 3 times that`)
  console.log(
    'participants  variant                      latency, of its own with 2   p50 ms  CPU µs',
  )
  for (const { variant, callers, latencyRatio, p50Ms, cpuUs } of rows) {
    const { median: middle, low, high } = latencyRatio
    const cells = [
      String(callers).padStart(12),
      ` ${variant.padEnd(28)}`,
      `${middle.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`.padEnd(24),
      p50Ms.toFixed(1).padStart(11),
      cpuUs.toFixed(0).padStart(7),
    ]
    console.log(cells.join(' '))
  }
  const most = rows.find(({ variant, callers }) => variant === 'ours' && callers === MOST)
  console.log(
    `participants: ${MOST} instead of 2 take ${most?.latencyRatio.median.toFixed(2)} times as long; the sum would take ${(MOST / 2).toFixed(2)}`,
  )
}

await main()
