/**
 * The application's first statement, in one packet with what begins its branch:
 *
 *   XA START …; <statement>
 *
 * If XA START fails, the server does not run what comes behind it. A command of ours is sent, and the
 * application's hears the answers that are its own.
 */
import { asMysqlError, PACKET_TOO_LARGE } from '../dialect/mysql-errors.ts'
import type { MysqlCommand, MysqlDone } from './driver-types.ts'
import type { Session } from './pool.ts'
import { type DriverQuery, formatted } from './query-class.ts'

/** What a pool makes of the application's statement. */
interface FirstQuery extends DriverQuery {
  namedPlaceholders: unknown
  on(event: 'fields' | 'result' | 'error' | 'end', listener: () => void): unknown
}

/** Whether the two may travel together; not with a format of the application's own, which sees one statement. */
export function mergesFirst(session: Session): boolean {
  return session.merges && session.connection.config.queryFormat === undefined
}

/**
 * Sends both. When the branch is not known to have begun, `notBegun` is told, and not the command.
 *
 * @param command - with a callback: events would tell of every statement
 */
export function sendFirst(
  session: Session,
  opening: readonly string[],
  command: MysqlCommand,
  notBegun: (cause: unknown) => void,
): void {
  const own = command as FirstQuery
  const { connection } = session
  const sql = formatted(connection, own)
  const count = opening.length
  let answers = 0
  const Query = own.constructor as new (options: object, done: MysqlDone) => FirstQuery
  const carrier = new Query(own._queryOptions, (cause, rows, fields) => {
    if (cause !== null && cause !== undefined) {
      const error = asMysqlError(cause)
      const isRead = error?.errno !== PACKET_TOO_LARGE
      if (answers < count && isRead) return notBegun(cause)
      // The statement's own answer; no branch was begun, and nothing more may be said.
      if (answers < count) session.destroy(new Error('a packet was not read', { cause }))
      if (error !== undefined) Object.assign(cause, { sql })
      own.onResult?.(cause)
      own.emit('end')
    } else if (answers > count) {
      own.emit('end')
      own.onResult?.(null, behind(count, rows), behind(count, fields))
    } else {
      // An empty text: the driver has an answer of its own to it.
      connection.query(own)
    }
  })
  // Here, and not in options of its own: see query-class.ts.
  carrier.sql = [...opening, sql].join('; ')
  carrier.values = undefined
  carrier.namedPlaceholders = false
  // One for each statement that was carried out.
  carrier.on('fields', () => {
    answers += 1
  })
  session.said()
  connection.query(carrier)
}

/** A single answer stands alone, as the driver tells it. */
function behind(count: number, answers: unknown): unknown {
  const own = (answers as readonly unknown[]).slice(count)
  return own.length === 1 ? own[0] : own
}
