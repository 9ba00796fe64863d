/**
 * What is said to MySQL and MariaDB: every statement of this project, how a branch is spelled, and
 * where the two differ.
 *
 *   XA START 'gtrid','bqual',1
 *
 * The formatID is always 1: MySQL loses prepared branches over a restart when formatIDs on the server
 * differ (T1); MariaDB ignores it in look-ups (T10), so gtrid and bqual are unique by themselves.
 */
import { FORMAT_ID, type IsolationLevel, type Xid } from '../../src/adapter.ts'
import { afterPrefix, COMMITTED, FENCED, LOG_TABLE, MARKER_TABLE } from './markers.ts'
import { transactionModes } from './modes.ts'

export type Flavour = 'MySQL' | 'MariaDB'

export function flavourOf(version: string): Flavour {
  return /mariadb/i.test(version) ? 'MariaDB' : 'MySQL'
}

/** Detached prepared branches survive their session from these versions on. */
export function isTooOld(flavour: Flavour, version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return flavour === 'MariaDB' ? major < 10 || (major === 10 && minor < 5) : major < 8
}

/** As a string where that is safe in every sql_mode, else in hexadecimal. */
export function literal(text: string): string {
  if (/^[\w.:-]*$/.test(text)) return `'${text}'`
  return `X'${Buffer.from(text).toString('hex')}'`
}

export function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** How the verbs spell a branch. */
export function idOf(xid: Xid): string {
  return `${literal(xid.gtrid)},${literal(xid.bqual)},${FORMAT_ID}`
}

/** The statements that begin a branch, in order. `SET TRANSACTION` holds for the next one only. */
export function begin(
  id: string,
  isolation: IsolationLevel | undefined,
  readOnly: boolean,
): readonly string[] {
  const start = `XA START ${id}`
  const modes = transactionModes(isolation, readOnly)
  return modes === '' ? [start] : [`SET TRANSACTION ${modes}`, start]
}

export function end(id: string): string {
  return `XA END ${id}`
}

export function prepare(id: string): string {
  return `XA PREPARE ${id}`
}

export function commitOnePhase(id: string): string {
  return `XA COMMIT ${id} ONE PHASE`
}

/** Phase two. */
export function finish(id: string, verb: 'commit' | 'rollback'): string {
  return verb === 'commit' ? `XA COMMIT ${id}` : rollback(id)
}

export function rollback(id: string): string {
  return `XA ROLLBACK ${id}`
}

/** By the name of the variable: the servers disagree on it. */
export const ISOLATION =
  "SHOW SESSION VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')"

export function isolationIn(value: unknown): IsolationLevel {
  return String(value).toLowerCase().replaceAll('-', ' ') as IsolationLevel
}

/** The marker, the end of the application's part, and the verb that decides. */
export function deciding(
  { xid, id }: { readonly xid: Xid; readonly id: string },
  markerSchema: string | undefined,
  verb: string,
): readonly string[] {
  if (markerSchema === undefined) return [end(id), verb]
  return [insertMarker(xid, markerSchema), end(id), verb]
}

/** Ends a transaction that a session with autocommit off, or an earlier borrower, left open. */
export const ROLLBACK = 'ROLLBACK'

export function kill(threadId: number): string {
  return `KILL ${threadId}`
}

export function killQuery(threadId: number): string {
  return `KILL QUERY ${threadId}`
}

/** How long a session waits: for a row, and for a table that is being altered; whole seconds. */
export interface LockWaits {
  readonly rowS: number
  readonly tableS: number
}

export interface WaitLimit {
  readonly set: string
  readonly restore: string
}

/**
 * Lets a session wait no longer than this, and gives it back its own waits; `undefined` when its own
 * are no longer. The servers know no such setting for one transaction.
 */
export function limitWaits(own: LockWaits, seconds: number): WaitLimit | undefined {
  const waits = [
    ['innodb_lock_wait_timeout', own.rowS],
    ['lock_wait_timeout', own.tableS],
  ] as const
  const longer = waits.filter(([, ownS]) => ownS > seconds)
  if (longer.length === 0) return undefined
  const assign = (value: (ownS: number) => number): string =>
    `SET ${longer.map(([name, ownS]) => `SESSION ${name} = ${value(ownS)}`).join(', ')}`
  return { set: assign(() => seconds), restore: assign((ownS) => ownS) }
}

