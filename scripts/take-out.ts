/**
 * `npm run test:takeout`: takes the handling of one trap after the other out of a copy of the tree,
 * and expects the trap's test to fail on every server that it concerns. A test that passes without
 * what it tests proves nothing.
 *
 * First every named test must pass on the untouched copy. A handling counts as missed when an assertion
 * of its test fails without it. Any other failure, a time-out above all, may be the machine's: then the
 * same test must pass right afterwards on the untouched copy, in less than half the time that it was
 * given without.
 *
 * `-- T4 A16` takes out those, `-- B` all of a section. The last line is `N passed, N failed`; exits
 * with 1 when a test did not notice. That every patch fits is one of `npm run check`'s rules.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { z } from 'zod'
import { mysqlSession } from '../test/contract/mysql-harness.ts'
import { pgSession } from '../test/contract/pg-harness.ts'
import { type Server, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import { messageOf } from '../test/support/servers/server.ts'
import { runCommand } from './run-command.ts'
import { editsOf, TAKE_OUTS, without } from './take-out/all.ts'
import type { TakeOut } from './take-out/patch.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TREE = [
  'adapters',
  'examples',
  'src',
  'test',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
]

/**
 * A test without its handling may wait for what never comes, and so may the hooks behind it. One that
 * takes long untouched, because it restarts servers, is given more.
 */
const TAKEN_OUT_MS = 12_000
const TIMES_UNTOUCHED = 4
const UNTOUCHED_MS = 30_000
const HOOK_MS = 15_000

/** What says that something was found to be otherwise, and not that something went wrong. */
const ASSERTION = /^AssertionError\b|^Error: never came true/
const OF_ONE_ADAPTER = /^adapters\/(?:pg|mysql2|dialect\/(?:postgres|mysql))\b/

/** A pair of servers with a copy of the tree: one takes out while the other waits for its servers. */
interface Cell {
  readonly folder: string
  readonly postgres: Server
  readonly mysql: Server
}

interface Verdict {
  readonly takeOut: TakeOut
  readonly server: string
  /** How it failed; `undefined`: not as it must. */
  readonly how: string | undefined
  readonly trouble?: string
}

const Report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      assertionResults: z.array(
        z.object({
          title: z.string(),
          status: z.string(),
          duration: z.number().nullish(),
          failureMessages: z.array(z.string()).nullish(),
        }),
      ),
    }),
  ),
})

const wanted = process.argv.slice(2)
const takeOuts = TAKE_OUTS.filter(
  ({ trap }) => wanted.length === 0 || wanted.some((one) => one === trap || one === trap[0]),
)

const started = performance.now()
const cells = await Promise.all([cell('15', 'mariadb', '10.11'), cell('18', 'mysql', '9')])
const verdicts: Verdict[] = []
try {
  await Promise.all(cells.map((one) => runCell(one)))
} finally {
  for (const { folder, postgres, mysql } of cells) {
    rmSync(folder, { recursive: true, force: true })
    await Promise.all([postgres.stop(), mysql.stop()])
  }
}
const table = new Table({
  head: ['trap', 'taken out', 'test', 'server', 'failed as it must'],
  style: { head: [], border: [] },
})
verdicts.sort((a, b) => takeOuts.indexOf(a.takeOut) - takeOuts.indexOf(b.takeOut))
for (const { takeOut, server, how, trouble } of verdicts) {
  table.push([takeOut.trap, takeOut.what, takeOut.test, server, how ?? `NO: ${trouble}`])
}
console.log(table.toString())
const failed = verdicts.filter(({ how }) => how === undefined).length
if (failed > 0) process.exitCode = 1
console.log(`${takeOuts.length} handlings, ${Math.round((performance.now() - started) / 1000)} s`)
console.log(`${verdicts.length - failed} passed, ${failed} failed`)

