/**
 * Reads, on the participant's own connection and in the pool's options, what bears on two-phase
 * commit. What a server refuses to tell becomes part of the answer; what is no server's answer is
 * thrown.
 */
import type { Capabilities, Clock } from '../../src/adapter.ts'
import type { Learned } from '../dialect/contact.ts'
import { judge } from '../dialect/findings.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, RMERR } from '../dialect/mysql-errors.ts'
import { MYSQL_VARIABLES, type MysqlAllow, mysqlFacts } from '../dialect/mysql-findings.ts'
import type { OwnConnection } from './connections.ts'
import type { MysqlPoolConfig } from './driver-types.ts'
import { identify, list } from './prove.ts'
import { isHidden } from './witness.ts'

export interface MysqlLearned extends Learned {
  readonly flavour: sql.Flavour
  /** The marker table's schema; `undefined` when there is no table that we could use. */
  readonly markerSchema: string | undefined
}

export interface MysqlLookOptions {
  readonly clock: Clock
  readonly pool: MysqlPoolConfig
  /** Default: the connection's own database. */
  readonly markerSchema: string | undefined
  /** A proxy was declared. */
  readonly proxy: boolean
  readonly allow: readonly MysqlAllow[]
}

export async function lookAtMysql(
  own: OwnConnection,
  { clock, pool, markerSchema, proxy, allow }: MysqlLookOptions,
): Promise<MysqlLearned> {
  const askedAt = clock.now()
  const [server] = await own.run(sql.SERVER)
  const clockSkewMs = Number(server?.['now']) - (askedAt + clock.now()) / 2
  const version = String(server?.['version'])
  const flavour = sql.flavourOf(version)
  const identity = await identify(own, flavour)
  const variables = await told(() => readVariables(own))
  const schema = schemaFor(markerSchema, server?.['db'])
  const markerEngine = await readEngine(own, schema)
  const greeted = own.connection.connection.threadId
  const threadId = Number(server?.['thread_id'])
  const facts = mysqlFacts({
    flavour,
    version,
    user: sql.account(String(server?.['account'])),
    proxy: proxy || greeted === threadId ? undefined : { greeted, threadId },
    proxied: proxy,
    resetOnRelease: pool.resetOnRelease === true,
    variables,
    foreign: flavour === 'MySQL' ? await readForeign(own) : [],
    sessionsHidden: flavour === 'MariaDB' && (await hidesSessions(own, pool, server?.['login'])),
    clockSkewMs,
    markerTable: `${schema}.unanimous_branch`,
    markerEngine,
  })
  const usable = isUsable(markerEngine)
  return {
    server: serverName(flavour, version),
    markers: usable,
    clockSkewMs: Math.round(clockSkewMs),
    settings: shown(flavour, variables),
    findings: judge(facts, allow),
    identity,
    flavour,
    markerSchema: usable ? schema : undefined,
  }
}

/** What a person is told of the server, in two trips. */
export async function glanceAtMysql(
  own: OwnConnection,
  markerSchema: string | undefined,
): Promise<Capabilities & { readonly flavour: sql.Flavour }> {
  const [server] = await own.run(sql.SERVER)
  const version = String(server?.['version'])
  const flavour = sql.flavourOf(version)
  const engine = await readEngine(own, schemaFor(markerSchema, server?.['db']))
  return { server: serverName(flavour, version), markers: isUsable(engine), flavour }
}

function serverName(flavour: sql.Flavour, version: string): string {
  return `${flavour} ${version.split('-')[0]}`
}

/** The connection's own database where none was named. */
function schemaFor(named: string | undefined, database: unknown): string | undefined {
  return named ?? (typeof database === 'string' ? database : undefined)
}

function isUsable(engine: string | undefined): boolean {
  return engine?.toLowerCase() === 'innodb'
}

async function readVariables(own: OwnConnection): Promise<ReadonlyMap<string, string>> {
  const rows = await own.run(sql.variables(MYSQL_VARIABLES))
  return new Map(
    rows.map((row) => [String(row['Variable_name']).toLowerCase(), String(row['Value'])]),
  )
}

async function readEngine(
  own: OwnConnection,
  schema: string | undefined,
): Promise<string | undefined> {
  if (schema === undefined) return undefined
  const [table] = await own.run(sql.markerState(schema))
  return table === undefined ? undefined : String(table['engine'])
}

/** T1: prepared branches with another formatID than 1 may take ours with them at a restart. */
async function readForeign(own: OwnConnection): Promise<'denied' | readonly string[]> {
  const listed = await told(() => list(own, 'MySQL'))
  if (!(listed instanceof Error)) {
    return listed.map(({ id }) => id).filter((id) => !id.endsWith(',1'))
  }
  if (asMysqlError(listed)?.errno === RMERR) return 'denied'
  throw listed
}

/** Everybody is shown the sessions of the own user. */
async function hidesSessions(
  own: OwnConnection,
  { connectionConfig }: MysqlPoolConfig,
  login: unknown,
): Promise<boolean> {
  const isPools = sql.userIn(String(login)) === (connectionConfig['user'] ?? '')
  return !isPools && isHidden(own)
}

function shown(
  flavour: sql.Flavour,
  variables: ReadonlyMap<string, string> | Error,
): Record<string, string | null> {
  const names = MYSQL_VARIABLES.filter(
    (name) => flavour === 'MySQL' || name !== 'xa_detach_on_prepare',
  )
  return Object.fromEntries(
    names.map((name) => [name, variables instanceof Error ? null : (variables.get(name) ?? null)]),
  )
}

/** What the question answers, or the server's refusal. */
async function told<T extends object>(ask: () => Promise<T>): Promise<T | Error> {
  try {
    return await ask()
  } catch (cause) {
    if (asMysqlError(cause) === undefined || !(cause instanceof Error)) throw cause
    return cause
  }
}
