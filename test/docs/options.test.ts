/** The options of docs/deadlines.md, docs/performance.md and docs/servers.md, and the configuration of docs/cli.md. */
import { expect, it } from 'vitest'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const environment = { LEDGER_URL: postgres.url, SHOP_URL: mysql.url }
const deadlines = await openPage('docs/deadlines.md', environment)
const performancePage = await openPage('docs/performance.md', environment)
const servers = await openPage('docs/servers.md', environment)
const cli = await openPage('docs/cli.md', environment)

const POOLS = `
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledgerPool = new Pool({ connectionString: process.env.LEDGER_URL })
const shopPool = createPool(process.env.SHOP_URL ?? '')
`
const CLOSE = `
await coordinator.close()
await Promise.all([ledgerPool.end(), shopPool.end()])
`

it('deadlines: waits for locks are set, and what is retryable runs again', async () => {
  const before = `${POOLS}
const [ledger, shop] = [ledgerPool, shopPool]
let attempts = 0
async function work(): Promise<void> {
  attempts += 1
  const db = coordinator.pool('ledger')
  const { rows } = await db.query("select current_setting('lock_timeout') as wait")
  const waitMs = Number(/^(\\d+)ms$/.exec(rows[0].wait)?.[1])
  if (!(waitMs >= 1_400 && waitMs <= 1_800)) throw new Error('the wait is ' + rows[0].wait)
  if (attempts < 3) await db.query("do $$ begin raise sqlstate '40001'; end $$")
}
`
  const after = `console.log(attempts, 'attempts')${CLOSE}`
  expect(await deadlines.run({ before, after })).toBe('3 attempts\n')
})

it('performance: sessions with limits of their own, settled behind the answer, which closing waits for, and given in advance', async () => {
  const before = `${POOLS}
import pg from 'pg'
import mysql2 from 'mysql2/promise'
await ledgerPool.query('create table una_page (id int, wait text)')
await shopPool.query('create table una_page (id int, wait int)')
await ledgerPool.query('create table account (id int, balance int)')
await ledgerPool.query('insert into account values (1, 500)')
await shopPool.query('create table wallet (id int, balance int)')
await shopPool.query('insert into wallet values (7, 500)')
async function transfer(): Promise<void> {
  await coordinator.pool('ledger').query("insert into una_page values (1, current_setting('lock_timeout'))")
  await coordinator.pool('shop').query('insert into una_page values (1, @@innodb_lock_wait_timeout + @@lock_wait_timeout)')
}
`
  const after = `
await coordinator.close()
const inLedger = await ledger.query('select * from una_page')
const [inShop] = await shop.query('select * from una_page')
const accounts = await ledger.query('select balance from account')
const [wallets] = await shop.query('select balance from wallet')
console.log(inLedger.rows, inShop, accounts.rows, wallets)
await Promise.all([ledger, shop, ledgerPool, shopPool].map((pool) => pool.end()))
`
  const report = await performancePage.run({ before, after })
  expect(report).toMatch(/^1 ResultSetHeader \{[^}]*affectedRows: 1/)
  // As their sessions wait: the branches have not set anything.
  const rows = "[ { id: 1, wait: '4s' } ] [ { id: 1, wait: 8 } ]"
  expect(report).toContain(`${rows} [ { balance: 400 } ] [ { balance: 600 } ]\n`)
})

it('servers: unsafe settings are allowed by their codes', async () => {
  const after = `
const coordinator = await Coordinator.open({ log: './decisions', participants })
await coordinator.transaction(async (tx) => {
  await tx.ledger.query('select 1')
  await tx.shop.query('select 1')
})${CLOSE}`
  expect(await servers.run({ before: POOLS, after })).toBe('')
})

it('the command line: its configuration names the participants', async () => {
  const { output } = await cli.unanimous('doctor')
  expect(output).toMatch(/^ledger {2}PostgreSQL/m)
  expect(output).toMatch(/^shop {2}M/m)
})
