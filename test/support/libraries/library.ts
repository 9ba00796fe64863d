/** What the tests ask of a query library, over one of the two databases. */
import type { Pool } from 'mysql2/promise'
import type pg from 'pg'

export interface Statements {
  insert(id: number): Promise<unknown>
  /** A statement of SQL, as it stands. */
  run(text: string): Promise<unknown>
}

/** Inside a transaction of the library's own. */
export interface Inner extends Statements {
  /** One more inside that. */
  deeper<T>(work: (inner: Statements) => Promise<T>): Promise<T>
}

export type Database = 'ledger' | 'shop'

/** The two pools that code is given: those of the coordinator, or plain ones. */
export interface Pools {
  readonly ledger: pg.Pool
  readonly shop: Pool
}

export type Isolation = 'read committed' | 'serializable'

/** A transaction that its holder ends. */
export interface Held {
  insert(id: number): Promise<unknown>
  commit(): Promise<unknown>
  rollback(): Promise<unknown>
}

export interface Library extends Statements {
  /** `knex`, `Kysely`, … */
  readonly name: string
  readonly database: Database
  /** A transaction of its own. */
  nested<T>(work: (inner: Inner) => Promise<T>, isolation?: Isolation): Promise<T>
  hold(): Promise<Held>
  /** Reads the rows of `many` as they come; `undefined` where the library cannot. */
  readonly stream: (() => Promise<AsyncIterable<unknown>> | AsyncIterable<unknown>) | undefined
  /** Makes another instance over the same pool, uses it, and closes it. */
  useAndClose(): Promise<unknown>
  close(): Promise<unknown>
}

/** A callback that stays open, as an open transaction: for a library that has callbacks only. */
export async function holding(
  transaction: (work: (inner: Statements) => Promise<void>) => Promise<unknown>,
): Promise<Held> {
  let commit: () => void = () => undefined
  let rollBack: (cause: Error) => void = () => undefined
  const end = new Promise<void>((resolve, reject) => {
    commit = resolve
    rollBack = reject
  })
  let ended: Promise<unknown> = Promise.resolve()
  const inner = await new Promise<Statements>((resolve, reject) => {
    ended = transaction((given) => {
      resolve(given)
      return end
    })
    ended.catch(reject)
  })
  return {
    insert: (id) => inner.insert(id),
    commit: () => {
      commit()
      return ended
    },
    rollback: () => {
      rollBack(new Error('rolled back'))
      return ended.catch(() => undefined)
    },
  }
}
