/**
 * `npm run test:package`: the package as a user gets it. It is built, packed and installed into an
 * empty project outside this tree; there the same short program, once as an ES module and once
 * through `require()`, is type-checked with everything strict and commits across both databases.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { z } from 'zod'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import { packInto } from './package-file.ts'
import { mustRun } from './run-command.ts'
import { ROOT } from './source-tree.ts'

/** What the project of a user who writes TypeScript has beside us. */
const COMPANIONS = ['@types/node', '@types/pg', 'mysql2', 'pg', 'typescript']

const PROGRAM = `
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

async function main(log: string, ledgerUrl: string, shopUrl: string): Promise<void> {
  const [ledgerPool, shopPool] = [new Pool({ connectionString: ledgerUrl }), createPool(shopUrl)]
  const participants = { ledger: postgres(ledgerPool), shop: mysql(shopPool) }
  const coordinator = await Coordinator.open({ log, participants })
  await coordinator.transaction(async (tx) => {
    await tx.ledger.query('update account set balance = balance - $1 where id = $2', [100, 1])
    await tx.shop.query('update wallet set balance = balance + ? where id = ?', [100, 1])
  })
  await coordinator.close()
  await Promise.all([ledgerPool.end(), shopPool.end()])
}

const [log = '', ledgerUrl = '', shopUrl = ''] = process.argv.slice(2)
main(log, ledgerUrl, shopUrl).catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
`

const COMPILER_OPTIONS = {
  target: 'es2023',
  module: 'nodenext',
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
}

let passed = 0

async function step(name: string, run: () => Promise<void>): Promise<void> {
  const started = performance.now()
  await run()
  passed += 1
  console.log(`ok ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
}

async function installInto(project: string): Promise<void> {
  await mustRun('npm', ['run', '--silent', 'build'])
  const packed = join(project, 'packed')
  await mkdir(packed)
  const tarball = await packInto(packed)
  const manifest = z
    .object({ devDependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')))
  const companions = COMPANIONS.map((name) => `${name}@${manifest.devDependencies[name]}`)
  await writeFile(join(project, 'package.json'), '{ "name": "shop", "private": true }')
  const quiet = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  await mustRun('npm', ['install', ...quiet, tarball, ...companions], { cwd: project })
}

/** The same text twice: TypeScript turns the second one's imports into `require()`. */
async function compileIn(project: string): Promise<void> {
  await writeFile(join(project, 'as-module.mts'), PROGRAM)
  await writeFile(join(project, 'as-require.cts'), PROGRAM)
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ['*.mts', '*.cts'] }),
  )
  const compiler = join('node_modules', 'typescript', 'bin', 'tsc')
  await mustRun(process.execPath, [compiler, '-p', '.'], { cwd: project })
  const required = await readFile(join(project, 'as-require.cjs'), 'utf8')
  if (!required.includes('require("unanimous")')) throw new Error('as-require.cjs has no require()')
}

interface Databases {
  readonly ledgerUrl: string
  readonly shopUrl: string
}

async function fill({ ledgerUrl, shopUrl }: Databases): Promise<void> {
  const ledger = new Client({ connectionString: ledgerUrl })
  await ledger.connect()
  await ledger.query('create table account (id int primary key, balance bigint not null)')
  await ledger.query('insert into account values (1, 1000)')
  await ledger.end()
  const shop = await createConnection(shopUrl)
  await shop.query(
    'create table wallet (id int primary key, balance bigint not null) engine=innodb',
  )
  await shop.query('insert into wallet values (1, 0)')
  await shop.end()
}

async function expectBalances(
  databases: Databases,
  account: number,
  wallet: number,
): Promise<void> {
  const ledger = new Client({ connectionString: databases.ledgerUrl })
  await ledger.connect()
  const accounts = await ledger.query<{ balance: string }>('select balance from account')
  const prepared = await ledger.query('select gid from pg_prepared_xacts')
  await ledger.end()
  const shop = await createConnection(databases.shopUrl)
  const [wallets] = await shop.query('select cast(balance as char) as balance from wallet')
  const [branches] = await shop.query('xa recover')
  await shop.end()
  const seen = JSON.stringify([accounts.rows, wallets, prepared.rows, branches])
  const wanted = [[{ balance: `${account}` }], [{ balance: `${wallet}` }], [], []]
  if (seen !== JSON.stringify(wanted)) {
    throw new Error(`the databases hold ${seen}, expected ${JSON.stringify(wanted)}`)
  }
}

async function main(): Promise<void> {
  const project = await mkdtemp(join(tmpdir(), 'unanimous-package-'))
  const stops: (() => Promise<void>)[] = [() => rm(project, { recursive: true, force: true })]
  try {
    await step('packs, and installs into an empty project', () => installInto(project))
    await step('type-checks under strict, libraries included', () => compileIn(project))
    await step('the command line starts', async () => {
      await mustRun(join(project, 'node_modules', '.bin', 'unanimous'), ['--version'], {
        cwd: project,
      })
    })

    const postgresServer = await startPostgres({}, { report: console.log })
    stops.push(() => postgresServer.stop())
    const mysqlServer = await startMysqlFamily({}, { report: console.log })
    stops.push(() => mysqlServer.stop())
    const name = `package_${process.pid}`
    const databases = {
      ledgerUrl: await createDatabase(postgresServer, name),
      shopUrl: await createDatabase(mysqlServer, name),
    }
    await fill(databases)

    const run = async (program: string): Promise<void> => {
      const args = [program, 'decisions', databases.ledgerUrl, databases.shopUrl]
      await mustRun(process.execPath, args, { cwd: project })
    }
    await step('commits across both databases from an ES module', async () => {
      await run('as-module.mjs')
      await expectBalances(databases, 900, 100)
    })
    await step('commits across both databases from require()', async () => {
      await run('as-require.cjs')
      await expectBalances(databases, 800, 200)
    })
  } finally {
    for (const stop of stops.reverse()) await stop()
  }
}

try {
  await main()
  console.log(`${passed} passed, 0 failed`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  console.log(`${passed} passed, 1 failed`)
  process.exitCode = 1
}
