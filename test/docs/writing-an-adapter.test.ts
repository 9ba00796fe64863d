/** docs/writing-an-adapter.md: its harness runs the contract, with PostgreSQL in the part of `mydb`. */
import { expect, it } from 'vitest'
import { participantContract } from '../../adapters/contract/index.ts'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres } = await testDatabases()
const { port } = new URL(postgres.url)
const page = await openPage('docs/writing-an-adapter.md', {
  MYDB_PORT: port,
  MYDB_URL: postgres.url,
})

/** What a new database's driver and adapter would be. */
const MYDB = `
import { Client, Pool, type ClientBase } from 'pg'
import type { PoolCounts, Row } from 'unanimous/contract'
import { type PostgresOptions, postgres } from 'unanimous/pg'

interface Place { readonly host: string; readonly port: number }
export interface MyHandle { query(text: string): Promise<{ rows: readonly Row[] }> }
type MyPool = ReturnType<typeof createPool>

const url = ({ host, port }: Place): string => {
  const url = new URL(process.env.MYDB_URL ?? '')
  url.host = host + ':' + port
  return url.href
}

export async function connect(place: Place) {
  const client = new Client({ connectionString: url(place) })
  client.on('error', () => undefined)
  await client.connect()
  return {
    run: async (text: string): Promise<readonly Row[]> => (await client.query(text)).rows,
    close: () => client.end().catch(() => undefined),
  }
}

export function createPool({ max, ...place }: Place & { readonly max: number }) {
  const pool = new Pool({ connectionString: url(place), max })
  const clients = new Set<ClientBase>()
  pool.on('connect', (client) => clients.add(client))
  pool.on('remove', (client) => clients.delete(client))
  return {
    pool,
    async take() {
      const client = await pool.connect()
      return {
        run: async (text: string): Promise<readonly Row[]> => (await client.query(text)).rows,
        giveBack: () => client.release(),
      }
    },
    counts: (): PoolCounts => ({
      total: pool.totalCount,
      idle: pool.idleCount,
      listeners: [...clients].reduce((sum, client) => sum + client.listenerCount('error'), 0),
    }),
    end: () => pool.end(),
  }
}

export const mydb = (pool: MyPool, options: PostgresOptions) => postgres(pool.pool, options)
`

it('shows a harness with which an adapter is shown to keep the contract', async () => {
  const report = await page.run({ modules: { 'mydb.ts': MYDB } })
  expect(report).toMatch(new RegExp(`^.? ?pass ${participantContract.length}$`, 'm'))
  expect(report).toMatch(/^.? ?fail 0$/m)
})