/** Several statements in one, where the driver may send only one: MariaDB, in every sql_mode. */
export function block(statements: readonly string[]): string {
  return `BEGIN NOT ATOMIC ${statements.join('; ')}; END`
}

/** MySQL's plain form loses bytes that are not UTF-8; MariaDB has no CONVERT and answers bytes. */
export function recover(flavour: Flavour): string {
  return flavour === 'MySQL' ? 'XA RECOVER CONVERT XID' : 'XA RECOVER'
}

/** `+0` keeps a proxy from answering in the server's stead. */
export const SERVER = `SELECT VERSION() AS version, DATABASE() AS db, CURRENT_USER() AS account,
  USER() AS login, CONNECTION_ID()+0 AS thread_id, UNIX_TIMESTAMP(NOW(6)) * 1000 AS now`

/** Those of these names that the server has; needs no privilege. */
export function variables(names: readonly string[]): string {
  return `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${names.map(literal).join(', ')})`
}

/** The user of `app@%`: the host is what follows the last `@`. */
export function userIn(name: string): string {
  return name.slice(0, name.lastIndexOf('@'))
}

/** `app@%` as a statement spells it. */
export function account(name: string): string {
  const user = userIn(name)
  return [user, name.slice(user.length + 1)]
    .map((part) => `'${part.replaceAll("'", "''")}'`)
    .join('@')
}

/**
 * What our own connection may wait for a lock, in whole seconds. Rows: the least that InnoDB knows.
 * Metadata: an XA COMMIT waits for FLUSH TABLES WITH READ LOCK; given up from our side, it would go on
 * waiting in the server, one session more at every pass of recovery.
 */
export const OWN_SESSION =
  'SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 2'

/**
 * Which server, which life of it, the session's id and its lock waits, in one statement. Both terms of
 * the start are taken from the statement's own start, so their difference is the same at every call.
 *
 * MariaDB starts in less than the second that it tells the time by; the clock sequence of its UUID() is
 * drawn at each start and goes by a clock that nobody sets. MySQL's goes by the wall clock, and is drawn again
 * when that is set back: it takes longer to start, and has to do without.
 */
export function identity(flavour: Flavour): string {
  const [server, drawn, status] =
    flavour === 'MySQL'
      ? ['@@server_uuid', "'0'", 'performance_schema.global_status']
      : [
          "CONCAT_WS(' ', @@server_uid, @@hostname, @@datadir)",
          'SUBSTR(UUID(), 20, 4)',
          'information_schema.GLOBAL_STATUS',
        ]
  return `SELECT ${server} AS server, UNIX_TIMESTAMP() - VARIABLE_VALUE AS started_at, ${drawn} AS drawn,
  CONNECTION_ID()+0 AS thread_id, @@SESSION.innodb_lock_wait_timeout AS row_wait,
  @@SESSION.lock_wait_timeout AS table_wait FROM ${status} WHERE VARIABLE_NAME = 'Uptime'`
}

/** How many ids of sessions this life of the server has given out, which it does in order. */
export const CONNECTIONS = "SHOW GLOBAL STATUS LIKE 'Connections'"

/** The marker table's engine; no row when there is no table. */
export function markerState(schema: string): string {
  return `SELECT ENGINE AS engine FROM information_schema.TABLES
  WHERE TABLE_SCHEMA = ${literal(schema)} AND TABLE_NAME = ${literal(MARKER_TABLE)}`
}

