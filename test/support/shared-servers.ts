/**
 * Once a run, before the first test that needs databases: starts the servers that its test files share, a
 * pair for each worker. Two files that run at one time never meet on a server: each lists, and recovers from,
 * what its own has prepared. Which servers: `UNANIMOUS_TEST_POSTGRES=<version>` and
 * `UNANIMOUS_TEST_MYSQL=mariadb|mysql[:<version>]`; default: whatever the machine can offer.
 */
import type { TestProject } from 'vitest/node'
import type { Flavour, Server } from './servers/index.ts'
import { startMysqlFamily, startPostgres } from './servers/index.ts'
import type { MysqlWish } from './servers/server.ts'

export interface SharedServer {
  readonly flavour: Flavour
  readonly version: string
  readonly url: string
}

export interface SharedServers {
  readonly postgres: SharedServer
  readonly mysql: SharedServer
}

declare module 'vitest' {
  export interface ProvidedContext {
    /** One for each worker, in the order of their ids. */
    readonly pairs: readonly SharedServers[]
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const version = process.env['UNANIMOUS_TEST_POSTGRES'] || undefined
  const wish = mysqlWish(process.env['UNANIMOUS_TEST_MYSQL'])
  const started: (readonly [Server, Server])[] = []
  // One after the other: on a first run they download, and their progress should stay readable.
  for (let worker = 0; worker < project.vitest.config.maxWorkers; worker += 1) {
    // Each pair is of the same programs.
    const options = worker === 0 ? { report: (line: string): void => console.error(line) } : {}
    started.push([await startPostgres({ version }, options), await startMysqlFamily(wish, options)])
  }
  project.provide(
    'pairs',
    started.map(([postgres, mysql]) => ({ postgres: shared(postgres), mysql: shared(mysql) })),
  )
  return async () => {
    await Promise.all(started.flat().map((server) => server.stop()))
  }
}

/** @throws when the text names another flavour. */
export function mysqlWish(text: string | undefined): MysqlWish {
  if (!text) return {}
  const [flavour, version] = text.split(':')
  if (flavour === 'mariadb' || flavour === 'mysql') return { flavour, version }
  throw new Error(`UNANIMOUS_TEST_MYSQL=${text}: expected mariadb or mysql, optionally :version`)
}

function shared({ flavour, version, url }: Server): SharedServer {
  return { flavour, version, url }
}
