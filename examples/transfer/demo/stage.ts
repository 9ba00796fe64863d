/**
 * Where the demo plays: two servers, a database on each, a directory for the decision log; and the
 * end of all of it, however the demo ends.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Server } from '../../../test/support/servers/index.ts'
import {
  createDatabase,
  startMysqlFamily,
  startPostgres,
} from '../../../test/support/servers/index.ts'
import { ACCOUNTS_URL, DECISIONS, openPools, type Pools, WALLETS_URL } from '../environment.ts'
import { createSchema } from '../schema.ts'
import { type Environment, killChildren, runCli } from './child.ts'
import { Observer } from './observe.ts'
import type { DemoOptions } from './options.ts'
import { faint, line, quote } from './screen.ts'

export interface Stage {
  readonly postgres: Server
  readonly mysql: Server
  readonly pools: Pools
  readonly observer: Observer
  /** Directory of the decision log. */
  readonly decisions: string
  /** What the worker and the command line find the stage by. */
  readonly environment: Environment
}

const NAMES = { postgres: 'PostgreSQL', mariadb: 'MariaDB', mysql: 'MySQL' }

export function nameOf({ flavour, version }: Server): string {
  return `${NAMES[flavour]} ${version}`
}

const endings: (() => Promise<unknown>)[] = []

/** Something that must end before what the stage is made of. */
export function atEnd(end: () => Promise<unknown>): void {
  endings.push(end)
}

let striking: Promise<void> | undefined

/** Ends what was begun, last first. Once, whoever asks for it. */
export function strike(): Promise<void> {
  striking ??= endAll()
  return striking
}

async function endAll(): Promise<void> {
  killChildren()
  for (let end = endings.pop(); end !== undefined; end = endings.pop()) {
    await end().catch((cause: unknown) => console.error(cause))
  }
}

/** Servers, databases, tables and marker tables. */
export async function build(options: DemoOptions): Promise<Stage> {
  const report = (text: string): void => line(faint(text))
  const postgres = await startPostgres(options.postgres, { report })
  endings.push(() => postgres.stop())
  line(`${nameOf(postgres)}, ${postgres.source}`)
  const mysql = await startMysqlFamily(options.mysql, { report })
  endings.push(() => mysql.stop())
  line(`${nameOf(mysql)}, ${mysql.source}`)
  const decisions = await mkdtemp(join(diskFolder(), 'unanimous-demo-'))
  endings.push(() => rm(decisions, { recursive: true, force: true }))
  const name = `demo_${randomBytes(4).toString('hex')}`
  const accountsUrl = await createDatabase(postgres, name)
  endings.push(() => drop(postgres, name))
  const walletsUrl = await createDatabase(mysql, name)
  endings.push(() => drop(mysql, name))
  const pools = openPools(accountsUrl, walletsUrl)
  endings.push(() => pools.close())
  const observer = new Observer(pools)
  endings.push(() => observer.rollBackAll())
  await createSchema(pools.accounts, pools.wallets)
  const environment = {
    [ACCOUNTS_URL]: accountsUrl,
    [WALLETS_URL]: walletsUrl,
    [DECISIONS]: decisions,
  }
  return { postgres, mysql, pools, observer, decisions, environment }
}

/** Creates the marker tables, as a user would. @throws what the command said, when it failed */
export async function initialise(stage: Stage): Promise<void> {
  const { code, output } = await runCli(['init', '--apply'], stage.environment)
  if (code !== 0) throw new Error(`\`unanimous init\` ended with ${code}:\n${output}`)
  line('unanimous init --apply')
  quote(output)
}

/** Servers that somebody else runs keep nothing of ours. */
async function drop(server: Server, name: string): Promise<void> {
  const pools = openPools(server.url, server.url)
  try {
    if (server.flavour === 'postgres') {
      await pools.accounts.query(`drop database if exists ${name} with (force)`)
    } else await pools.wallets.query(`drop database if exists ${name}`)
  } finally {
    await pools.close()
  }
}

/** A folder on a disk: many systems keep their temporary files in memory, which no log may trust. */
function diskFolder(): string {
  return existsSync('/var/tmp') ? '/var/tmp' : tmpdir()
}
