/**
 * What recovery costs: `npm run bench -- recovery`.
 *
 * So many transactions are decided and prepared in both databases by a process that is gone, and as many
 * branches are prepared under ids of nobody's. `Coordinator.open` settles the former, from opening the
 * log to a clean pass over both; a bare loop of COMMIT PREPARED and XA COMMIT settles the latter, half of
 * them before and half of them after, so that a server's pace, which depends on how much is prepared,
 * meets both alike. Each has one connection for each database.
 *
 *   --counts <n,n,…>    transactions (default 10,1000,10000)
 *   --rounds <n>        of the largest; 3 times that of the others (default 1)
 *   --mysql mariadb|mysql[:<version>]
 *   --rate <x>          fail when the largest settles at less than this part of the bare rate (default 0.9)
 *   --out <folder>      (default bench/results)
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { prepareMany, timeOf, Unsettled } from '../test/support/many-unsettled.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import type { Server } from '../test/support/servers/server.ts'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { circumstances, RESULTS, saveResults } from './support/results.ts'
import { median, type Spread, spread } from './transfer/measure.ts'

interface Servers {
  readonly postgres: Server
  readonly mysql: Server
}

interface Round {
  readonly bareMs: number
  readonly oursMs: number
  /** Of `oursMs`: opening a log and two participants with nothing to settle. */
  readonly openMs: number
}

interface Result {
  readonly count: number
  readonly rate: Spread
  readonly perSecond: number
  readonly barePerSecond: number
  readonly openMs: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      counts: { type: 'string', default: '10,1000,10000' },
      rounds: { type: 'string', default: '1' },
      mysql: { type: 'string' },
      rate: { type: 'string', default: '0.9' },
      out: { type: 'string', default: RESULTS },
    },
  })
  const counts = values.counts.split(',').map(Number)
  const most = Math.max(...counts)
  const report = (line: string): void => console.error(line)
  const settings = [`max_prepared_transactions=${2 * most + 100}`, 'max_connections=100']
  const servers = {
    postgres: await startPostgres({}, { report, settings }),
    mysql: await startMysqlFamily(mysqlWish(values.mysql), { report }),
  }
  const title = `PostgreSQL ${servers.postgres.version} × ${servers.mysql.flavour} ${servers.mysql.version}`
  console.log(`${title}, one connection a database; rates in branches a second`)
  console.log('transactions  of the bare rate     ours    bare  open alone')
  try {
    const results: Result[] = []
    for (const count of counts) {
      const rounds: Round[] = []
      const last = Number(values.rounds) * (count === most ? 1 : 3)
      for (let round = 0; round < last; round += 1) rounds.push(await once(servers, count))
      results.push(print(resultOf(count, rounds)))
    }
    saveResults(values.out, `recovery-${servers.mysql.flavour}`, {
      title,
      ...circumstances(),
      results,
    })
    const rate = results.find(({ count }) => count === most)?.rate.median ?? 0
    const holds = rate >= Number(values.rate)
    console.log(
      `recovery of ${most}: ${rate.toFixed(2)} of the bare rate, at least ${values.rate}: ${holds ? 'holds' : 'BROKEN'}`,
    )
    if (!holds) process.exitCode = 1
  } finally {
    await Promise.all([servers.postgres.stop(), servers.mysql.stop()])
  }
}

let databases = 0

async function once(servers: Servers, count: number): Promise<Round> {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  databases += 1
  const name = `bench_${process.pid}_${databases}`
  const urls = [
    await createDatabase(servers.postgres, name),
    await createDatabase(servers.mysql, name),
  ] as const
  const unsettled = await Unsettled.open(folder, ...urls)
  try {
    console.error(`preparing ${count} transactions, and ${count} without a log`)
    const bare = await prepareMany(unsettled, count, 'bare')
    await prepareMany(unsettled, count, 'logged')
    const openMs = await openOurs(join(folder, 'empty'), urls)
    const half = Math.ceil(count / 2)
    const before = await timeOf(() => unsettled.settleBare(bare.slice(0, half)))
    const oursMs = await openOurs(unsettled.log.directory, urls)
    const after = await timeOf(() => unsettled.settleBare(bare.slice(half)))
    await mustBeSettled(urls, 2 * count)
    return { bareMs: before + after, oursMs, openMs }
  } finally {
    await unsettled.close()
    rmSync(folder, { recursive: true })
  }
}

/** @returns how long it took to open, with everything settled that could be, in ms */
async function openOurs(
  directory: string,
  [ledgerUrl, shopUrl]: readonly [string, string],
): Promise<number> {
  const ledger = new pg.Pool({ connectionString: ledgerUrl })
  const shop = createPool({ uri: shopUrl })
  const startedAt = performance.now()
  const coordinator = await Coordinator.open({
    log: { directory, allowUnsafeFileSystem: true },
    participants: { ledger: postgres(ledger), shop: mysql(shop) },
    recoverMs: 600_000,
  })
  const took = performance.now() - startedAt
  await coordinator.close()
  await Promise.all([ledger.end(), shop.end()])
  return took
}

/** @throws when a branch is left, or what it wrote is not there */
async function mustBeSettled(
  [ledgerUrl, shopUrl]: readonly [string, string],
  rows: number,
): Promise<void> {
  const ledger = new pg.Client(ledgerUrl)
  await ledger.connect()
  const shop = createPool({ uri: shopUrl })
  try {
    const here = await ledger.query<{ entries: string; left: string }>(
      'select (select count(*) from entry) as entries, (select count(*) from pg_prepared_xacts where database = current_database()) as left',
    )
    const [there] = await shop.query('select count(*) as entries from entry')
    const [left] = await shop.query('xa recover')
    const found = [here.rows, there, left].map((part) => JSON.stringify(part)).join(' ')
    const wanted = `[{"entries":"${rows}","left":"0"}] [{"entries":${rows}}] []`
    if (found !== wanted) throw new Error(`not all is settled: ${found}, and not ${wanted}`)
  } finally {
    await ledger.end()
    await shop.end()
  }
}

function resultOf(count: number, rounds: readonly Round[]): Result {
  const perSecond = (ms: number): number => (2 * count * 1000) / ms
  return {
    count,
    rate: spread(rounds.map(({ bareMs, oursMs }) => bareMs / oursMs)),
    perSecond: perSecond(median(rounds.map(({ oursMs }) => oursMs))),
    barePerSecond: perSecond(median(rounds.map(({ bareMs }) => bareMs))),
    openMs: median(rounds.map(({ openMs }) => openMs)),
  }
}

function print(result: Result): Result {
  const { count, rate, perSecond, barePerSecond, openMs } = result
  const cells = [
    String(count).padStart(12),
    ` ${rate.median.toFixed(2)} (${rate.low.toFixed(2)}–${rate.high.toFixed(2)})`.padEnd(17),
    perSecond.toFixed(0).padStart(7),
    barePerSecond.toFixed(0).padStart(7),
    `${openMs.toFixed(0)} ms`.padStart(11),
  ]
  console.log(cells.join(' '))
  return result
}

await main()
