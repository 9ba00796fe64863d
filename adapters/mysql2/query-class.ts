/**
 * The driver's class of queries, of the copy of mysql2 that a connection belongs to. Whatever else is
 * given to `query`, the driver copies into an object that V8 makes old at once on Node.js 20, and with
 * it all that its callback can reach: 5 µs of the main thread for each statement.
 *
 * And its way of filling placeholders in, for what travels with statements of ours.
 */
import type { MysqlCommand, MysqlCore, MysqlDone } from './driver-types.ts'

/** A `Query` of mysql2. */
export interface DriverQuery extends MysqlCommand {
  sql: string
  values: unknown
  readonly _queryOptions: object
}

/** What placeholders are filled in of: a query, or what one would be made of. */
interface Formattable {
  readonly sql: string
  readonly values: unknown
  readonly namedPlaceholders: unknown
}

interface FormattingCore extends MysqlCore {
  _resolveNamedPlaceholders(statement: Formattable): void
  format(sql: string, values: unknown, namedPlaceholders: unknown): string
}

type QueryClass = new (options: object, done: MysqlDone) => DriverQuery

interface ConnectionClass {
  createQuery(sql: string, values: undefined, done: undefined, config: object): object
}

const CLASSES = new WeakMap<ConnectionClass, QueryClass>()

export function queryClassOf(connection: MysqlCore): QueryClass {
  const Connection = connection.constructor as unknown as ConnectionClass
  const known = CLASSES.get(Connection)
  if (known !== undefined) return known
  const query = Connection.createQuery('', undefined, undefined, {})
  const made = query.constructor as QueryClass
  CLASSES.set(Connection, made)
  return made
}

/** The text that the driver would send; a statement with named placeholders is changed on the way. */
export function formatted(connection: MysqlCore, statement: Formattable): string {
  const core = connection as FormattingCore
  core._resolveNamedPlaceholders(statement)
  return core.format(statement.sql, statement.values ?? [], statement.namedPlaceholders)
}
