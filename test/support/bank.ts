/**
 * The example's bank on fresh databases of the shared servers, for the tests that run transfers and
 * then ask the databases themselves what became of them.
 */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import { openPools, type Pools } from '../../examples/transfer/environment.ts'
import { createSchema } from '../../examples/transfer/schema.ts'
import { participants } from '../../examples/transfer/transfer.ts'
import { type Participant, systemClock } from '../../src/adapter.ts'
import { type TestDatabases, testDatabases } from './databases.ts'

export interface TestBank extends TestDatabases {
  readonly pools: Pools
  readonly observer: Observer
  /** Marker rows, on both sides; empty without the tables. */
  markers(): Promise<number>
}

/** Call at the top of a test file. */
export async function testBank({ markers }: { markers: boolean }): Promise<TestBank> {
  const databases = await testDatabases()
  const pools = openPools(databases.postgres.url, databases.mysql.url)
  // Hooks run last first: the pools are gone before the databases are dropped.
  afterAll(() => pools.close())
  await createSchema(pools.accounts, pools.wallets)
  if (markers) await createMarkerTables(pools)
  const count = async (): Promise<number> => {
    if (!markers) return 0
    const { rows } = await pools.accounts.query<{ gtrid: string }>(
      'select gtrid from unanimous_branch',
    )
    const [others] = await pools.wallets.query('select gtrid from unanimous_branch')
    return rows.length + (others as readonly unknown[]).length
  }
  return { ...databases, pools, observer: new Observer(pools), markers: count }
}

/** What `unanimous init` does. */
export async function createMarkerTables(pools: Pools): Promise<void> {
  for (const [name, definition] of Object.entries(participants(pools.accounts, pools.wallets))) {
    const participant: Participant = definition.create({
      name,
      clock: systemClock,
      warn: () => undefined,
    })
    await participant.init()
    await participant.close()
  }
}

const folders: string[] = []
// Here, and not where a folder is made: a hook that a test registers never runs.
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))))

/** A new directory for a decision log, on a disk and not in memory. Removed after the file. */
export async function logDirectory(): Promise<string> {
  const parent = existsSync('/var/tmp') ? '/var/tmp' : tmpdir()
  const folder = await mkdtemp(join(parent, 'unanimous-test-'))
  folders.push(folder)
  return join(folder, 'decisions')
}
