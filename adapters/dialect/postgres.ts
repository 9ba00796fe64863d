/**
 * What is said to PostgreSQL: every statement of this project, and how a branch is spelled.
 *
 *   gid = gtrid:bqual      at most 64 + 1 + 64 bytes of ASCII; PostgreSQL allows 199
 *
 * The vote packet (PROOF.md §2) is one simple query, or, behind statements given in advance, part of
 * theirs under one Sync:
 *
 *   SAVEPOINT          fails outside a block (25P01) and in an aborted one (25P02), and stops the rest
 *   SELECT             raises unless the block still carries our SET LOCAL; answers the xid8
 *   RELEASE            so that the marker needs no subtransaction id of its own
 *   INSERT             the marker row, where the table exists
 *   PREPARE | COMMIT   whose command tag is checked: T8, no error is raised for an aborted block
 */
import {
  type ByHand,
  type IsolationLevel,
  isGtrid,
  type PreparedBranch,
  type Xid,
} from '../../src/adapter.ts'
import { afterPrefix, COMMITTED, FENCED, LOG_TABLE, MARKER_TABLE } from './markers.ts'
import { transactionModes } from './modes.ts'

/** Opens the text of the error by which the vote packet says that the branch is not ours. */
export const NOT_OURS = 'unanimous: not this branch'

const SAVEPOINT = 'unanimous_vote'

/** The tags of a vote packet that voted, in order. */
export function voteTags(marker: boolean, last: 'PREPARE' | 'COMMIT'): readonly string[] {
  if (marker) return ['SAVEPOINT', 'SELECT', 'RELEASE', 'INSERT', last]
  return ['SAVEPOINT', 'SELECT', 'RELEASE', last]
}

export function gidOf(xid: Xid): string {
  return `${xid.gtrid}:${xid.bqual}`
}

/** Reads a gid; `undefined` for one that this project did not spell. */
export function parseGid(gid: string): Xid | undefined {
  const colon = gid.indexOf(':')
  if (colon < 0) return undefined
  const gtrid = gid.slice(0, colon)
  const bqual = gid.slice(colon + 1)
  return isGtrid(gtrid) && bqual !== '' ? { gtrid, bqual } : undefined
}

/** A string literal that reads the same whatever `standard_conforming_strings` says. */
export function literal(text: string): string {
  if (!text.includes("'") && !text.includes('\\')) return `'${text}'`
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}

/** How the verbs spell a branch. */
export function idOf(xid: Xid): string {
  return literal(gidOf(xid))
}

export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** What goes with a BEGIN at no trip of its own. */
export interface BeginExtras {
  /** Locks are waited for no longer, in ms. Default: as long as the session's own setting says. */
  readonly lockTimeoutMs?: number | undefined
  /** Answers {@link BACKEND}, of the backend that the block is on. */
  readonly asksBackend?: boolean
}

/**
 * The statements that begin a branch. They travel in one text, or under one Sync, with whatever comes
 * behind them: a statement behind a BEGIN that failed would autocommit.
 */
export function begin(
  id: string,
  isolation: IsolationLevel | undefined,
  readOnly: boolean,
  { lockTimeoutMs, asksBackend = false }: BeginExtras = {},
): readonly string[] {
  const modes = transactionModes(isolation, readOnly)
  return [
    modes === '' ? 'BEGIN' : `BEGIN ${modes}`,
    `SET LOCAL unanimous.branch = ${id}`,
    ...(lockTimeoutMs === undefined ? [] : [`SET LOCAL lock_timeout = ${lockTimeoutMs}`]),
    ...(asksBackend ? [BACKEND] : []),
  ]
}

/** The backend of a session: its process, its start, and the start of its transaction. */
export const BACKEND: string = `SELECT pid::text AS pid, ${micros('backend_start')} AS backend_at,
  ${micros('xact_start')} AS transaction_at
  FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())`

/**
 * Cancels or ends a backend, if it is the one that is meant; no row when there is none of that pid.
 * `hidden` when its start is not shown to this role.
 */
