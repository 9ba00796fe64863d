/** Two real databases with a table each, and a user's project over them: what operators' tests start from. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createPool, type Pool as MysqlPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { afterAll } from 'vitest'
import { type CliProject, cliProject } from './cli-project.ts'
import { type TestDatabases, testDatabases } from './databases.ts'

export interface CliWorld extends TestDatabases {
  readonly project: CliProject
  readonly ledger: pg.Pool
  readonly shop: MysqlPool
  /** Ids of prepared branches, as each server spells them, of whatever origin. */
  readonly prepared: () => Promise<{
    readonly ledger: readonly string[]
    readonly shop: readonly string[]
  }>
  /** Rows of the application's own table. */
  readonly rows: () => Promise<{ readonly ledger: number; readonly shop: number }>
  /** Names both databases in the project's configuration, as it does from the beginning. */
  readonly configure: () => Promise<void>
  /** Settles what is left, empties the tables, and takes the log away. */
  readonly clear: () => Promise<void>
}

const CONFIG = `
import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledger = new pg.Pool({ connectionString: LEDGER })
const shop = mysql2.createPool(SHOP)

export default {
  log: './decisions',
  participants: { ledger: postgres(ledger), shop: mysql(shop) },
  close: () => Promise.all([ledger.end(), shop.end()]),
}
`

/** The text of unanimous.config.mjs. */
export function configText(ledgerUrl: string, shopUrl: string): string {
  const [ledger, shop] = [JSON.stringify(ledgerUrl), JSON.stringify(shopUrl)]
  return CONFIG.replace('LEDGER', ledger).replace('SHOP', shop)
}

/** The table that the project's application writes to. */
export async function createEntries(ledger: pg.Pool, shop: MysqlPool): Promise<void> {
  await ledger.query('create table entry (id serial primary key, note text not null)')
  await shop.query(
    'create table entry (id int primary key auto_increment, note varchar(200) not null) engine=innodb',
  )
}

/**
 * Call at the top of a test file.
 *
 * @param shopUrl - of an empty database on a server of the file's own
 */
export async function cliWorld(shopUrl?: string): Promise<CliWorld> {
  const shared = await testDatabases()
  const mysql = { ...shared.mysql, url: shopUrl ?? shared.mysql.url }
  const databases = { ...shared, mysql }
  const ledger = new pg.Pool({ connectionString: databases.postgres.url, max: 2 })
  const shop = createPool({ uri: databases.mysql.url, connectionLimit: 2 })
  afterAll(() => Promise.all([ledger.end(), shop.end()]))
  await createEntries(ledger, shop)
  const project = await cliProject()
  const configure = (): Promise<void> =>
    project.write('unanimous.config.mjs', configText(databases.postgres.url, databases.mysql.url))
  await configure()
  return {
    ...databases,
    project,
    ledger,
    shop,
    async prepared() {
      const { rows } = await ledger.query<{ gid: string }>(
        'select gid from pg_prepared_xacts where database = current_database() order by gid',
      )
      return { ledger: rows.map(({ gid }) => gid), shop: await xaBranches(shop) }
    },
    async rows() {
      const { rows } = await ledger.query('select 1 from entry')
      const [others] = await shop.query<RowDataPacket[]>('select 1 from entry')
      return { ledger: rows.length, shop: others.length }
    },
    configure,
    async clear() {
      await configure()
      await project.cli('recover', '--apply', '--wait', '10s')
      await ledger.query('delete from entry')
      await shop.query('delete from entry')
      await rm(join(project.folder, 'decisions'), { recursive: true, force: true })
    },
  }
}

/** Spelled as XA COMMIT takes them. */
async function xaBranches(shop: MysqlPool): Promise<readonly string[]> {
  const [rows] = await shop.query<RowDataPacket[]>('xa recover')
  return rows.map((row) => {
    const [data, gtridBytes, formatId] = [
      String(row['data']),
      Number(row['gtrid_length']),
      Number(row['formatID']),
    ]
    return `'${data.slice(0, gtridBytes)}','${data.slice(gtridBytes)}',${formatId}`
  })
}