export function createMarkers(schema: string | undefined): readonly string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${table(schema)} (
  gtrid varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  bqual varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  state varchar(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (gtrid, bqual)
) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS ${table(schema, LOG_TABLE)} (
  log_id varchar(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incarnation varchar(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  participant varchar(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (log_id, incarnation, participant)
) ENGINE = InnoDB`,
  ]
}

export function insertMarker(xid: Xid, schema: string): string {
  return insert(xid, schema, COMMITTED)
}

/** Puts a fence under the branch's key, in a transaction of its own. */
export function fenceMarker(xid: Xid, schema: string): string {
  return insert(xid, schema, FENCED)
}

/** A locking read: it sees the latest commit, and waits for a branch that is still prepared. */
export function readMarker(xid: Xid, schema: string): string {
  return `SELECT state FROM ${table(schema)}
  WHERE gtrid = ${literal(xid.gtrid)} AND bqual = ${literal(xid.bqual)} LOCK IN SHARE MODE`
}

/** For the next statement alone. */
export function atIsolation(level: 'READ COMMITTED' | 'REPEATABLE READ'): string {
  return `SET TRANSACTION ISOLATION LEVEL ${level}`
}

export function deleteMarkers(gtrids: readonly string[], schema: string): string {
  return `DELETE FROM ${table(schema)} WHERE gtrid IN (${gtrids.map(literal).join(', ')})`
}

/** Not the fences: the COMMIT that one bars may still be on its way, however late. */
export function listMarkers(prefix: string, limit: number, schema: string): string {
  return `SELECT DISTINCT gtrid FROM ${table(schema)}
  WHERE gtrid >= ${literal(prefix)} AND gtrid < ${literal(afterPrefix(prefix))}
    AND state = ${literal(COMMITTED)}
  ORDER BY gtrid LIMIT ${limit}`
}

/** Names participants of an incarnation. Rows that are there already stay as they are. */
export function announce(
  logId: string,
  incarnation: string,
  participants: readonly string[],
  schema: string,
): string {
  const rows = participants.map((one) => `(${[logId, incarnation, one].map(literal).join(', ')})`)
  return `INSERT IGNORE INTO ${table(schema, LOG_TABLE)} (log_id, incarnation, participant)
  VALUES ${rows.join(', ')}`
}

export function announced(logId: string, schema: string): string {
  return `SELECT incarnation, participant FROM ${table(schema, LOG_TABLE)}
  WHERE log_id = ${literal(logId)}`
}

/** Each is read at the isolation that was set for it, waiting for no branch. */
export function markersOf(gtrids: readonly string[], schema: string): string {
  return `SELECT gtrid, bqual, UNIX_TIMESTAMP(at) AS at_s FROM ${table(schema)}
  WHERE state = ${literal(COMMITTED)} AND gtrid IN (${gtrids.map(literal).join(', ')})`
}

/** For the next statement alone. */
export const NEXT_READS_OPEN = 'SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED'
export const NEXT_READS_COMMITTED = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED'

export const USER = 'SELECT CURRENT_USER() AS name, CONNECTION_ID()+0 AS thread_id'
export const SESSIONS = 'SHOW FULL PROCESSLIST'
/** Without the privilege PROCESS: those of this user. */
export const SESSION_STATES =
  'SELECT ID AS id, COMMAND AS command FROM information_schema.PROCESSLIST'
/** What a session is doing. */
export function command(threadId: number): string {
  return `SELECT COMMAND AS command FROM information_schema.PROCESSLIST WHERE ID = ${threadId}`
}
/** The plan of what a session runs (MariaDB): 1094 when there is no such session, whoever asks. */
export function explainFor(threadId: number): string {
  return `SHOW EXPLAIN FOR ${threadId}`
}
export const NOW = 'SELECT UNIX_TIMESTAMP() AS now_s'
export const UPTIME = "SHOW GLOBAL STATUS LIKE 'Uptime'"
/** Refused (1227) without the privilege PROCESS, whichever role it may come from. */
export const NEEDS_PROCESS = 'SELECT COUNT(*) AS n FROM information_schema.INNODB_TRX'

function insert(xid: Xid, schema: string, state: string): string {
  const values = [xid.gtrid, xid.bqual, state].map(literal).join(', ')
  return `INSERT INTO ${table(schema)} (gtrid, bqual, state) VALUES (${values})`
}

function table(schema: string | undefined, which: string = MARKER_TABLE): string {
  const name = identifier(which)
  return schema === undefined ? name : `${identifier(schema)}.${name}`
}
