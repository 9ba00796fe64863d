/**
 * The part of `mysql2` that this adapter uses, by structure. The promise API wraps a core object in
 * a new wrapper at every check-out: what belongs to a physical connection is kept by its core.
 */
import type { Connection } from 'mysql2/promise'

/**
 * What the application works with: the query methods of a `mysql2/promise` connection. Streams are
 * refused by the promise API itself.
 */
export type MysqlHandle = Pick<Connection, 'query' | 'execute' | 'format' | 'escape' | 'escapeId'>

/** The core connection inside a promise wrapper. */
export interface MysqlCore {
  /** From the server's greeting; a proxy invents it. */
  readonly threadId: number | null
  readonly config: { readonly multipleStatements?: boolean }
  readonly stream: { destroy(cause?: Error): unknown; ref?(): unknown; unref?(): unknown }
  on(event: 'error' | 'end', listener: (cause?: Error) => void): unknown
  removeListener(event: 'error' | 'end', listener: (cause?: Error) => void): unknown
}

export interface MysqlConnection {
  readonly connection: MysqlCore
  query(options: unknown, values?: unknown): Promise<unknown>
  execute(options: unknown, values?: unknown): Promise<unknown>
  destroy(): void
}

export interface MysqlPoolConnection extends MysqlConnection {
  release(): void
}

/** A connection of this adapter's own. */
export interface MysqlOwnConnection extends MysqlConnection {
  end(): Promise<unknown>
}

/** A pool of `mysql2/promise`. */
export interface MysqlPromisePool {
  getConnection(): Promise<unknown>
  format(sql: string, values?: unknown): string
  escape(value: unknown): string
  escapeId(value: unknown): string
  readonly pool: unknown
}

/** A pool of `mysql2`. */
export interface MysqlCallbackPool {
  promise(): unknown
}

export type MysqlPool = MysqlPromisePool | MysqlCallbackPool

/** What a pool knows about the connections that it makes. */
export interface MysqlPoolConfig {
  readonly resetOnRelease?: boolean
  readonly connectionConfig: Readonly<Record<string, unknown>>
}

/** The promise pool of either kind of pool. */
export function promisePool(pool: MysqlPool): MysqlPromisePool {
  return 'promise' in pool ? (pool.promise() as MysqlPromisePool) : pool
}

export function poolConfig(pool: MysqlPromisePool): MysqlPoolConfig {
  return (pool.pool as { readonly config: MysqlPoolConfig }).config
}
