/**
 * Where everything is, from the environment, else as docker/compose.yaml sets it up; and the pools.
 *
 *   ledger   PostgreSQL: what customers have paid, and the requests that were answered
 *   shop     MySQL or MariaDB: items, and what was bought
 */
import { createPool } from 'mysql2'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const { LEDGER_URL, SHOP_URL, DECISIONS, PORT } = process.env

export const ledgerUrl: string = LEDGER_URL || 'postgres://app:app@127.0.0.1:25432/bank'
export const shopUrl: string = SHOP_URL || 'mysql://app:app@127.0.0.1:23306/bank'
/** Directory of the decision log: on a disk that stays. */
export const decisions: string = DECISIONS || './decisions'
export const port: number = Number(PORT || 8080)

/** More requests at a time than this wait for a connection. */
const CONNECTIONS = 20

export const ledgerPool: pg.Pool = new pg.Pool({ connectionString: ledgerUrl, max: CONNECTIONS })
// A pool without a listener ends the process when an idle connection dies.
ledgerPool.on('error', () => undefined)
export const shopPool = createPool({ uri: shopUrl, connectionLimit: CONNECTIONS })

/** The two databases, by the names that transactions, records and errors call them. */
export const participants = { ledger: postgres(ledgerPool), shop: mysql(shopPool) }

export async function endPools(): Promise<void> {
  await Promise.all([ledgerPool.end(), shopPool.promise().end()])
}
