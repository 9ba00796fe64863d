/** The tables. All amounts are whole cents. */
import type { Pool as ShopPool } from 'mysql2'
import type { Pool as LedgerPool } from 'pg'

/** Customers and items have ids from 1. */
export const CUSTOMERS = 50
export const ITEMS = 20
/** What each customer may spend, and how many there are of each item, at the start. */
export const CREDIT = 1_000_000
export const STOCK = 10_000
/** Of one piece of an item, by its id. */
export const priceOf = (item: number): number => 100 + item

const LEDGER = [
  'create table credit (customer integer primary key, cents bigint not null check (cents >= 0))',
  `create table payment (
     purchase uuid primary key,
     customer integer not null references credit,
     cents bigint not null
   )`,
  `create table request (
     key varchar(64) primary key,
     asked text not null,
     answer text,
     at timestamptz not null default now()
   )`,
]

const SHOP = [
  `create table item (
     id integer primary key,
     price integer not null,
     stock integer not null check (stock >= 0)
   ) engine = InnoDB`,
  `create table purchase (
     id char(36) character set ascii collate ascii_bin primary key,
     customer integer not null,
     item integer not null,
     quantity integer not null,
     cents integer not null
   ) engine = InnoDB`,
]

/** Creates the tables in two databases that have none of these names, and fills them. */
export async function createSchema(ledger: LedgerPool, shop: ShopPool): Promise<void> {
  const ids = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1)
  for (const statement of LEDGER) await ledger.query(statement)
  await ledger.query('insert into credit select id, $2 from unnest($1::int[]) as id', [
    ids(CUSTOMERS),
    CREDIT,
  ])
  for (const statement of SHOP) await shop.promise().query(statement)
  await shop
    .promise()
    .query('insert into item values ?', [ids(ITEMS).map((id) => [id, priceOf(id), STOCK])])
}
