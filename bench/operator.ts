/**
 * What a person waits for when much is unsettled: `npm run bench -- operator`.
 *
 * So many transactions are decided and prepared in both databases, by a process that is gone. Then, in
 * one run: the first page of `list` against the bare listing queries on connections that are there, and `recover --apply` against a bare
 * loop of COMMIT PREPARED and XA COMMIT over as many branches, with one connection for each database.
 *
 * The page's time is that of the command: from its words to its last line, connections of its own included. What
 * Node.js takes to start and to load modules is the process's; that figure is printed beside it.
 *
 *   --count <n>         transactions (default 10,000)
 *   --mysql <flavour>   mariadb or mysql
 *   --postgres <major>  15 (default) or 18
 *   --page <x>          fail when the page takes more than this times the queries (default 3)
 *   --rate <x>          fail when recovery settles at less than this part of the bare rate (default 0.8)
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { ROOT } from '../scripts/source-tree.ts'
import type { runCli } from '../src/cli/program.ts'
import { prepareMany, timeOf, Unsettled } from '../test/support/many-unsettled.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'

const ROUNDS = 5
const WARM = 2

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string' },
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      page: { type: 'string' },
      rate: { type: 'string' },
    },
  })
  const count = Number(values.count ?? 10_000)
  const flavour = values.mysql === 'mysql' ? 'mysql' : 'mariadb'
  const report = (line: string): void => console.error(line)
  const settings = [`max_prepared_transactions=${2 * count + 100}`, 'max_connections=100']
  const postgres = await startPostgres({ version: values.postgres }, { report, settings })
  const mysql = await startMysqlFamily({ flavour }, { report })
  const folder = await mkdtemp(join(tmpdir(), 'unanimous-bench-'))
  const unsettled = await Unsettled.open(
    folder,
    await createDatabase(postgres, 'bench'),
    await createDatabase(mysql, 'bench'),
    await builtCli(),
  )
  try {
    report(`preparing ${count} transactions, and ${count} without a log`)
    const bare = await prepareMany(unsettled, count, 'bare')
    await prepareMany(unsettled, count, 'logged')

    // In turn, and twice before it counts: what else the machine does weighs on both.
    const [queries = 0, page = 0, whole = 0] = await medians([
      () => unsettled.listBare(),
      () => unsettled.cli('list'),
      () => unsettled.process('list'),
    ])
    const bareMs = await timeOf(() => unsettled.settleBare(bare))
    const recoverMs = await timeOf(() => unsettled.cli('recover', '--apply'))

    const times = page / queries
    const rate = bareMs / recoverMs
    const perSecond = (ms: number): string => ((2 * count) / (ms / 1_000)).toFixed(0)
    console.log(
      `the same as a process: ${whole.toFixed(0)} ms: ${(whole / queries).toFixed(2)} times`,
    )
    console.log(
      `first page of ${count}: ${page.toFixed(0)} ms, the bare queries ${queries.toFixed(0)} ms: ${times.toFixed(2)} times`,
    )
    console.log(
      `recover --apply: ${perSecond(recoverMs)} branches a second, bare ${perSecond(bareMs)}: ${rate.toFixed(2)} of it`,
    )
    if (times > Number(values.page ?? 3) || rate < Number(values.rate ?? 0.8)) process.exitCode = 1
  } catch (cause) {
    // Before the servers end, and every connection complains of that.
    console.error(cause)
    throw cause
  } finally {
    await unsettled.close()
    await Promise.all([postgres.stop(), mysql.stop()])
    await rm(folder, { recursive: true, force: true })
  }
}

/** What users run; the package does not export it. */
async function builtCli(): Promise<typeof runCli> {
  const path = join(ROOT, 'dist/src/cli/program.js')
  const built = (await import(pathToFileURL(path).href)) as { readonly runCli: typeof runCli }
  return built.runCli
}

async function medians(works: readonly (() => Promise<unknown>)[]): Promise<readonly number[]> {
  const rounds: number[][] = []
  for (let round = -WARM; round < ROUNDS; round += 1) {
    const times: number[] = []
    for (const work of works) times.push(await timeOf(work))
    if (round >= 0) rounds.push(times)
  }
  return works.map((_, index) => {
    const all = rounds.map((times) => times[index] ?? 0).toSorted((a, b) => a - b)
    return all[Math.floor(ROUNDS / 2)] ?? 0
  })
}

await main()
