/**
 * The ways to move money between two databases that the benchmark compares. All of them take their
 * connections from the same pools, and speak to both databases at the same time.
 */
import type { PoolConnection } from 'mysql2/promise'
import type { PoolClient } from 'pg'
import type { MysqlHandle } from 'unanimous/mysql2'
import type { PgHandle } from 'unanimous/pg'
import type { Pools } from './world.ts'

/** Moves 1 from a row of the one database to the row of the other. */
export type Transfer = (row: number) => Promise<void>

export const LEDGER_UPDATE = 'update bench_account set balance = balance - $1 where id = $2'
export const SHOP_UPDATE = 'update bench_account set balance = balance + ? where id = ?'

/** A coordinator's `transaction`, over these two participants. */
export type Transact = (
  work: (tx: { readonly ledger: PgHandle; readonly shop: MysqlHandle }) => Promise<void>,
  options?: { readonly settle: 'behind' },
) => Promise<void>

/** A coordinator's `execute`, over these two participants. */
export type Execute = (
  statements: readonly {
    readonly on: 'ledger' | 'shop'
    readonly text: string
    readonly values: readonly number[]
  }[],
) => Promise<unknown>

/** Unique while this process lives; no two runs share their servers. */
let transfers = 0

export function ours(transact: Transact): Transfer {
  return (row) =>
    transact(async (tx) => {
      await Promise.all([
        tx.ledger.query(LEDGER_UPDATE, [1, row]),
        tx.shop.query(SHOP_UPDATE, [1, row]),
      ])
    })
}

export function inAdvance(execute: Execute): Transfer {
  return async (row) => {
    await execute([
      { on: 'ledger', text: LEDGER_UPDATE, values: [1, row] },
      { on: 'shop', text: SHOP_UPDATE, values: [1, row] },
    ])
  }
}

/** What a good engineer writes with the drivers: one statement a trip, and no log. */
export function handWritten(pools: Pools): Transfer {
  return (row) =>
    onBoth(pools, async (ledger, shop, id) => {
      await Promise.all([ledger.query('begin'), shop.query(`xa start '${id}'`)])
      await Promise.all([ledger.query(LEDGER_UPDATE, [1, row]), shop.query(SHOP_UPDATE, [1, row])])
      const vote = async (): Promise<void> => {
        await shop.query(`xa end '${id}'`)
        await shop.query(`xa prepare '${id}'`)
      }
      await Promise.all([ledger.query(`prepare transaction '${id}'`), vote()])
      await Promise.all([ledger.query(`commit prepared '${id}'`), shop.query(`xa commit '${id}'`)])
    })
}

/** The fewest packets that the databases allow, where all statements are known in advance. */
export function batchedByHand(pools: Pools): Transfer {
  return (row) =>
    onBoth(pools, async (ledger, shop, id) => {
      await Promise.all([
        ledger.query(
          `begin; update bench_account set balance = balance - 1 where id = ${row}; prepare transaction '${id}'`,
        ),
        shop.query(
          `xa start '${id}'; update bench_account set balance = balance + 1 where id = ${row}; xa end '${id}'; xa prepare '${id}'`,
        ),
      ])
      await Promise.all([ledger.query(`commit prepared '${id}'`), shop.query(`xa commit '${id}'`)])
    })
}

/** Not atomic: what most code does today. */
export function twoCommits(pools: Pools): Transfer {
  return (row) =>
    onBoth(pools, async (ledger, shop) => {
      await Promise.all([ledger.query('begin'), shop.query('begin')])
      await Promise.all([ledger.query(LEDGER_UPDATE, [1, row]), shop.query(SHOP_UPDATE, [1, row])])
      await Promise.all([ledger.query('commit'), shop.query('commit')])
    })
}

async function onBoth(
  { ledger, shop }: Pools,
  work: (ledger: PoolClient, shop: PoolConnection, id: string) => Promise<void>,
): Promise<void> {
  const [ours, theirs] = await Promise.all([ledger.connect(), shop.getConnection()])
  transfers += 1
  try {
    await work(ours, theirs, `hand-${transfers}`)
  } finally {
    ours.release()
    theirs.release()
  }
}
