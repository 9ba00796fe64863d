/**
 * Reads, on the participant's own connection, what bears on two-phase commit. What a server refuses
 * to tell becomes part of the answer; what is no server's answer is thrown.
 */
import type { Capabilities, Clock, ServerIdentity } from '../../src/adapter.ts'
import type { Learned } from '../dialect/contact.ts'
import { judge } from '../dialect/findings.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError } from '../dialect/postgres-errors.ts'
import {
  POSTGRES_SETTINGS,
  type PostgresAllow,
  type PostgresSetting,
  postgresFacts,
} from '../dialect/postgres-findings.ts'
import type { OwnConnection } from './connections.ts'
import { readIdentity } from './prove.ts'

export interface PgLearned extends Learned {
  /** Backends, and with them servers, may change under a connection. */
  readonly pooler: boolean
}

export interface PgLookOptions {
  readonly clock: Clock
  readonly poolSize: number
  readonly markerSchema: string
  readonly allow: readonly PostgresAllow[]
}

export async function lookAtPostgres(
  own: OwnConnection,
  { clock, poolSize, markerSchema, allow }: PgLookOptions,
): Promise<PgLearned> {
  const askedAt = clock.now()
  const [server] = await own.rows(sql.SERVER)
  const clockSkewMs = Number(server?.['now']) - (askedAt + clock.now()) / 2
  const identity = await told(() => readIdentity(own))
  const settings = await told(() => readSettings(own))
  const slots = await told(async () => (await own.rows(sql.SLOTS))[0])
  const [table] = await own.rows(sql.markerState(markerSchema))
  const missingOnMarkers = table?.['missing'] ?? undefined
  const maxPrepared = Number(server?.['max_prepared'])
  const version = server?.['version']?.split(' ')[0] ?? ''
  const pooler = isPooled(own, server?.['pid'])
  const facts = postgresFacts({
    version,
    versionNum: Number(server?.['version_num']),
    inRecovery: server?.['in_recovery'] === 'true',
    role: server?.['role'] ?? '',
    database: server?.['database'] ?? '',
    pooler,
    identity: identity instanceof Error ? identity : 'read',
    settings,
    maxPrepared,
    standing: slots instanceof Error ? slots : Number(slots?.['standing']),
    poolSize,
    clockSkewMs,
    markerTable: `${markerSchema}.unanimous_branch`,
    missingOnMarkers,
  })
  const used = slots instanceof Error ? null : (slots?.['used'] ?? null)
  return {
    server: `PostgreSQL ${version}`,
    markers: table !== undefined && missingOnMarkers === undefined,
    clockSkewMs: Math.round(clockSkewMs),
    settings: {
      max_prepared_transactions: String(maxPrepared),
      prepared_transactions: used,
      ...shown(settings),
    },
    findings: judge(facts, allow),
    identity: identity instanceof Error ? undefined : identity,
    pooler,
  }
}

/** What a person is told of the server, in one trip. */
export async function glanceAtPostgres(
  own: OwnConnection,
  markerSchema: string,
): Promise<Capabilities> {
  const [server, table] = await own.run(`${sql.SERVER}; ${sql.markerState(markerSchema)}`)
  const version = String(server?.rows[0]?.['version'])
  const [marker] = table?.rows ?? []
  return {
    server: `PostgreSQL ${version.split(' ')[0]}`,
    markers: marker !== undefined && marker['missing'] === null,
  }
}

/** A greeting's process id that is not the backend's was made up by a pooler. */
function isPooled(own: OwnConnection, pid: string | null | undefined): boolean {
  const greeted = own.client.processID
  return greeted !== undefined && greeted !== null && String(greeted) !== pid
}

async function readSettings(own: OwnConnection): Promise<ReadonlyMap<string, PostgresSetting>> {
  const rows = await own.rows(sql.settings(POSTGRES_SETTINGS))
  return new Map(
    rows.map((row) => [
      row['name'] ?? '',
      { value: row['value'] ?? '', source: row['source'] ?? '' },
    ]),
  )
}

function shown(
  settings: ReadonlyMap<string, PostgresSetting> | Error,
): Record<string, string | null> {
  return Object.fromEntries(
    POSTGRES_SETTINGS.map((name) => [
      name,
      settings instanceof Error ? null : (settings.get(name)?.value ?? null),
    ]),
  )
}

/** What the question answers, or the server's refusal. */
async function told<T extends ServerIdentity | object | undefined>(
  ask: () => Promise<T>,
): Promise<T | Error> {
  try {
    return await ask()
  } catch (cause) {
    if (asPostgresError(cause) === undefined || !(cause instanceof Error)) throw cause
    return cause
  }
}
