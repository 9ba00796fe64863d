/**
 * The contract's harness for MySQL and MariaDB through `mysql2`.
 */
import { createConnection, createPool } from 'mysql2/promise'
import { systemClock } from 'unanimous/adapter'
import { type MysqlHandle, mysql } from 'unanimous/mysql2'
import type {
  ContractHarness,
  Opened,
  OpenOptions,
  RawSession,
  Row,
} from '../../adapters/contract/harness.ts'
import { wireProxy } from '../../adapters/contract/wire-proxy.ts'

export function mysqlHarness(url: string): ContractHarness {
  return {
    open: (options) => open(url, options ?? {}),
    session: () => mysqlSession(url),
    sessionId: 'SELECT CONNECTION_ID() AS id',
    sleep: (seconds) => `SELECT SLEEP(${seconds})`,
    lockWaits: 'SELECT @@innodb_lock_wait_timeout AS row_wait, @@lock_wait_timeout AS table_wait',
    rowsOf: (answer) => rowsOf((answer as readonly unknown[])[0]),
    killSession: (id) => `KILL ${Number(id)}`,
    verbs: { prepare: 'XA PREPARE', commitOnePhase: 'ONE PHASE', commit: 'XA COMMIT' },
    dooming: {
      statement: 'INSERT INTO item VALUES (9, 1)',
      inBranch: ['SET SESSION innodb_lock_wait_timeout = 1'],
      elsewhere: ['BEGIN', 'INSERT INTO item VALUES (9, 9)'],
    },
    control: [
      'begin; select 1',
      'commit release',
      'COMMIT',
      '/* tidy */ commit',
      '# note\ncommit',
      '/*!50000 COMMIT */',
      'ROLLBACK',
      'rollback work',
      "XA END 'x'",
      "xa commit 'x'",
      'XA RECOVER',
    ],
    allowed: [
      'SAVEPOINT one',
      'INSERT INTO item VALUES (2, 2)',
      'ROLLBACK TO SAVEPOINT one',
      'ROLLBACK WORK TO one',
      'RELEASE SAVEPOINT one',
      'INSERT INTO item VALUES (1, 1)',
    ],
    async foreign(session, name) {
      const xid = `X'00ff27${Buffer.from(name).toString('hex')}',X'c3',1`
      await session.run(`XA START ${xid}`)
      await session.run('INSERT INTO item VALUES (77, 77)')
      await session.run(`XA END ${xid}`)
      await session.run(`XA PREPARE ${xid}`)
      return { rollback: `XA ROLLBACK ${xid}` }
    },
    /** Its rows and gaps: MariaDB ends a wait for a metadata lock when its client has gone, not this one. */
    async lockMarkers(holder) {
      await holder.run('BEGIN')
      await holder.run('SELECT gtrid FROM unanimous_branch FOR UPDATE')
    },
    hasTransactionIds: false,
    votesInOnePacket: true,
  }
}

async function open(url: string, options: OpenOptions): Promise<Opened> {
  const target = new URL(url)
  const proxy = await wireProxy(target.hostname, Number(target.port || 3306))
  target.host = `127.0.0.1:${proxy.port}`
  const pool = createPool({
    uri: target.href,
    connectionLimit: options.poolSize ?? 3,
    multipleStatements: options.merges ?? false,
  })
  const warnings: string[] = []
  const participant = mysql(pool, {
    answerMs: options.answerMs ?? 10_000,
    ...(options.lockTimeoutMs === undefined ? {} : { lockTimeoutMs: options.lockTimeoutMs }),
  }).create({
    name: options.name ?? 'shop',
    clock: systemClock,
    warn: (warning) => warnings.push(warning.code),
  })
  if (options.markers === true) await participant.init()
  else await once(url, 'DROP TABLE IF EXISTS unanimous_branch')
  return {
    participant,
    warnings,
    proxy,
    run: async (branch, text) => rowsOf((await (branch.handle as MysqlHandle).query(text))[0]),
    async leak(text) {
      const connection = await pool.getConnection()
      const [answer] = await connection.query(text)
      connection.release()
      return rowsOf(answer)
    },
    pool: () => countsOf(pool.pool),
    async close() {
      await participant.close()
      await pool.end()
      await proxy.close()
    },
  }
}

export async function mysqlSession(url: string): Promise<RawSession> {
  const connection = await createConnection({ uri: url })
  connection.on('error', () => undefined)
  return {
    run: async (text) => rowsOf((await connection.query(text))[0]),
    close: () => connection.destroy(),
  }
}

async function once(url: string, text: string): Promise<void> {
  const session = await mysqlSession(url)
  await session.run(text)
  session.close()
}

function rowsOf(answer: unknown): readonly Row[] {
  return Array.isArray(answer) ? (answer as readonly Row[]) : []
}

interface Queue {
  readonly length: number
  get(at: number): { listenerCount(event: string): number } | undefined
}

/** mysql2 has no public counts. */
function countsOf(core: unknown): { total: number; idle: number; listeners: number } {
  const { _allConnections: all, _freeConnections: free } = core as {
    readonly _allConnections: Queue
    readonly _freeConnections: Queue
  }
  let listeners = 0
  for (let at = 0; at < all.length; at += 1) {
    const one = all.get(at)
    listeners += (one?.listenerCount('error') ?? 0) + (one?.listenerCount('end') ?? 0)
  }
  return { total: all.length, idle: free.length, listeners }
}