export function interrupt(
  backend: { readonly pid: string; readonly backendAt: string; readonly transactionAt?: string },
  how: 'cancel' | 'terminate',
): string {
  const { pid, backendAt, transactionAt } = backend
  const same = [
    `${micros('backend_start')} = ${literal(backendAt)}`,
    ...(transactionAt === undefined ? [] : [`${micros('xact_start')} = ${literal(transactionAt)}`]),
  ].join(' AND ')
  return `SELECT CASE WHEN backend_start IS NULL THEN 'hidden' WHEN ${same}
  THEN pg_catalog.pg_${how}_backend(pid)::text ELSE 'other' END AS answer
  FROM pg_catalog.pg_stat_activity WHERE pid = ${Number(pid)}`
}

/** What a backend is doing, or `other` when it is not the one that is meant; `hidden` as in {@link interrupt}. */
export function activity(backend: { readonly pid: string; readonly backendAt: string }): string {
  const same = `${micros('backend_start')} = ${literal(backend.backendAt)}`
  return `SELECT CASE WHEN backend_start IS NULL THEN 'hidden' WHEN ${same}
  THEN state ELSE 'other' END AS answer
  FROM pg_catalog.pg_stat_activity WHERE pid = ${Number(backend.pid)}`
}

export const COMMIT = 'COMMIT'
export const ROLLBACK = 'ROLLBACK'
const PREPARE = 'PREPARE TRANSACTION'

/** Whether the block is still ours, and the transaction id if it has one (`''` if not). */
export function probe(id: string): readonly string[] {
  return check(id, "coalesce(pg_catalog.pg_current_xact_id_if_assigned()::text, '')")
}

/** Whether the block is still ours, and its transaction id. */
export function identify(id: string): readonly string[] {
  return check(id, 'pg_catalog.pg_current_xact_id()::text')
}

export function prepare(xid: Xid, id: string, markerSchema: string | undefined): readonly string[] {
  return deciding(xid, id, markerSchema, `${PREPARE} ${id}`)
}

export function commitOnePhase(
  xid: Xid,
  id: string,
  markerSchema: string | undefined,
): readonly string[] {
  return deciding(xid, id, markerSchema, COMMIT)
}

export function commitPrepared(id: string): string {
  return `COMMIT PREPARED ${id}`
}

export function rollbackPrepared(id: string): string {
  return `ROLLBACK PREPARED ${id}`
}

/**
 * Every prepared branch of the database, in one row of three lists: a driver takes ten times as long
 * over tens of thousands of rows. As text: what a driver reads for itself would pass for no branch. And
 * from the function behind the view pg_prepared_xacts, whose join looks each owner up in an index: more than half of
 * the server's time. The database by its session, for pg_database may be closed to a role.
 */
export const LIST: string = `SELECT json_agg(gid)::text AS gids,
  json_agg(pg_catalog.pg_get_userbyid(ownerid))::text AS owners,
  json_agg((date_part('epoch', prepared) * 1000)::bigint)::text AS times
  FROM pg_catalog.pg_prepared_xact()
  WHERE dbid = (SELECT datid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()))`

/** The owner of a prepared branch that is not the role of this session. */
export function otherOwner(xid: Xid): string {
  return `SELECT owner::text AS owner FROM pg_catalog.pg_prepared_xacts
  WHERE gid = ${idOf(xid)} AND owner <> current_user`
}

/** What a person types; the id is whatever the server listed. */
export function byHand(gid: string): ByHand {
  return {
    commit: `COMMIT PREPARED ${literal(gid).trim()}`,
    rollBack: `ROLLBACK PREPARED ${literal(gid).trim()}`,
  }
}

/** Reads the row of {@link LIST}; without branches the lists are NULL. */
export function preparedBranches(
  row: Readonly<Record<string, string | null>> | undefined,
): readonly PreparedBranch[] {
  const list = <T>(name: string) => JSON.parse(row?.[name] ?? '[]') as readonly T[]
  const lists: Lists = { gids: list('gids'), owners: list('owners'), times: list('times') }
  return lists.gids.map((_, at) => new ListedBranch(lists, at))
}

