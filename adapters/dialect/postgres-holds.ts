/**
 * What prepared branches of PostgreSQL hold, and who waits for them. A prepared transaction has no pid: its
 * locks are found by its own transaction id, which it holds a lock on, and so are those who wait for its rows.
 */
import { literal } from './postgres.ts'

/**
 * Locks and tables of each, and nothing of those that are gone. The locks are read once: the planner takes
 * them for few, and would read tens of thousands again for every branch.
 */
export function heldBy(gids: readonly string[]): string {
  return `WITH meant AS MATERIALIZED (
    SELECT gid, transaction FROM pg_catalog.pg_prepared_xacts
    WHERE database = pg_catalog.current_database() AND gid IN (${list(gids)})
  ), locks AS MATERIALIZED (
    SELECT locktype, relation, transactionid, virtualtransaction FROM pg_catalog.pg_locks
    WHERE pid IS NULL AND granted
  ), own AS MATERIALIZED (
    SELECT meant.gid, locks.virtualtransaction FROM meant JOIN locks
      ON locks.locktype = 'transactionid' AND locks.transactionid = meant.transaction
  )
  SELECT own.gid, count(l.locktype)::text AS locks,
    coalesce(json_agg(DISTINCT c.oid::regclass::text) FILTER (WHERE c.relkind IN ('r', 'p')), '[]')::text AS tables
  FROM own JOIN locks l ON l.virtualtransaction = own.virtualtransaction
  LEFT JOIN pg_catalog.pg_class c ON l.locktype = 'relation' AND c.oid = l.relation
  GROUP BY own.gid`
}

/**
 * Sessions that wait for the rows of some prepared transaction of this database, with its gid; and those
 * that wait for a whole table of one, without. Sessions are few and locks may be tens of thousands: those are
 * read only when some session waits for one, or does not show us whether it does.
 */
export const WAITING: string = `SELECT p.gid, w.pid::text AS session, a.usename::text AS username,
    ${waited('a.query_start')} AS waiting_ms
  FROM pg_catalog.pg_locks w
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON w.locktype = 'transactionid' AND p.transaction = w.transactionid
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
  WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity
      WHERE wait_event_type = 'Lock' OR query = '<insufficient privilege>')
    AND NOT w.granted AND a.datname = pg_catalog.current_database()
    AND (p.gid IS NOT NULL OR 0 = ANY (pg_catalog.pg_blocking_pids(w.pid)))
  ORDER BY a.query_start`

function waited(since: string): string {
  return `round(extract(epoch FROM pg_catalog.clock_timestamp() - ${since}) * 1000)::bigint::text`
}

function list(texts: readonly string[]): string {
  return texts.map(literal).join(', ')
}
