/**
 * Once a run, before the first test that needs databases: starts the two servers that all test
 * files share. Which ones: `UNANIMOUS_TEST_POSTGRES=<version>` and
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

declare module 'vitest' {
  export interface ProvidedContext {
    readonly postgres: SharedServer
    readonly mysql: SharedServer
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const options = { report: (line: string): void => console.error(line) }
  const version = process.env['UNANIMOUS_TEST_POSTGRES'] || undefined
  // One after the other: on a first run both download, and their progress should stay readable.
  const postgres = await startPostgres({ version }, options)
  const mysql = await startMysqlFamily(mysqlWish(process.env['UNANIMOUS_TEST_MYSQL']), options)
  project.provide('postgres', shared(postgres))
  project.provide('mysql', shared(mysql))
  return async () => {
    await Promise.all([postgres.stop(), mysql.stop()])
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