interface Lists {
  readonly gids: readonly string[]
  readonly owners: readonly string[]
  readonly times: readonly number[]
}

/** There may be tens of thousands: what is not asked for is not made. */
class ListedBranch implements PreparedBranch {
  readonly #lists: Lists
  readonly #at: number

  constructor(lists: Lists, at: number) {
    this.#lists = lists
    this.#at = at
  }

  get id(): string {
    return this.#lists.gids[this.#at] ?? ''
  }

  get owner(): string {
    return this.#lists.owners[this.#at] ?? ''
  }

  get preparedAtMs(): number {
    return this.#lists.times[this.#at] ?? 0
  }

  get xid(): Xid | undefined {
    return parseGid(this.id)
  }
}

/** System identifier, start and timeline: the timeline of the last checkpoint lags a promotion. */
export const IDENTITY: string = `SELECT
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS server,
  (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000)::bigint::text AS started_at,
  substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS timeline`

/** The same with the session's backend, and how long the session waits for a lock, in ms. */
export const SESSION: string = `SELECT identity.*, backend.pid, backend.backend_at,
  (extract(epoch FROM pg_catalog.current_setting('lock_timeout')::interval) * 1000)::bigint::text
  AS lock_timeout FROM (${IDENTITY}) AS identity, (${BACKEND}) AS backend`

export const SERVER: string = `SELECT pg_catalog.current_setting('server_version') AS version,
  pg_catalog.current_setting('server_version_num') AS version_num,
  pg_catalog.current_setting('max_prepared_transactions') AS max_prepared,
  pg_catalog.pg_is_in_recovery()::text AS in_recovery,
  pg_catalog.pg_backend_pid()::text AS pid,
  current_user::text AS role, pg_catalog.current_database()::text AS database,
  (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint::text AS now`

/** The settings of these names, and where their values came from. */
export function settings(names: readonly string[]): string {
  return `SELECT name, setting AS value, source FROM pg_catalog.pg_settings
  WHERE name IN (${names.map(literal).join(', ')})`
}

/** Slots taken, of all databases, and those whose branch has been prepared for more than a minute. */
export const SLOTS: string = `SELECT count(*)::text AS used,
  (count(*) FILTER (WHERE prepared < now() - interval '1 minute'))::text AS standing
  FROM pg_catalog.pg_prepared_xacts`

/** Whether the marker table exists, and which of the privileges that we need on it are missing. */
export function markerState(schema: string): string {
  return `SELECT c.oid::text AS oid, (
    SELECT string_agg(p, ', ') FROM unnest(ARRAY['SELECT','INSERT','DELETE']) AS p
    WHERE NOT pg_catalog.has_table_privilege(c.oid, p)) AS missing
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = ${literal(schema)} AND c.relname = ${literal(MARKER_TABLE)}`
}

