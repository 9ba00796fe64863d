/**
 * The part of `pg` that this adapter uses, by structure: any 8.x of the driver fits, and two copies
 * of it do not disturb each other.
 */
import type { ClientBase } from 'pg'

/**
 * What the application works with: the query methods of a `pg` client, with all their overloads.
 * Cursors and query streams are refused: they would hold the branch's connection past its vote.
 */
export type PgHandle = Pick<ClientBase, 'query' | 'escapeIdentifier' | 'escapeLiteral'>

/** What a statement answers. */
export interface PgResult {
  readonly command: string | null
  readonly rowCount: number | null
  readonly rows: readonly Readonly<Record<string, unknown>>[]
}

export interface PgClient {
  query(config: unknown, values?: unknown): Promise<PgResult | PgResult[]>
  on(event: 'error', listener: (cause: Error) => void): unknown
  removeListener(event: 'error', listener: (cause: Error) => void): unknown
  /** Absent in `pg-native`. */
  readonly connection?: { readonly stream: { destroy(): unknown } }
  /** 'I' outside a transaction; pg >= 8.20. */
  getTransactionStatus?(): string | null
  /** From the server's greeting; a pooler invents it. */
  readonly processID?: number | null
}

export interface PgPoolClient extends PgClient {
  release(destroy?: boolean): void
}

/** A connection of this adapter's own. */
export interface PgOwnClient extends PgClient {
  connect(): Promise<unknown>
  end(): Promise<unknown>
  ref?(): void
  unref?(): void
}

/** A `pg.Pool`. */
export interface PgPool {
  readonly options: object
  connect(): Promise<unknown>
  on(event: 'error', listener: (cause: Error) => void): unknown
  removeListener(event: 'error', listener: (cause: Error) => void): unknown
}