async function cell(version: string, flavour: 'mariadb' | 'mysql', other: string): Promise<Cell> {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-take-out-'))
  for (const name of TREE) cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const options = { report: (line: string): void => console.error(line) }
  const postgres = await startPostgres({ version }, options)
  return { folder, postgres, mysql: await startMysqlFamily({ flavour, version: other }, options) }
}

async function runCell(on: Cell): Promise<void> {
  const here = takeOuts.filter((one) => serverOf(one, on) !== undefined)
  // Without a title and a file to run, every test would be run.
  if (here.length === 0) return
  const before = await run(on, here, UNTOUCHED_MS)
  const limits = new Map<TakeOut, number>()
  const sound = here.filter((takeOut) => {
    const { status, ms } = resultOf(before, takeOut)
    limits.set(takeOut, Math.max(TAKEN_OUT_MS, ms * TIMES_UNTOUCHED))
    if (status === 'passed') return true
    judge(takeOut, on, undefined, `untouched, it ${status}`)
    return false
  })
  for (const together of pairs(sound)) {
    await takeOutOf(on, together, Math.max(...together.map((one) => limits.get(one) ?? 0)))
  }
}

/**
 * Half the runs: one handling of each adapter is taken out at a time. What adapters share stays alone,
 * and so do tests that kill their own servers.
 */
function pairs(all: readonly TakeOut[]): TakeOut[][] {
  const of = (file: string): TakeOut[] =>
    all.filter((one) => one.testFile.endsWith(file) && OF_ONE_ADAPTER.test(one.file))
  const [pg, mysql] = [of('/pg.test.ts'), of('/mysql2.test.ts')]
  const alone = all.filter((one) => !pg.includes(one) && !mysql.includes(one))
  const longer = pg.length > mysql.length ? pg : mysql
  const shorter = longer === pg ? mysql : pg
  const paired = longer.map((one, at) => [one, ...shorter.slice(at, at + 1)])
  return [...paired, ...alone.map((one) => [one])]
}

function judge(takeOut: TakeOut, on: Cell, how: string | undefined, trouble = ''): void {
  const server = serverOf(takeOut, on) ?? ''
  verdicts.push({ takeOut, server, how, trouble })
  const word = how === undefined ? 'FAILED' : 'ok    '
  console.error(`${word} ${takeOut.trap} on ${server}: ${takeOut.what} (${how ?? trouble})`)
}

/** The cell's server that the test concerns, by name. */
function serverOf({ at }: TakeOut, { postgres, mysql }: Cell): string | undefined {
  const found = [postgres, mysql].find(({ flavour, version }) =>
    at.some((one) => one === flavour || one === `${flavour} ${version.split('.')[0]}`),
  )
  return found === undefined ? undefined : `${found.flavour} ${found.version}`
}

async function takeOutOf(on: Cell, together: readonly TakeOut[], limitMs: number): Promise<void> {
  const edits = together.flatMap(editsOf)
  const whole = new Map(
    edits.map(({ file }) => [file, readFileSync(join(on.folder, file), 'utf8')] as const),
  )
  const put = (file: string, text: string): void => writeFileSync(join(on.folder, file), text)
  let results: Result[] = []
  try {
    for (const edit of edits) {
      const text = without(edit, readFileSync(join(on.folder, edit.file), 'utf8'))
      if (text === undefined) throw new Error(`does not fit any more: ${edit.from} (${edit.file})`)
      put(edit.file, text)
    }
    results = await run(on, together, limitMs)
  } catch (cause) {
    console.error(messageOf(cause))
  } finally {
    for (const [file, text] of whole) put(file, text)
    await sweep(on)
  }
  for (const one of together) await verdict(on, one, resultOf(results, one), limitMs)
}

