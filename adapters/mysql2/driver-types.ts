/**
 * The part of `mysql2` that this adapter uses, by structure. The promise API wraps a core object in
 * a new wrapper at every check-out: what belongs to a physical connection is kept by its core.
 */
import type { Readable } from 'node:stream'
import type { PoolConnection } from 'mysql2/promise'

/**
 * What the application works with: a `mysql2/promise` connection of a pool, so that code for one fits.
 * Inside a branch it has the query methods and those of transactions, which are nested; what ends or
 * resets a connection is refused or has no effect.
 */
export type MysqlHandle = PoolConnection

/** The core connection inside a promise wrapper. */
export interface MysqlCore {
  /** From the server's greeting; a proxy invents it. */
  readonly threadId: number | null
  readonly config: {
    readonly multipleStatements?: boolean
    readonly queryFormat?: unknown
    readonly infileStreamFactory?: unknown
  }
  readonly stream: {
    readonly destroyed?: boolean
    destroy(cause?: Error): unknown
    ref?(): unknown
    unref?(): unknown
  }
  on(event: 'error' | 'end', listener: (cause?: Error) => void): unknown
  removeListener(event: 'error' | 'end', listener: (cause?: Error) => void): unknown
  query(sql: unknown, done?: MysqlDone): MysqlCommand
  execute(sql: unknown, values: unknown, done: MysqlDone): MysqlCommand
  addCommand(command: MysqlCommand): unknown
}

/** Makes the value of a field, instead of the driver, which `next` leaves it to. */
export type TypeCast = (
  field: { readonly name: string; string(encoding: string): string | null },
  next: () => unknown,
) => unknown

/** A command, which reports by `onResult`, or by events when nobody gave one. */
export interface MysqlCommand {
  onResult?: ((cause: unknown, ...rest: unknown[]) => void) | undefined
  namedPlaceholders?: unknown
  emit: (event: string, ...args: unknown[]) => boolean
  on(event: 'result' | 'error' | 'end', listener: (what?: unknown) => void): unknown
  once(event: 'end', listener: () => void): unknown
  listenerCount(event: 'error'): number
  stream: (options?: object) => Readable
}

/** What a pool's own `query` and `execute` ask of a connection. */
export interface MysqlStatements {
  query(command: MysqlCommand): MysqlCommand
  execute(sql: unknown, values: unknown, done: MysqlDone): MysqlCommand
  release(): void
  destroy(): void
}

export type MysqlDone = (cause: unknown, ...rest: unknown[]) => void

/** A pool of `mysql2` beneath its promises. */
export interface MysqlCorePool {
  readonly config: MysqlPoolConfig
  /** Whoever waits for a connection. */
  readonly _connectionQueue?: { readonly length?: number }
  on(event: 'acquire', listener: (connection: MysqlPoolCore) => void): unknown
  removeListener(event: 'acquire', listener: (connection: MysqlPoolCore) => void): unknown
  listenerCount(event: 'acquire' | 'release'): number
  query(sql: unknown, values?: unknown, done?: MysqlDone): MysqlCommand
  execute(sql: unknown, values?: unknown, done?: MysqlDone): void
  getConnection(done: MysqlDone): void
  releaseConnection(connection: unknown): void
  promise(promise?: PromiseConstructor): unknown
  format(sql: string, values?: unknown): string
  escape(value: unknown): string
  escapeId(value: unknown): string
}

export interface MysqlConnection {
  readonly connection: MysqlCore
  query(options: unknown, values?: unknown): Promise<unknown>
  execute(options: unknown, values?: unknown): Promise<unknown>
  destroy(): void
}

/** The core of a pool's connection. */
export interface MysqlPoolCore extends MysqlCore {
  release(): void
  destroy(): void
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
  readonly connectionLimit?: number
  readonly connectionConfig: Readonly<Record<string, unknown>>
}

/** The promise pool of either kind of pool. */
export function promisePool(pool: MysqlPool): MysqlPromisePool {
  return 'promise' in pool ? (pool.promise() as MysqlPromisePool) : pool
}

export function poolConfig(pool: MysqlPromisePool): MysqlPoolConfig {
  return (pool.pool as { readonly config: MysqlPoolConfig }).config
}

/** The pool beneath the promises. */
export function corePool(pool: MysqlPromisePool): MysqlCorePool {
  return pool.pool as MysqlCorePool
}
