/** docs/wrapper.md: repositories over the drop-ins, what stays out, and the explicit form. */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const page = await openPage('docs/wrapper.md', { LEDGER_URL: postgres.url, SHOP_URL: mysql.url })
const ledger = new pg.Pool({ connectionString: postgres.url })
const shop = createPool(mysql.url)

beforeAll(async () => {
  await ledger.query('create table account (id int primary key, balance int not null)')
  await ledger.query('insert into account values (1, 500)')
  await ledger.query('create table attempt (id int)')
  await shop.query('create table wallet (id int primary key, balance int not null)')
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
const shopPool = createPool(process.env.SHOP_URL ?? '')
const coordinator = await Coordinator.open({
  log: './decisions',
  participants: { ledger: postgres(ledgerPool), shop: mysql(shopPool) },
})
const mail = { send: (subject: string) => console.log('mail:', subject) }
const accounts = {
  withdraw: (id: number, amount: number) =>
    ledger.query('update account set balance = balance - $1 where id = $2', [amount, id]),
}
const wallets = {
  pay: (id: number, amount: number) =>
    shop.query('update wallet set balance = balance + ? where id = ?', [amount, id]),
}
`
const AFTER = `
await coordinator.close()
await Promise.all([ledgerPool.end(), shopPool.end()])
`

it('shows three ways into a transaction, and one out of it', async () => {
  expect(await page.run({ before: BEFORE, after: AFTER })).toBe('mail: paid\n')
  const { rows } = await ledger.query(
    'select balance, (select count(*)::int from attempt) as attempts from account',
  )
  const [wallets] = await shop.query('select balance from wallet')
  expect([rows, wallets]).toEqual([[{ balance: 200, attempts: 1 }], [{ balance: 700 }]])
})