/** An assertion speaks for itself; whatever else failed must hold, and soon, on the untouched copy. */
async function verdict(
  on: Cell,
  one: TakeOut,
  { status, failures }: Found,
  limitMs: number,
): Promise<void> {
  if (status !== 'failed') return judge(one, on, undefined, `it ${status}`)
  if (failures.some((text) => ASSERTION.test(text))) return judge(one, on, 'by an assertion')
  const what = failures[0]?.split('\n')[0]?.slice(0, 60) ?? 'it failed'
  const control = resultOf(await run(on, [one], limitMs), one)
  await sweep(on)
  const seconds = (control.ms / 1000).toFixed(1)
  if (control.status === 'passed' && control.ms < limitMs / 2) {
    return judge(one, on, `${what}; untouched it passed in ${seconds} s`)
  }
  return judge(one, on, undefined, `${what}; untouched it ${control.status} after ${seconds} s`)
}

type Result = z.infer<typeof Report>['testResults'][number]['assertionResults'][number] & {
  readonly file: string
}

interface Found {
  readonly status: 'passed' | 'failed' | 'did not run'
  readonly failures: readonly string[]
  readonly ms: number
}

/** `failed` when one of the tests that begin so failed. */
function resultOf(results: readonly Result[], { test, testFile }: TakeOut): Found {
  const found = results.filter((one) => one.file.endsWith(testFile) && one.title.startsWith(test))
  const failed = found.filter(({ status }) => status === 'failed')
  const status = found.length === 0 ? 'did not run' : failed.length > 0 ? 'failed' : 'passed'
  return {
    status,
    failures: failed.flatMap(({ failureMessages }) => failureMessages ?? []),
    ms: found.reduce((most, { duration }) => Math.max(most, duration ?? 0), 0),
  }
}

/** Runs the tests of these titles, and nothing else. */
async function run(on: Cell, some: readonly TakeOut[], limitMs: number): Promise<Result[]> {
  const report = join(on.folder, 'report.json')
  rmSync(report, { force: true })
  const titles = some.map(({ test }) => test.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const files = [...new Set(some.map(({ testFile }) => testFile))]
  const args = ['run', '--project', 'servers', '--reporter=json', `--outputFile=${report}`]
  args.push(
    `--testTimeout=${limitMs}`,
    `--hookTimeout=${HOOK_MS}`,
    '-t',
    titles.join('|'),
    ...files,
  )
  await runCommand('vitest', args, { cwd: on.folder, env: environment(on) })
  const { testResults } = Report.parse(JSON.parse(readFileSync(report, 'utf8')))
  return testResults
    .flatMap(({ name, assertionResults }) =>
      assertionResults.map((one) => ({ ...one, file: name })),
    )
    .filter(({ status }) => status === 'passed' || status === 'failed')
}

function environment({ postgres, mysql }: Cell): Record<string, string> {
  return {
    UNANIMOUS_POSTGRES_URL: postgres.url,
    UNANIMOUS_MYSQL_URL: mysql.url,
    UNANIMOUS_TEST_POSTGRES: postgres.version,
    UNANIMOUS_TEST_MYSQL: `${mysql.flavour}:${mysql.version}`,
  }
}

/** What a test without its handling left prepared would make the next one fail. */
async function sweep({ postgres, mysql }: Cell): Promise<void> {
  const pg = await pgSession(postgres.url)
  const prepared = await pg.run('SELECT gid, database FROM pg_prepared_xacts')
  for (const { gid, database } of prepared) {
    const url = new URL(postgres.url)
    url.pathname = `/${String(database)}`
    const session = await pgSession(url.href)
    await session.run(`ROLLBACK PREPARED '${String(gid).replaceAll("'", "''")}'`).catch(ignore)
    session.close()
  }
  pg.close()
  const my = await mysqlSession(mysql.url)
  for (const row of await my.run('XA RECOVER')) {
    const [data, length] = [Buffer.from(String(row['data'])), Number(row['gtrid_length'])]
    const parts = [data.subarray(0, length), data.subarray(length)]
    const xid = parts.map((part) => `X'${part.toString('hex')}'`).join()
    await my.run(`XA ROLLBACK ${xid},${Number(row['formatID'])}`).catch(ignore)
  }
  my.close()
}

function ignore(): void {
  // Somebody else was first.
}
