/** The driver's own class of queries, of which the adapter makes its own where it is built as known. */
import type { PgClient } from './driver-types.ts'

/** What a query says itself by. */
interface Messages {
  parse(statement: object): void
  bind(portal: object): void
  describe(portal: object): void
  execute(portal: object): void
  sync(): void
  readonly submittedNamedStatements?: Record<string, unknown>
}

export interface Connection extends Messages {
  readonly stream: { readonly writable: boolean; write(packet: Uint8Array): unknown }
}

/** A `pg.Query`, as its own class knows it. */
export interface DriverQuery {
  text: unknown
  name: string | undefined
  query_timeout?: unknown
  binary?: boolean
  requiresPreparation(): boolean
  submit(connection: Connection): unknown
  prepare(connection: Messages): void
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

/**
 * Statements without values and without a Sync of their own, of whose rows nothing is described. In one
 * write: the driver makes three of each statement, and each costs more than the message that it holds.
 */
export function sendBare({ stream }: Connection, texts: readonly string[]): void {
  const length = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + BARE_BYTES, 0)
  if (length === 0) return
  const packet = Buffer.allocUnsafe(length)
  let at = 0
  for (const text of texts) {
    // Parse: name, text, no parameter types.
    const bytes = packet.write(text, at + 6)
    packet[at] = 0x50
    packet.writeInt32BE(bytes + 8, at + 1)
    packet[at + 5] = 0
    packet.fill(0, at + 6 + bytes, at + 9 + bytes)
    at += 9 + bytes
    at += BIND_EXECUTE.copy(packet, at)
  }
  if (stream.writable) stream.write(packet)
}

/** Bind: portal, statement, no formats, no values, results as text. Execute: portal, every row. */
const BIND_EXECUTE: Buffer = Buffer.from([
  ...[0x42, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0],
  ...[0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0],
])
const BARE_BYTES = 9 + BIND_EXECUTE.length
