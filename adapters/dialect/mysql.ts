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
import { afterPrefix, COMMITTED, FENCED, MARKER_TABLE } from './markers.ts'

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

export function xidOf(xid: Xid): string {
  return `${literal(xid.gtrid)},${literal(xid.bqual)},${FORMAT_ID}`
}

/** The statements that begin a branch, in order. `SET TRANSACTION` holds for the next one only. */
export function begin(
  xid: Xid,
  isolation: IsolationLevel | undefined,
  readOnly: boolean,
): readonly string[] {
  const modes = [
    ...(isolation === undefined ? [] : [`ISOLATION LEVEL ${isolation.toUpperCase()}`]),
    ...(readOnly ? ['READ ONLY'] : []),
  ]
  const set = modes.length === 0 ? [] : [`SET TRANSACTION ${modes.join(', ')}`]
  return [...set, `XA START ${xidOf(xid)}`]
}

export function end(xid: Xid): string {
  return `XA END ${xidOf(xid)}`
}

export function prepare(xid: Xid): string {
  return `XA PREPARE ${xidOf(xid)}`
}

export function commitOnePhase(xid: Xid): string {
  return `XA COMMIT ${xidOf(xid)} ONE PHASE`
}

export function commit(xid: Xid): string {
  return `XA COMMIT ${xidOf(xid)}`
}

export function rollback(xid: Xid): string {
  return `XA ROLLBACK ${xidOf(xid)}`
}

/** Ends a transaction that a session with autocommit off, or an earlier borrower, left open. */
export const ROLLBACK = 'ROLLBACK'

export function kill(threadId: number): string {
  return `KILL ${threadId}`
}

/** MySQL's plain form loses bytes that are not UTF-8; MariaDB has no CONVERT and answers bytes. */
export function recover(flavour: Flavour): string {
  return flavour === 'MySQL' ? 'XA RECOVER CONVERT XID' : 'XA RECOVER'
}

/** `+0` keeps a proxy from answering in the server's stead. */
export const SERVER =
  'SELECT VERSION() AS version, DATABASE() AS db, CONNECTION_ID()+0 AS thread_id'
export const DETACHES = 'SELECT @@session.xa_detach_on_prepare AS detaches'
/** What proving may wait for a lock, in whole seconds: the least that InnoDB knows. */
export const OWN_SESSION = 'SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 1'

/**
 * Which server, which life of it, and the session's id, in one statement. Both terms of the start
 * are taken from the statement's own start, so their difference is the same at every call.
 */
export function identity(flavour: Flavour): string {
  const [server, status] =
    flavour === 'MySQL'
      ? ['@@server_uuid', 'performance_schema.global_status']
      : ["CONCAT_WS(' ', @@server_uid, @@hostname, @@datadir)", 'information_schema.GLOBAL_STATUS']
  return `SELECT ${server} AS server, UNIX_TIMESTAMP() - VARIABLE_VALUE AS started_at,
  CONNECTION_ID()+0 AS thread_id FROM ${status} WHERE VARIABLE_NAME = 'Uptime'`
}

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

export function deleteMarkers(gtrids: readonly string[], schema: string): string {
  return `DELETE FROM ${table(schema)} WHERE gtrid IN (${gtrids.map(literal).join(', ')})`
}

export function listMarkers(prefix: string, limit: number, schema: string): string {
  return `SELECT DISTINCT gtrid FROM ${table(schema)}
  WHERE gtrid >= ${literal(prefix)} AND gtrid < ${literal(afterPrefix(prefix))}
  ORDER BY gtrid LIMIT ${limit}`
}

function insert(xid: Xid, schema: string, state: string): string {
  const values = [xid.gtrid, xid.bqual, state].map(literal).join(', ')
  return `INSERT INTO ${table(schema)} (gtrid, bqual, state) VALUES (${values})`
}

function table(schema: string | undefined): string {
  const name = identifier(MARKER_TABLE)
  return schema === undefined ? name : `${identifier(schema)}.${name}`
}
