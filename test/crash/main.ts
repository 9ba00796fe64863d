/**
 * `npm run test:crash`: the crash matrix on real servers. A spread of 300 cases by default.
 *
 *   --all             every case, on PostgreSQL with MariaDB and with MySQL
 *   --spread 150      so many
 *   --part 1/4        the first quarter of these: for several machines, or several goes
 *   --only TEXT       those whose title contains the text
 *   --mysql mysql     mariadb (default) or mysql[:version]
 *   --postgres 18     that version
 *   --width 4         lanes of each kind
 *   --list            prints the cases and runs none
 *
 * The last line is `N passed, N failed`; exits with 1 when a case failed.
 */
import { parseArgs } from 'node:util'
import { startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import { mysqlWish } from '../support/shared-servers.ts'
import { type Result, runMatrix } from './matrix.ts'
import { spread } from './spread.ts'
import { allCases, type Case, FAULTS, WITHOUT_ROW } from './table.ts'

const DEFAULT_SPREAD = 300

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    spread: { type: 'string', default: String(DEFAULT_SPREAD) },
    only: { type: 'string' },
    part: { type: 'string', default: '1/1' },
    mysql: { type: 'string' },
    postgres: { type: 'string' },
    width: { type: 'string', default: '4' },
    list: { type: 'boolean', default: false },
  },
})

function chosen(): readonly Case[] {
  const [part = 1, parts = 1] = values.part.split('/').map(Number)
  const cases = wanted()
  return cases.filter((_, at) => Math.floor((at * parts) / cases.length) === part - 1)
}

function wanted(): readonly Case[] {
  const cases = allCases()
  const { only } = values
  if (only !== undefined) return cases.filter(({ title }) => title.includes(only))
  return values.all ? cases : spread(cases, Number(values.spread))
}

async function runOn(mysql: string, cases: readonly Case[]): Promise<readonly Result[]> {
  const report = (line: string): void => console.error(line)
  const accounts = await startPostgres({ version: values.postgres }, { report })
  const wallets = await startMysqlFamily(mysqlWish(mysql), { report })
  const results: Result[] = []
  const started = performance.now()
  try {
    const names = `PostgreSQL ${accounts.version}, ${wallets.flavour} ${wallets.version}`
    console.log(`=== ${names}: ${cases.length} cases`)
    await runMatrix(cases, {
      servers: { accounts, wallets },
      width: Number(values.width),
      onResult(result) {
        results.push(result)
        const { failure, ms } = result
        const word = failure === undefined ? 'ok    ' : 'FAILED'
        console.log(`${word} ${(ms / 1_000).toFixed(1).padStart(5)} s  ${result.case.title}`)
        if (failure !== undefined) console.log(`                ${failure}`)
      },
    })
    const seconds = (performance.now() - started) / 1_000
    const each = (seconds / cases.length).toFixed(2)
    console.log(`=== ${names}: ${results.length} cases in ${seconds.toFixed(0)} s, ${each} s each`)
    for (const fault of FAULTS) {
      const of = results.filter((result) => result.case.fault === fault)
      const failed = of.filter(({ failure }) => failure !== undefined).length
      console.log(
        `    ${fault.padEnd(20)} ${String(of.length).padStart(4)} cases, ${failed} failed`,
      )
    }
    return results
  } finally {
    await Promise.all([accounts.stop(), wallets.stop()])
  }
}

if (WITHOUT_ROW.length > 0) throw new Error(`failpoints without a row: ${WITHOUT_ROW.join(', ')}`)
const cases = chosen()
if (values.list) {
  for (const { title } of cases) console.log(title)
  console.log(`${cases.length} cases on each pair of servers`)
} else {
  const both = values.all && values.mysql === undefined
  const results: Result[] = []
  for (const mysql of both ? ['mariadb', 'mysql'] : [values.mysql ?? 'mariadb']) {
    results.push(...(await runOn(mysql, cases)))
  }
  const failed = results.filter(({ failure }) => failure !== undefined)
  if (failed.length > 0) console.log('\nFailed:')
  for (const { case: one, failure } of failed) console.log(`${one.title}: ${failure}`)
  console.log(`\n${results.length - failed.length} passed, ${failed.length} failed`)
  if (failed.length > 0 || results.length === 0) process.exitCode = 1
}
