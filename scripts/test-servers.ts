/**
 * Runs the tests that talk to databases on every server of the matrix: PostgreSQL 15 with MariaDB 10.11,
 * PostgreSQL 18 with MySQL 9; with `--full`, every PostgreSQL with every other server; with `--rest`,
 * without the first cell, for whoever has just run `npm test` on its servers. On MariaDB 11 the
 * contract and the traps alone.
 *
 * Before its end it says, for each server, how many cases of the contract and how many traps were
 * tested. The last line is the sum of all cells, `N passed, N failed`. Exits with 1 when a test failed, when
 * a cell ended without saying its counts, when a server of the matrix could not be had, or when a
 * trap was tested on none: a matrix with a hole is not green.
 */
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import {
  type Counts,
  countsLine,
  parseCounts,
  parseServerLine,
  type ServerCounts,
  serverLine,
} from '../test/support/reporter.ts'
import { startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import { messageOf } from '../test/support/servers/server.ts'
import { mysqlWish } from '../test/support/shared-servers.ts'

interface Cell {
  readonly postgres: string
  /** As in `UNANIMOUS_TEST_MYSQL`. */
  readonly mysql: string
  /** Test files. Default: those that were asked for. */
  readonly paths?: readonly string[]
}

const CONTRACT = 'test/contract'
const FOLDERS = [CONTRACT, 'test/integration']
const POSTGRES = ['15', '18']
const MYSQL = ['mariadb:10.11', 'mysql:9']
const NEWER_MARIADB: Cell = {
  postgres: '18',
  mysql: 'mariadb:11.8',
  paths: [`${CONTRACT}/mysql2`, `${CONTRACT}/own-`, `${CONTRACT}/format-id`],
}
const VITEST = join(
  dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
  'vitest.mjs',
)

const { cells, folders } = parseArguments(process.argv.slice(2))
const sum: Counts = { passed: 0, failed: 0, skipped: 0 }
const holes: string[] = []
const servers = new Map<string, ServerCounts>()

for (const cell of cells) {
  try {
    const title = await titleOf(cell)
    console.log(`\n=== ${title}`)
    const counts = await runCell(cell, cell.paths ?? folders)
    console.log(`=== ${title}: ${countsLine(counts)}`)
    sum.passed += counts.passed
    sum.failed += counts.failed
    sum.skipped += counts.skipped
  } catch (error) {
    holes.push(`PostgreSQL ${cell.postgres} with ${cell.mysql}: ${messageOf(error)}`)
  }
}

console.log('\nOn each server:')
for (const [server, counts] of servers) console.log(serverLine(server, counts))
if (folders.includes(CONTRACT)) {
  for (let trap = 1; trap <= 10; trap += 1) {
    const tested = [...servers.values()].some(({ ids }) => ids.has(`T${trap}`))
    if (!tested) holes.push(`T${trap}: no server was tested for it`)
  }
}
if (holes.length > 0) {
  console.log('\nNot run:')
  for (const hole of holes) console.log(hole)
}
if (holes.length > 0 || sum.failed > 0) process.exitCode = 1
console.log(`\n${countsLine({ ...sum, failed: sum.failed + holes.length })}`)

function parseArguments(words: readonly string[]): { cells: Cell[]; folders: readonly string[] } {
  const isFull = words.includes('--full')
  const first = words.includes('--rest') ? 1 : 0
  const paths = words.filter((word) => word !== '--full' && word !== '--rest')
  const full = POSTGRES.flatMap((postgres) => MYSQL.map((mysql) => ({ postgres, mysql })))
  const diagonal = full.filter(
    ({ postgres, mysql }) => POSTGRES.indexOf(postgres) === MYSQL.indexOf(mysql),
  )
  const chosen = (isFull ? full : diagonal).slice(first)
  if (paths.length > 0) return { cells: chosen, folders: paths }
  return { cells: [...chosen, NEWER_MARIADB], folders: FOLDERS }
}

/** Names the cell's servers after the servers themselves, and so learns first if they can be had. */
async function titleOf(cell: Cell): Promise<string> {
  const options = { report: (line: string): void => console.error(line) }
  const postgres = await startPostgres({ version: cell.postgres }, options)
  await postgres.stop()
  const mysql = await startMysqlFamily(mysqlWish(cell.mysql), options)
  await mysql.stop()
  return `PostgreSQL ${postgres.version}, ${mysql.flavour} ${mysql.version}`
}

/** @throws when the run ended without a line of counts, or disagrees with it by its exit code. */
async function runCell(cell: Cell, paths: readonly string[]): Promise<Counts> {
  const child = spawn(process.execPath, [VITEST, 'run', ...paths], {
    env: {
      ...process.env,
      UNANIMOUS_TEST_POSTGRES: cell.postgres,
      UNANIMOUS_TEST_MYSQL: cell.mysql,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    process.stdout.write(text)
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  for (const line of output.split('\n')) {
    const seen = parseServerLine(line)
    if (seen !== undefined) servers.set(seen.server, add(servers.get(seen.server), seen.counts))
  }
  const counts = parseCounts(output.trimEnd().split('\n').at(-1) ?? '')
  if (counts === undefined) throw new Error(`the run ended (${code}) without its counts`)
  if (code !== 0 && counts.failed === 0) throw new Error(`the run ended with ${code}`)
  return counts
}

/** With `--full` a server is in several cells. */
function add(one: ServerCounts | undefined, other: ServerCounts): ServerCounts {
  if (one === undefined) return other
  return {
    contract: one.contract + other.contract,
    traps: one.traps + other.traps,
    failed: one.failed + other.failed,
    ids: new Set([...one.ids, ...other.ids]),
  }
}
