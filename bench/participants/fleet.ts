/** Many databases on two servers, behind wires, and a transaction over so many of them. */
import mysql2, { type Pool as MysqlPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import type { Participants } from '../../src/participant/registry.ts'
import { LEDGER_UPDATE, SHOP_UPDATE, type Transfer } from '../transfer/variants.ts'
import { type Wire, wireTo } from '../transfer/wire.ts'
import { ROWS_A_CALLER } from '../transfer/world.ts'

/** Half of them on each server. */
export const MOST = 8

export interface Fleet {
  /** Of the first so many participants. */
  ours(size: number): Transfer
  'hand-written'(size: number): Transfer
  close(): Promise<void>
}

interface Places {
  readonly ledgers: readonly string[]
  readonly shops: readonly string[]
}

/** @param delaysMs - of each direction: of the first ledger, and of all the others */
export async function openFleet(
  places: Places,
  directory: string,
  delaysMs: readonly [number, number],
): Promise<Fleet> {
  const wires: Wire[] = []
  const through = async (url: string): Promise<string> => {
    const wire = await wireTo(url, wires.length === 0 ? delaysMs[0] : delaysMs[1])
    wires.push(wire)
    return wire.url
  }
  const ledgers: pg.Pool[] = []
  const shops: MysqlPool[] = []
  for (const url of places.ledgers) {
    ledgers.push(new pg.Pool({ connectionString: await through(url), max: 2 }))
  }
  for (const url of places.shops) {
    const uri = await through(url)
    shops.push(mysql2.createPool({ uri, connectionLimit: 2, multipleStatements: true }))
  }
  await createAccounts(ledgers, shops)
  const participants = Object.fromEntries<Participants[string]>([
    ...ledgers.map((pool, at) => [`ledger${at}`, postgres(pool)] as const),
    ...shops.map((pool, at) => [`shop${at}`, mysql(pool)] as const),
  ])
  const coordinator = await Coordinator.open({
    log: { directory, allowUnsafeFileSystem: true },
    participants,
  })
  return {
    ours: (size) => (row) =>
      coordinator.transaction(async (tx) => {
        await Promise.all(
          half(size).flatMap((at) => [
            (tx[`ledger${at}`] as Queryable).query(LEDGER_UPDATE, [1, row]),
            (tx[`shop${at}`] as Queryable).query(SHOP_UPDATE, [1, row]),
          ]),
        )
      }),
    'hand-written': (size) => handWritten(ledgers.slice(0, size / 2), shops.slice(0, size / 2)),
    close: async () => {
      await coordinator.close()
      await Promise.all([...ledgers, ...shops].map((pool) => pool.end()))
      await Promise.all(wires.map((wire) => wire.close()))
    },
  }
}

/** What the handles of both drivers have in common. */
interface Queryable {
  query(sql: string, values: readonly unknown[]): Promise<unknown>
}

function half(size: number): readonly number[] {
  return Array.from({ length: size / 2 }, (_, at) => at)
}

let transfers = 0

/** As in the transfer between two: one statement a trip, each phase to all of them at once. */
function handWritten(ledgers: readonly pg.Pool[], shops: readonly MysqlPool[]): Transfer {
  return async (row) => {
    const [here, there] = await Promise.all([
      Promise.all(ledgers.map((pool) => pool.connect())),
      Promise.all(shops.map((pool) => pool.getConnection())),
    ])
    transfers += 1
    // A gid is the server's, not the database's.
    const id = (at: number): string => `many-${transfers}-${at}`
    const all = (
      ledger: (client: pg.PoolClient, at: number) => Promise<unknown>,
      shop: (connection: mysql2.PoolConnection, at: number) => Promise<unknown>,
    ): Promise<unknown> => Promise.all([...here.map(ledger), ...there.map(shop)])
    await all(
      (ledger) => ledger.query('begin'),
      (shop, at) => shop.query(`xa start '${id(at)}'`),
    )
    await all(
      (ledger) => ledger.query(LEDGER_UPDATE, [1, row]),
      (shop) => shop.query(SHOP_UPDATE, [1, row]),
    )
    await all(
      (ledger, at) => ledger.query(`prepare transaction '${id(at)}'`),
      async (shop, at) => {
        await shop.query(`xa end '${id(at)}'`)
        await shop.query(`xa prepare '${id(at)}'`)
      },
    )
    await all(
      (ledger, at) => ledger.query(`commit prepared '${id(at)}'`),
      (shop, at) => shop.query(`xa commit '${id(at)}'`),
    )
    for (const connection of [...here, ...there]) connection.release()
  }
}

async function createAccounts(
  ledgers: readonly pg.Pool[],
  shops: readonly MysqlPool[],
): Promise<void> {
  const rows = Array.from({ length: ROWS_A_CALLER }, (_, id) => `(${id}, 0)`).join(', ')
  const statements = [
    'create table if not exists bench_account (id int primary key, balance bigint not null)',
    'delete from bench_account',
    `insert into bench_account values ${rows}`,
  ]
  for (const sql of statements) {
    await Promise.all([
      ...ledgers.map((pool) => pool.query(sql)),
      ...shops.map((p) => p.query(sql)),
    ])
  }
}
