/** The driver's own class of queries, of which the adapter makes its own where it is built as known. */
import type { PgClient } from './driver-types.ts'

export interface Connection {
  parse(statement: object): void
  bind(portal: object): void
  describe(portal: object): void
  execute(portal: object): void
  sync(): void
  readonly submittedNamedStatements?: Record<string, unknown>
}

/** A `pg.Query`, as its own class knows it. */
export interface DriverQuery {
  text: unknown
  name: string | undefined
  query_timeout?: unknown
  binary?: boolean
  requiresPreparation(): boolean
  submit(connection: Connection): unknown
  prepare(connection: Connection): void
  handleDataRow(message: object): void
  handleCommandComplete(message: object, connection: Connection): void
  handleError(cause: { position?: string }, connection: Connection): void
}

export type Done<Answer> = (cause: Error | null | undefined, result: Answer) => void
export type QueryClass<Answer> = new (
  config: unknown,
  values: unknown,
  done: Done<Answer>,
) => DriverQuery

const METHODS = [
  'requiresPreparation',
  'submit',
  'prepare',
  'handleDataRow',
  'handleCommandComplete',
  'handleError',
] as const

/** `undefined` for a client that is built in another way: `pg-native`. */
export function queryClassOf<Answer>(client: PgClient): QueryClass<Answer> | undefined {
  const { Query } = client.constructor as { readonly Query?: QueryClass<Answer> }
  if (Query === undefined || client.connection === undefined) return undefined
  const { prototype } = Query as { readonly prototype: Partial<DriverQuery> }
  return METHODS.every((method) => typeof prototype[method] === 'function') ? Query : undefined
}

/** Statements without values and without a Sync of their own, of whose rows nothing is described. */
export function sendBare(connection: Connection, texts: readonly string[]): void {
  for (const text of texts) {
    connection.parse({ text })
    connection.bind(UNNAMED)
    connection.execute(UNNAMED)
  }
}

const UNNAMED = {}
