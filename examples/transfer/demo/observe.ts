/**
 * What the databases themselves say, by plain SQL on connections of their own: nothing in this file
 * knows the library whose work it checks.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pools } from '../environment.ts'

/** A prepared branch, as its server spells it. */
export interface InDoubt {
  readonly database: 'accounts' | 'wallets'
  readonly id: string
}

/** One side's books. */
export interface Books {
  /** Sum of the balances, in cents. */
  readonly money: number
  /** What its rows of `transfer` moved from accounts to wallets, in cents. */
  readonly moved: number
  /** Ids of the transfers. */
  readonly transfers: ReadonlySet<string>
}

type Row = Readonly<Record<string, unknown>>

const MAX_TRIES = 40
const RETRY_MS = 25

export class Observer {
  readonly #pools: Pools
  /** What ids of one decision log begin with: a server may hold others' branches too. */
  #prefix: string | undefined

  constructor(pools: Pools) {
    this.#pools = pools
  }

  only(logId: string): void {
    this.#prefix = `una1-${logId}-`
  }

  /** For a demo that is broken off: its databases are dropped, and no decision counts any more. */
  async rollBackAll(): Promise<void> {
    if (this.#prefix === undefined) return
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const left = await this.inDoubt()
      if (left.length === 0) return
      // A session that was killed with its process may hold on to its branch for a moment.
      await Promise.allSettled(left.map((branch) => this.#rollBack(branch)))
      await sleep(RETRY_MS)
    }
  }

  async #rollBack({ database, id }: InDoubt): Promise<void> {
    const [gtrid, bqual] = id.split(':')
    if (database === 'accounts') await this.#accounts(`rollback prepared '${id}'`)
    else await this.#wallets(`xa rollback '${gtrid}','${bqual}',1`)
  }

  /** Branches that are prepared and not finished. */
  async inDoubt(): Promise<readonly InDoubt[]> {
    const [accounts, wallets] = await Promise.all([
      this.#accounts('select gid as id from pg_prepared_xacts where database = current_database()'),
      this.#wallets('xa recover'),
    ])
    return [
      ...accounts.map((row) => ({ database: 'accounts' as const, id: text(row['id']) })),
      ...wallets.map((row) => ({ database: 'wallets' as const, id: xidOf(row) })),
    ].filter(({ id }) => id.startsWith(this.#prefix ?? 'una1-'))
  }

  async accounts(): Promise<Books> {
    return books(
      await this.#accounts('select sum(balance) as money from account'),
      await this.#accounts('select id, amount from transfer'),
    )
  }

  async wallets(): Promise<Books> {
    return books(
      await this.#wallets('select sum(balance) as money from wallet'),
      await this.#wallets('select id, amount from transfer'),
    )
  }

  /** Locks every row, waiting for none. @throws the server's refusal when a row is locked */
  async lockAll(): Promise<void> {
    for (const table of ['account', 'transfer']) {
      await this.#accounts(`select id from ${table} for update nowait`)
    }
    for (const table of ['wallet', 'transfer']) {
      await this.#wallets(`select id from ${table} for update nowait`)
    }
  }

  async #accounts(sql: string): Promise<readonly Row[]> {
    return (await this.#pools.accounts.query<Row>(sql)).rows
  }

  async #wallets(sql: string): Promise<readonly Row[]> {
    const [rows] = await this.#pools.wallets.query(sql)
    return rows as readonly Row[]
  }
}

function books(sums: readonly Row[], transfers: readonly Row[]): Books {
  return {
    money: Number(sums[0]?.['money']),
    moved: transfers.reduce((sum, row) => sum + Number(row['amount']), 0),
    transfers: new Set(transfers.map((row) => text(row['id']))),
  }
}

/** XA RECOVER gives gtrid and bqual in one piece, and their lengths. */
function xidOf(row: Row): string {
  const data = text(row['data'])
  const length = Number(row['gtrid_length'])
  return `${data.slice(0, length)}:${data.slice(length)}`
}

/** MariaDB's `data` is a Buffer, MySQL's a string. */
function text(value: unknown): string {
  if (typeof value === 'string') return value
  if (Buffer.isBuffer(value)) return value.toString('latin1')
  throw new TypeError(`expected a text, not a ${typeof value}`)
}
