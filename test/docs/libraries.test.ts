/** docs/knex.md, kysely.md, drizzle.md, typeorm.md: the same two repositories over each library. */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const environment = { LEDGER_URL: postgres.url, SHOP_URL: mysql.url }
const pages = {
  knex: await openPage('docs/knex.md', environment),
  Kysely: await openPage('docs/kysely.md', environment),
  Drizzle: await openPage('docs/drizzle.md', environment),
  TypeORM: await openPage('docs/typeorm.md', environment),
}
const ledger = new pg.Pool({ connectionString: postgres.url })
const shop = createPool(mysql.url)

beforeAll(async () => {
  await ledger.query('create table account (id int primary key, balance int not null)')
  await shop.query('create table wallet (id int primary key, balance int not null)')
  await shop.query('create table payment (wallet_id int not null, amount int not null)')
})

beforeEach(async () => {
  await ledger.query('delete from account')
  await ledger.query('insert into account values (1, 500)')
  for (const table of ['wallet', 'payment']) await shop.query(`delete from ${table}`)
  await shop.query('insert into wallet values (7, 500)')
})

afterAll(() => Promise.all([ledger.end(), shop.end()]))

const BEFORE = `
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledgerPool = new Pool({ connectionString: process.env.LEDGER_URL })
const shopPool = createPool({
  uri: process.env.SHOP_URL ?? '',
  supportBigNumbers: true,
  bigNumberStrings: true,
  stringifyObjects: true,
})
const coordinator = await Coordinator.open({
  log: './decisions',
  participants: { ledger: postgres(ledgerPool), shop: mysql(shopPool) },
})
`
const AFTER = `
const failed = await coordinator
  .transaction(async () => {
    await wallets.pay(7, 50)
    await accounts.withdraw(1, 50)
    throw new Error('no')
  })
  .catch((cause: unknown) => cause)
if (!(failed instanceof Error)) throw new Error('it was not rolled back')
await coordinator.close()
await Promise.all([ledgerPool.end(), shopPool.end()])
`

it.each(Object.entries(pages))('%s: outside, inside, and rolled back', async (_, page) => {
  expect(await page.run({ before: BEFORE, after: AFTER })).toBe('')
  const { rows } = await ledger.query('select balance from account')
  const [wallets] = await shop.query(
    'select balance, (select cast(sum(amount) as signed) from payment) as paid from wallet',
  )
  expect([rows, wallets]).toEqual([[{ balance: 400 }], [{ balance: 601, paid: 101 }]])
})
