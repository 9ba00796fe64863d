/**
 * A PostgreSQL and a MySQL or MariaDB for the demo, the tests and the benchmarks, with no hand work
 * and with the settings that two-phase commit needs. The order of search is the list below.
 */
import { debian } from './debian.ts'
import { docker } from './docker.ts'
import { embedded } from './embedded.ts'
import { environment } from './environment.ts'
import { machine } from './machine.ts'
import { createDatabaseAt } from './probe.ts'
import { search } from './search.ts'
import type { MysqlWish, PostgresWish, Server, StartOptions, Wish } from './server.ts'

export type { Flavour, MysqlWish, PostgresWish, Report, Server, StartOptions } from './server.ts'
export { Unavailable } from './server.ts'

/** Those whose settings are ours to choose. */
const OURS = [machine, embedded, debian]
const PROVIDERS = [environment, docker, ...OURS]

/** @throws Unavailable, naming each way that was tried and what would help. */
export async function startPostgres(
  wish: PostgresWish = {},
  options: StartOptions = {},
): Promise<Server> {
  return start({ flavours: ['postgres'], version: wish.version }, options)
}

/** @throws Unavailable, naming each way that was tried and what would help. */
export async function startMysqlFamily(
  wish: MysqlWish = {},
  options: StartOptions = {},
): Promise<Server> {
  const flavours = wish.flavour === undefined ? (['mariadb', 'mysql'] as const) : [wish.flavour]
  return start({ flavours, version: wish.version }, options)
}

function start(wish: Wish, { report, fresh, settings }: StartOptions): Promise<Server> {
  const providers = settings === undefined ? PROVIDERS : OURS
  return search(providers, { ...wish, fresh, settings }, report ?? (() => undefined))
}

/** A new, empty database on the server. @returns its URL. @throws if one of that name exists. */
export async function createDatabase(
  server: { readonly url: string },
  name: string,
): Promise<string> {
  return createDatabaseAt(server.url, name)
}
