/** The example on the README's first screen is run as it stands, on real servers. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testDatabases } from '../support/databases.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { postgres, mysql } = await testDatabases()
const ledger = new pg.Pool({ connectionString: postgres.url })
const shop = mysql2.createPool(mysql.url)
// Inside the project, so that `unanimous` and the drivers resolve as in a user's own.
const folder = await mkdtemp(join(root, '.readme-'))

beforeAll(async () => {
  await ledger.query('create table account (id int primary key, balance int not null)')
  await ledger.query('insert into account values (1, 500)')
  await shop.query('create table wallet (id int primary key, balance int not null)')
  await shop.query('insert into wallet values (7, 500)')
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await Promise.all([ledger.end(), shop.end()])
})

function run(file: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      cwd: folder,
      env: { ...process.env, LEDGER_URL: postgres.url, SHOP_URL: mysql.url },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += String(chunk)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      output += String(chunk)
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

describe('the README', () => {
  it('shows an example that moves money between the two databases', async () => {
    const readme = await readFile(join(root, 'README.md'), 'utf8')
    const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
    expect(code.trim().split('\n').length).toBeLessThanOrEqual(25)
    await writeFile(join(folder, 'example.ts'), code)
    expect(await run('example.ts')).toEqual({ code: 0, output: '' })
    const [[wallet]] = (await shop.query('select balance from wallet')) as unknown as [
      [{ balance: number }],
    ]
    const { rows } = await ledger.query<{ balance: number }>('select balance from account')
    expect([rows[0]?.balance, wallet.balance]).toEqual([400, 600])
  })
})
