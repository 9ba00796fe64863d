/**
 * `npm run test:package`: the package as a user gets it. It is built, packed and installed into an
 * empty project outside this tree; there two short programs, each once as an ES module and once
 * through `require()`, are type-checked with everything strict and commit across both databases: one
 * over the drivers, one over the query libraries.
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
const LIBRARIES = ['drizzle-orm', 'knex', 'kysely', 'typeorm']

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

const LIBRARY_PROGRAM = `
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import knex from 'knex'
import { Kysely, MysqlDialect, sql as raw } from 'kysely'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { DataSource } from 'typeorm'
import { Coordinator } from 'unanimous'
import { drizzleOver } from 'unanimous/drizzle'
import { knexOver } from 'unanimous/knex'
import { kyselyOver } from 'unanimous/kysely'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { typeormOver } from 'unanimous/typeorm'

async function main(log: string, ledgerUrl: string, shopUrl: string): Promise<void> {
  const ledgerPool = new Pool({ connectionString: ledgerUrl })
  const flags = { supportBigNumbers: true, bigNumberStrings: true, stringifyObjects: true }
  const shopPool = createPool({ uri: shopUrl, ...flags })
  const participants = { ledger: postgres(ledgerPool), shop: mysql(shopPool) }
  const coordinator = await Coordinator.open({ log, participants })
  const [ledger, shop] = [coordinator.pool('ledger'), coordinator.pool('shop')]
  const byKnex = knex({ client: 'pg', connectionPool: knexOver(ledger) })
  const byDrizzle = drizzle(drizzleOver(ledger))
  const byKysely = new Kysely<object>({ dialect: new MysqlDialect({ pool: kyselyOver(shop) }) })
  const byTypeorm = new DataSource({ type: 'mysql', driver: typeormOver(shop) })
  await byTypeorm.initialize()
  await coordinator.transaction(async () => {
    await byKnex('account').where({ id: 1 }).decrement('balance', 50)
    await byDrizzle.transaction((tx) => tx.execute(sql\`update account set balance = balance - 50\`))
    await raw\`update wallet set balance = balance + 50\`.execute(byKysely)
    await byTypeorm.transaction((em) => em.query('update wallet set balance = balance + 50'))
  })
  await Promise.all([byKnex.destroy(), byKysely.destroy(), byTypeorm.destroy()])
  await coordinator.close()
  await Promise.all([ledgerPool.end(), shopPool.end()])
}

const [log = '', ledgerUrl = '', shopUrl = ''] = process.argv.slice(2)
main(log, ledgerUrl, shopUrl).catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
`

/**
 * Drizzle's and TypeORM's own declarations want the types of every driver that they know, so those of
 * the libraries are not checked.
 */
const PROGRAMS = {
  drivers: { text: PROGRAM, skipLibCheck: false },
  libraries: { text: LIBRARY_PROGRAM, skipLibCheck: true },
}

const COMPILER_OPTIONS = {
  target: 'es2023',
  module: 'nodenext',
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
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
  const companions = [...COMPANIONS, ...LIBRARIES].map(
    (name) => `${name}@${manifest.devDependencies[name]}`,
  )
  await writeFile(join(project, 'package.json'), '{ "name": "shop", "private": true }')
  const quiet = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  await mustRun('npm', ['install', ...quiet, tarball, ...companions], { cwd: project })
}

/** The same text twice: TypeScript turns the second one's imports into `require()`. */
async function compileIn(project: string, name: keyof typeof PROGRAMS): Promise<void> {
  const { text, skipLibCheck } = PROGRAMS[name]
  await writeFile(join(project, `${name}-module.mts`), text)
  await writeFile(join(project, `${name}-require.cts`), text)
  const compilerOptions = { ...COMPILER_OPTIONS, skipLibCheck }
  const config = { compilerOptions, include: [`${name}-*.mts`, `${name}-*.cts`] }
  await writeFile(join(project, `tsconfig.${name}.json`), JSON.stringify(config))
  const compiler = join('node_modules', 'typescript', 'bin', 'tsc')
  await mustRun(process.execPath, [compiler, '-p', `tsconfig.${name}.json`], { cwd: project })
  const required = await readFile(join(project, `${name}-require.cjs`), 'utf8')
  if (!required.includes('require("unanimous")')) throw new Error(`${name}: it has no require()`)
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
    await step('type-checks under strict, drivers included', () => compileIn(project, 'drivers'))
    await step('type-checks over the query libraries', () => compileIn(project, 'libraries'))
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
    let moved = 0
    for (const name of ['drivers', 'libraries']) {
      for (const [way, file] of [
        ['an ES module', `${name}-module.mjs`],
        ['require()', `${name}-require.cjs`],
      ] as const) {
        await step(`commits across both databases over the ${name}, from ${way}`, async () => {
          await run(file)
          moved += 100
          await expectBalances(databases, 1000 - moved, moved)
        })
      }
    }
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
