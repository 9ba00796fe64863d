/** The README's first screen is run as it stands, and its recovery beside it. */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const page = await openPage('README.md', { LEDGER_URL: postgres.url, SHOP_URL: mysql.url })
const ledger = new pg.Pool({ connectionString: postgres.url })
const shop = createPool(mysql.url)

beforeAll(async () => {
  await ledger.query('create table account (id int primary key, balance int not null)')
  await ledger.query('insert into account values (1, 500)')
  await shop.query('create table wallet (id int primary key, balance int not null)')
  await shop.query('insert into wallet values (7, 500)')
})

afterAll(() => Promise.all([ledger.end(), shop.end()]))

describe('the README', () => {
  it('shows an example that moves money between the two databases', async () => {
    expect(page.blocks[0]?.code.trim().split('\n').length).toBeLessThanOrEqual(25)
    expect(await page.run()).toBe('')
    const [[wallet]] = (await shop.query('select balance from wallet')) as unknown as [
      [{ balance: number }],
    ]
    const { rows } = await ledger.query<{ balance: number }>('select balance from account')
    expect([rows[0]?.balance, wallet.balance]).toEqual([400, 600])
  })

  it('shows a configuration with which the command line finds the log that the example left', async () => {
    for (const words of [['list'], ['recover'], ['recover', '--apply']]) {
      const { passed, output } = await page.unanimous(...words)
      expect(passed, output).toBe(true)
      expect(output).toMatch(/decisions {2}una1-/)
    }
  })
})