export function createMarkers(schema: string): readonly string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${table(schema)} (
  gtrid varchar(64) COLLATE "C" NOT NULL,
  bqual varchar(64) COLLATE "C" NOT NULL,
  state varchar(16) COLLATE "C" NOT NULL CHECK (state IN ('${COMMITTED}', '${FENCED}')),
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (gtrid, bqual)
)`,
    `CREATE TABLE IF NOT EXISTS ${logTable(schema)} (
  log_id varchar(16) COLLATE "C" NOT NULL,
  incarnation varchar(24) COLLATE "C" NOT NULL,
  participant varchar(40) COLLATE "C" NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (log_id, incarnation, participant)
)`,
  ]
}

export function readMarker(xid: Xid, schema: string): string {
  return `SELECT state FROM ${table(schema)} WHERE ${keyOf(xid)}`
}

/** Puts a fence under the branch's key; waits for an insert in flight at most two seconds. */
export function fenceMarker(xid: Xid, schema: string): string {
  return `BEGIN; SET LOCAL lock_timeout = 2000; ${insert(xid, schema, FENCED)}; COMMIT`
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

/** How a transaction ended, with the identity and timeline under which that answer counts. */
export function transactionStatus(xid8: string): string {
  return `SELECT pg_catalog.pg_xact_status(${literal(xid8)}::xid8) AS status, identity.*
  FROM (${IDENTITY}) AS identity`
}

/** Names participants of an incarnation: durable when it returns, whatever the session's default. */
export function announce(
  logId: string,
  incarnation: string,
  participants: readonly string[],
  schema: string,
): string {
  const rows = participants.map((one) => `(${[logId, incarnation, one].map(literal).join(', ')})`)
  return `BEGIN; SET LOCAL synchronous_commit = on;
  INSERT INTO ${logTable(schema)} (log_id, incarnation, participant) VALUES ${rows.join(', ')}
  ON CONFLICT DO NOTHING; COMMIT`
}

export function announced(logId: string, schema: string): string {
  return `SELECT incarnation, participant FROM ${logTable(schema)} WHERE log_id = ${literal(logId)}`
}

export function committedMarkers(gtrids: readonly string[], schema: string): string {
  return `SELECT gtrid, bqual FROM ${table(schema)}
  WHERE state = ${literal(COMMITTED)} AND gtrid IN (${gtrids.map(literal).join(', ')})`
}

export const USER = 'SELECT current_user::text AS name'

/** Sessions of this database whose statements are withheld: a null state alone would not tell. */
export const HIDDEN_SESSIONS: string = `SELECT count(*)::text AS hidden
  FROM pg_catalog.pg_stat_activity
  WHERE datname = pg_catalog.current_database() AND usesysid IS NOT NULL
    AND pid <> pg_catalog.pg_backend_pid()
    AND (query = '<insufficient privilege>' OR state = 'disabled')`

/**
 * Sessions that name the text. An idle one shows its last statement: after a vote packet, of whichever
 * protocol, the next may be the COMMIT PREPARED that waits unread in its socket.
 */
export function sessionsNaming(text: string): string {
  return `SELECT pid::text AS id, query AS statement
  FROM pg_catalog.pg_stat_activity
  WHERE pid <> pg_catalog.pg_backend_pid() AND position(${literal(text)} in query) > 0
    AND (state IS DISTINCT FROM 'idle' OR query LIKE 'SAVEPOINT ${SAVEPOINT};%'
      OR query LIKE '${PREPARE} %')`
}

/** As text, so that no parser of the driver rounds it. */
function micros(time: string): string {
  return `(extract(epoch FROM ${time}) * 1000000)::bigint::text`
}

/** Whether the block is still ours, the marker, and the verb that decides. */
function deciding(
  xid: Xid,
  id: string,
  schema: string | undefined,
  verb: string,
): readonly string[] {
  const checked = identify(id)
  if (schema === undefined) return [...checked, verb]
  return [...checked, insert(xid, schema, COMMITTED), verb]
}

/**
 * The second column raises 22P02 with our words in it, unless the setting is the branch's: then it is NULL. It
 * depends on current_setting(), which is stable and not immutable: the planner cannot fold it. Each node of
 * an expression is planned at each vote; a CASE that raised in its ELSE took the server 20 µs more.
 */
function check(id: string, answer: string): readonly string[] {
  const look = `SELECT ${answer} AS xid8,
  (${literal(`${NOT_OURS}: `)} || nullif(coalesce(${SETTING}, ''), ${id}))::int AS stranger`
  return [`SAVEPOINT ${SAVEPOINT}`, look, `RELEASE SAVEPOINT ${SAVEPOINT}`]
}

const SETTING = "pg_catalog.current_setting('unanimous.branch', true)"

function insert(xid: Xid, schema: string, state: string): string {
  const values = [xid.gtrid, xid.bqual, state].map(literal).join(', ')
  return `INSERT INTO ${table(schema)} (gtrid, bqual, state) VALUES (${values})`
}

function keyOf(xid: Xid): string {
  return `gtrid = ${literal(xid.gtrid)} AND bqual = ${literal(xid.bqual)}`
}

function table(schema: string): string {
  return `${identifier(schema)}.${identifier(MARKER_TABLE)}`
}

function logTable(schema: string): string {
  return `${identifier(schema)}.${identifier(LOG_TABLE)}`
}
