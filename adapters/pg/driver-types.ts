/**
 * The part of `pg` that this adapter uses, by structure, so that two copies of the driver do not disturb
 * each other.
 */
import type { EventEmitter } from 'node:events'
import type { PoolClient } from 'pg'

/**
 * What the application works with: a `pg` client of a pool, so that code for one fits. Inside a branch
 * it has the query methods with all their overloads, cursors and query streams among them; what ends,
 * resets or tunes a connection has no effect, or is not there.
 */
export type PgHandle = PoolClient

/** What a statement answers. */
export interface PgResult {
  readonly command: string | null
  readonly rowCount: number | null
  readonly rows: readonly Readonly<Record<string, unknown>>[]
}

/** For statements of ours: every value as the server spells it, whatever parsers the pool was given. */
export const AS_TEXT: { getTypeParser(): (value: string) => string } = {
  getTypeParser: () => (value) => value,
}

export interface PgClient {
  query(
    config: object,
    done: (cause: unknown, answer: PgResult | PgResult[] | undefined) => void,
  ): void
  query(config: unknown, values?: unknown): Promise<PgResult | PgResult[]>
  on(event: 'error' | 'notice', listener: (cause: Error) => void): unknown
  removeListener(event: 'error' | 'notice', listener: (cause: Error) => void): unknown
  /** Absent in `pg-native`. */
  readonly connection?: { readonly stream: EventEmitter & { destroy(): unknown } }
  /** 'I' outside a transaction. Absent before pg 8.21. */
  readonly getTransactionStatus?: () => string | null
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
  connect(callback: (cause: Error | undefined, client: PgPoolClient | undefined) => void): void
  on(event: 'error', listener: (cause: Error) => void): unknown
  removeListener(event: 'error', listener: (cause: Error) => void): unknown
}
