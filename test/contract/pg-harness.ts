/**
 * The contract's harness for PostgreSQL through `pg`.
 */
import pg, { type PoolConfig } from 'pg'
import { systemClock } from 'unanimous/adapter'
import { type PgHandle, postgres } from 'unanimous/pg'
import type {
  ContractHarness,
  Opened,
  OpenOptions,
  RawSession,
  Row,
} from '../../adapters/contract/harness.ts'
import { wireProxy } from '../../adapters/contract/wire-proxy.ts'

/** @param config - for the pool, beside its URL and size */
export function pgHarness(url: string, config: PoolConfig = {}): ContractHarness {
  return {
    open: (options) => open(url, config, options ?? {}),
    session: () => pgSession(url),
    sessionId: 'SELECT pg_backend_pid() AS id',
    sleep: (seconds) => `SELECT pg_sleep(${seconds})`,
    lockWaits: 'SHOW lock_timeout',
    rowsOf,
    killSession: (id) => `SELECT pg_terminate_backend(${Number(id)})`,
    verbs: {
      prepare: 'PREPARE TRANSACTION',
      // The packet's own text: a plain COMMIT when no marker travels with it.
      commitOnePhase: 'COMMIT',
      commit: 'COMMIT PREPARED',
    },
    dooming: { statement: 'SELECT 1 / 0', inBranch: [], elsewhere: [] },
    control: [
      'COMMIT',
      '/* tidy */ commit work',
      '-- up\n;END',
      '/* /* a */ b */ COMMIT',
      '-- a\r COMMIT',
      'BEGIN; SELECT 1',
      'commit and chain',
      'ROLLBACK',
      'rollback and chain',
      'ABORT',
      "PREPARE TRANSACTION 'x'",
      "COMMIT PREPARED 'x'",
      "ROLLBACK PREPARED 'x'",
    ],
    allowed: [
      'SAVEPOINT one',
      'INSERT INTO item VALUES (2, 2)',
      'ROLLBACK TO SAVEPOINT one',
      'ROLLBACK WORK TO one',
      'RELEASE SAVEPOINT one',
      'PREPARE later AS SELECT 1',
      'DEALLOCATE later',
      'INSERT INTO item VALUES (1, 1)',
    ],
    async foreign(session, name) {
      const gid = `${name} O'Hara ✓`.replaceAll("'", "''")
      await session.run('BEGIN')
      await session.run('CREATE TABLE IF NOT EXISTS foreign_work (id int)')
      await session.run(`PREPARE TRANSACTION '${gid}'`)
      return { rollback: `ROLLBACK PREPARED '${gid}'` }
    },
    async lockMarkers(holder) {
      await holder.run('BEGIN')
      await holder.run('LOCK TABLE unanimous_branch IN SHARE MODE')
    },
    hasTransactionIds: true,
    votesInOnePacket: true,
  }
}

async function open(url: string, config: PoolConfig, options: OpenOptions): Promise<Opened> {
  const target = new URL(url)
  const proxy = await wireProxy(target.hostname, Number(target.port))
  target.host = `127.0.0.1:${proxy.port}`
  const pool = new pg.Pool({
    ...config,
    connectionString: target.href,
    max: options.poolSize ?? 3,
  })
  const clients = new Set<pg.PoolClient>()
  pool.on('connect', (client) => clients.add(client))
  pool.on('remove', (client) => clients.delete(client))
  const warnings: string[] = []
  const participant = postgres(pool, {
    answerMs: options.answerMs ?? 10_000,
    ...(options.lockTimeoutMs === undefined ? {} : { lockTimeoutMs: options.lockTimeoutMs }),
  }).create({
    name: options.name ?? 'ledger',
    clock: systemClock,
    warn: (warning) => warnings.push(warning.code),
  })
  await setMarkers(url, options.markers, () => participant.init())
  return {
    participant,
    warnings,
    proxy,
    run: async (branch, text) => rowsOf(await (branch.handle as PgHandle).query(text)),
    async leak(text) {
      const client = await pool.connect()
      const answer = await client.query(text)
      client.release()
      return rowsOf(answer)
    },
    pool: () => ({
      total: pool.totalCount,
      idle: pool.idleCount,
      listeners: [...clients].reduce((sum, client) => sum + client.listenerCount('error'), 0),
    }),
    async close() {
      await participant.close()
      await pool.end()
      await proxy.close()
    },
  }
}

export async function pgSession(url: string): Promise<RawSession> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  return {
    run: async (text) => rowsOf(await client.query(text)),
    close: () => {
      client.end().catch(() => undefined)
    },
  }
}

function rowsOf(answer: unknown): readonly Row[] {
  return (answer as { rows?: readonly Row[] }).rows ?? []
}

async function setMarkers(
  url: string,
  wanted: boolean | undefined,
  init: () => Promise<void>,
): Promise<void> {
  if (wanted === true) return init()
  const session = await pgSession(url)
  await session.run('DROP TABLE IF EXISTS unanimous_branch')
  session.close()
}
