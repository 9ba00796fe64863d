/**
 * The tables: accounts in PostgreSQL, wallets in MySQL or MariaDB, and on both sides a row for every
 * transfer. A transfer that is on one side only is money that appeared or vanished.
 *
 * All amounts are whole cents. `amount` in the table `transfer` is what moved from the account to
 * the wallet: negative when the money went the other way.
 */
import type { Pool as MysqlPool } from 'mysql2/promise'
import type { Pool as PgPool } from 'pg'

/** Accounts, and as many wallets; ids count from 1. */
export const PLACES = 50
/** What each account and each wallet holds at the start, in cents. */
export const START_BALANCE = 1_000_000

const POSTGRES = [
  'create table account (id integer primary key, balance bigint not null check (balance >= 0))',
  `create table transfer (
     id varchar(64) primary key,
     account integer not null references account,
     amount bigint not null,
     at timestamptz not null default now()
   )`,
]

const MYSQL = [
  `create table wallet (
     id integer primary key,
     balance bigint not null check (balance >= 0)
   ) engine = InnoDB`,
  `create table transfer (
     id varchar(64) character set ascii collate ascii_bin primary key,
     wallet integer not null,
     amount bigint not null,
     at timestamp not null default current_timestamp
   ) engine = InnoDB`,
]

/** Creates the tables and fills the accounts and wallets. The databases must be empty. */
export async function createSchema(accounts: PgPool, wallets: MysqlPool): Promise<void> {
  const ids = Array.from({ length: PLACES }, (_, index) => index + 1)
  for (const statement of POSTGRES) await accounts.query(statement)
  await accounts.query('insert into account select id, $2 from unnest($1::int[]) as id', [
    ids,
    START_BALANCE,
  ])
  for (const statement of MYSQL) await wallets.query(statement)
  await wallets.query('insert into wallet (id, balance) values ?', [
    ids.map((id) => [id, START_BALANCE]),
  ])
}
