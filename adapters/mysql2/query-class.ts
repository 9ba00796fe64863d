/**
 * The driver's class of queries, of the copy of mysql2 that a connection belongs to. Whatever else is
 * given to `query`, the driver copies into an object that V8 makes old at once on Node.js 20, and with
 * it all that its callback can reach: 5 µs of the main thread for each statement.
 */
import type { MysqlCommand, MysqlCore, MysqlDone } from './driver-types.ts'

/** A `Query` of mysql2. */
export interface DriverQuery extends MysqlCommand {
  sql: string
  values: unknown
  readonly _queryOptions: object
}

export type QueryClass = new (options: object, done: MysqlDone) => DriverQuery

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
