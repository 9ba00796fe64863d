/**
 * What prepared branches of PostgreSQL hold, and who waits for them. A prepared transaction has no pid: its
 * locks are found by its own transaction id, which it holds a lock on, and so are those who wait for its rows.
 */
import { literal } from './postgres.ts'

/** Locks and tables of each, and nothing of those that are gone. */
export function heldBy(gids: readonly string[]): string {
  return `SELECT p.gid,
    count(l.locktype)::text AS locks,
    coalesce(json_agg(DISTINCT c.oid::regclass::text) FILTER (WHERE c.relkind IN ('r', 'p')), '[]')::text AS tables
  FROM pg_catalog.pg_prepared_xacts p
  JOIN pg_catalog.pg_locks own ON own.locktype = 'transactionid' AND own.granted AND own.pid IS NULL
    AND own.transactionid = p.transaction
  JOIN pg_catalog.pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction
  LEFT JOIN pg_catalog.pg_class c ON l.locktype = 'relation' AND c.oid = l.relation
  WHERE p.database = pg_catalog.current_database() AND p.gid IN (${list(gids)})
  GROUP BY p.gid`
}

/**
 * Sessions that wait for the rows of some prepared transaction of this database, with its gid; and those
 * that wait for a whole table of one, without.
 */
export const WAITING: string = `SELECT p.gid, w.pid::text AS session, a.usename::text AS username,
    ${waited('a.query_start')} AS waiting_ms
  FROM pg_catalog.pg_locks w
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON w.locktype = 'transactionid' AND p.transaction = w.transactionid
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
  WHERE NOT w.granted AND a.datname = pg_catalog.current_database()
    AND (p.gid IS NOT NULL OR 0 = ANY (pg_catalog.pg_blocking_pids(w.pid)))
  ORDER BY a.query_start`

function waited(since: string): string {
  return `round(extract(epoch FROM pg_catalog.clock_timestamp() - ${since}) * 1000)::bigint::text`
}

function list(texts: readonly string[]): string {
  return texts.map(literal).join(', ')
}
