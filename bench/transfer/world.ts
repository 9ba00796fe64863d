/**
 * Two servers with the accounts of a transfer, and the pools that every variant shares. Each caller
 * has rows of its own, so nothing waits for a lock.
 */
import mysql2, { type Pool } from 'mysql2/promise'
import pg from 'pg'
import {
  createDatabase,
  startMysqlFamily,
  startPostgres,
} from '../../test/support/servers/index.ts'
import type { MysqlWish, PostgresWish } from '../../test/support/servers/server.ts'

/** Rows that a caller goes through in turn. */
export const ROWS_A_CALLER = 8
export const MAX_CALLERS = 64
/** Where the marker tables lie: the variants without markers must not find them. */
export const MARKER_SCHEMA = 'bench_markers'

export interface World {
  /** Names and versions of both servers. */
  readonly title: string
  readonly flavour: string
  readonly urls: Urls
  stop(): Promise<void>
}

export interface Urls {
  readonly ledger: string
  readonly shop: string
}

export interface Pools {
  readonly ledger: pg.Pool
  /** With `multipleStatements`, which lets XA statements travel together. */
  readonly shop: Pool
  /** As it comes. */
  readonly defaultShop: Pool
  /** Whose sessions limit their lock waits themselves, so that no branch has to. */
  readonly limited: { readonly ledger: pg.Pool; readonly shop: Pool }
  /** Twice as large, for who gives connections back behind the caller. */
  readonly wide: { readonly ledger: pg.Pool; readonly shop: Pool }
  close(): Promise<void>
}

export async function startWorld(postgres: PostgresWish, mysql: MysqlWish): Promise<World> {
  const options = { report: (line: string): void => console.error(line), fresh: true }
  // Every contender keeps connections of its own for all callers.
  const ledger = await startPostgres(postgres, {
    ...options,
    settings: ['max_prepared_transactions=200', 'max_connections=1000'],
  })
  const shop = await startMysqlFamily(mysql, {
    ...options,
    settings: ['--max-connections=1000'],
  })
  const urls = {
    ledger: await createDatabase(ledger, 'bench'),
    shop: await createDatabase(shop, 'bench'),
  }
  await createAccounts(urls)
  return {
    title: `PostgreSQL ${ledger.version} × ${shop.flavour === 'mysql' ? 'MySQL' : 'MariaDB'} ${shop.version}`,
    flavour: shop.flavour,
    urls,
    stop: async () => {
      await Promise.all([ledger.stop(), shop.stop()])
    },
  }
}

export function openPools(urls: Urls, size: number): Pools {
  const both = (max: number, limits: pg.PoolConfig = {}) => ({
    ledger: new pg.Pool({ connectionString: urls.ledger, max, ...limits }),
    shop: mysql2.createPool({ uri: urls.shop, connectionLimit: max, multipleStatements: true }),
  })
  const plain = both(size)
  const wide = both(2 * size)
  const limited = both(size, { lock_timeout: 4_000 })
  limited.shop.pool.on('connection', (connection) => {
    connection.query('set session innodb_lock_wait_timeout = 4, session lock_wait_timeout = 4')
  })
  const defaultShop = mysql2.createPool({ uri: urls.shop, connectionLimit: size })
  return {
    ...plain,
    defaultShop,
    wide,
    limited,
    close: async () => {
      const ledgers = [plain.ledger, wide.ledger, limited.ledger]
      const shops = [plain.shop, wide.shop, limited.shop, defaultShop]
      await Promise.all([...ledgers, ...shops].map((one) => one.end()))
    },
  }
}

/**
 * Whether each row of the one side has what the row of the other lacks, whoever moved it.
 *
 * @returns what was found, in words
 * @throws when a row differs
 */
export async function verifyAccounts(urls: Urls): Promise<string> {
  const pools = openPools(urls, 1)
  const all = 'select id, balance from bench_account order by id'
  const here = (await pools.ledger.query<Account>(all)).rows
  const there = (await pools.shop.query(all))[0] as Account[]
  await pools.close()
  const split = here.filter((row, at) => Number(row.balance) !== -Number(there[at]?.balance))
  if (split.length > 0) throw new Error(`${split.length} rows differ: a transfer was split`)
  const moved = there.reduce((sum, { balance }) => sum + Number(balance), 0)
  return `${moved} transfers are in both databases, and ${here.length} rows agree`
}

interface Account {
  readonly id: number
  readonly balance: string | number
}

async function createAccounts(urls: Urls): Promise<void> {
  const pools = openPools(urls, 1)
  const { ledger, shop } = pools
  const ids = Array.from({ length: MAX_CALLERS * ROWS_A_CALLER }, (_, id) => `(${id}, 0)`)
  const statements = [
    'create table bench_account (id int primary key, balance bigint not null)',
    'create table bench_proof (peer varchar(40) not null, number int not null)',
    `insert into bench_account values ${ids.join(', ')}`,
    `create schema ${MARKER_SCHEMA}`,
  ]
  for (const statement of statements) {
    await ledger.query(statement)
    await shop.query(statement)
  }
  await pools.close()
}
