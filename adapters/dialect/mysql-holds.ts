/**
 * Who waits for prepared branches of MySQL and MariaDB. Neither tells which xid an InnoDB transaction has:
 * a blocker without a thread is some prepared branch, and that is all that can be known.
 */
import type { Flavour } from './mysql.ts'

const WAITING_MARIADB = `SELECT r.trx_mysql_thread_id AS session, p.USER AS username,
    TIMESTAMPDIFF(MICROSECOND, r.trx_wait_started, NOW(6)) / 1000 AS waiting_ms
  FROM information_schema.INNODB_LOCK_WAITS w
  JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id AND b.trx_mysql_thread_id = 0
  JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id
  LEFT JOIN information_schema.PROCESSLIST p ON p.ID = r.trx_mysql_thread_id`

/** Not sys.innodb_lock_waits: its first call takes more than half a second. */
const WAITING_MYSQL = `SELECT t.PROCESSLIST_ID AS session, t.PROCESSLIST_USER AS username,
    TIMESTAMPDIFF(MICROSECOND, r.trx_wait_started, NOW(6)) / 1000 AS waiting_ms
  FROM performance_schema.data_lock_waits w
  JOIN information_schema.INNODB_TRX b
    ON b.trx_id = w.BLOCKING_ENGINE_TRANSACTION_ID AND b.trx_mysql_thread_id = 0
  JOIN information_schema.INNODB_TRX r ON r.trx_id = w.REQUESTING_ENGINE_TRANSACTION_ID
  JOIN performance_schema.threads t ON t.THREAD_ID = w.REQUESTING_THREAD_ID`

/**
 * How many sessions wait for rows, of whatever transaction: read first, for the tables below take long to
 * fill when tens of thousands of transactions are open.
 */
export const ROW_WAITS = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"

/** A session is listed once for each lock that it waits for. */
export function waiting(flavour: Flavour): string {
  return flavour === 'MariaDB' ? WAITING_MARIADB : WAITING_MYSQL
}
