/** A coordinator over two databases, and every query library over its ambient pools. */
import { createPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { logDirectory } from '../bank.ts'
import { testDatabases } from '../databases.ts'
import { drizzleLibrary } from './drizzle.ts'
import { knexLibrary } from './knex.ts'
import { kyselyLibrary } from './kysely.ts'
import type { Database, Library, Pools } from './library.ts'
import { typeormLibrary } from './typeorm.ts'

/** What TypeORM asks of a pool of `mysql2`; it makes no difference to the others. */
const TYPEORM = { supportBigNumbers: true, bigNumberStrings: true, stringifyObjects: true }

export async function openLibraries() {
  const databases = await testDatabases()
  const plain: Pools = {
    ledger: new pg.Pool({ connectionString: databases.postgres.url, max: 5 }),
    shop: createPool({ uri: databases.mysql.url, connectionLimit: 5, ...TYPEORM }),
  }
  await makeTables(plain)
  const coordinator = await Coordinator.open({
    log: await logDirectory(),
    participants: { ledger: postgres(plain.ledger), shop: mysql(plain.shop) },
  })
  const pools: Pools = { ledger: coordinator.pool('ledger'), shop: coordinator.pool('shop') }
  const both: readonly Database[] = ['ledger', 'shop']
  const type: 'mariadb' | 'mysql' = databases.mysql.flavour === 'mariadb' ? 'mariadb' : 'mysql'
  const libraries: Library[] = []
  for (const make of [knexLibrary, kyselyLibrary, drizzleLibrary, typeormLibrary]) {
    for (const database of both) libraries.push(await make(database, pools, type))
  }
  const ids = async (database: Database): Promise<readonly number[]> => {
    const text = 'select id from item order by id'
    if (database === 'ledger') {
      const { rows } = await plain.ledger.query<{ id: number }>(text)
      return rows.map(({ id }) => id)
    }
    const [rows] = await plain.shop.query<RowDataPacket[]>(text)
    return rows.map(({ id }) => Number(id))
  }
  return {
    coordinator,
    plain,
    pools,
    libraries,
    ids,
    type,
    servers: `PostgreSQL ${databases.postgres.version} and ${databases.mysql.flavour} ${databases.mysql.version}`,
    /** Ends the connection of the branch that the caller runs in. */
    async killShopBranch() {
      const [[row]] = await pools.shop.query<RowDataPacket[]>('select connection_id() as id')
      await plain.shop.query(`kill ${Number(row?.['id'])}`)
    },
    async empty() {
      await plain.ledger.query('delete from item')
      await plain.shop.query('delete from item')
    },
    async close() {
      for (const library of libraries) await library.close()
      await coordinator.close()
      await plain.ledger.end()
      await plain.shop.end()
    },
  }
}

async function makeTables({ ledger, shop }: Pools): Promise<void> {
  await ledger.query('create table item (id integer primary key, v integer)')
  await ledger.query('create table many (v integer primary key, t text)')
  await ledger.query(
    "insert into many select v, repeat('x', 5000) from generate_series(1, 1000) as v",
  )
  await shop.query('create table item (id integer primary key, v integer) engine = InnoDB')
  await shop.query('create table many (v integer primary key, t text) engine = InnoDB')
  await shop.query(`insert into many with recursive n as
    (select 1 as v union all select v + 1 from n where v < 1000) select v, repeat('x', 5000) from n`)
}
