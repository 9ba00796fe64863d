/**
 * Fresh databases for a test file, on the servers that the run has for its worker.
 *
 * They are dropped after the file's last test, and that drop is a check: a prepared branch or an
 * open transaction that the file left behind refuses it, and fails the file.
 */
import { randomBytes } from 'node:crypto'
import { afterAll, inject } from 'vitest'
import { createDatabaseAt, dropDatabaseAt } from './servers/probe.ts'
import type { SharedServer, SharedServers } from './shared-servers.ts'

export interface TestDatabase extends SharedServer {
  /** Name of the database that `url` points to. */
  readonly name: string
  /** The superuser's login to the server, outside of this database. */
  readonly serverUrl: string
}

export interface TestDatabases {
  readonly postgres: TestDatabase
  readonly mysql: TestDatabase
}

/** The servers of this worker, which the files that it runs share. */
export function sharedServers(): SharedServers {
  const pair = inject('pairs')[Number(process.env['VITEST_POOL_ID']) - 1]
  if (pair === undefined) throw new Error('no servers were started for this worker')
  return pair
}

/** Call at the top of a test file, `const { postgres, mysql } = await testDatabases()`. */
export async function testDatabases(): Promise<TestDatabases> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const servers = sharedServers()
  const [postgres, mysql] = await Promise.all([
    fresh(servers.postgres, name),
    fresh(servers.mysql, name),
  ])
  return { postgres, mysql }
}

async function fresh(server: SharedServer, name: string): Promise<TestDatabase> {
  const url = await createDatabaseAt(server.url, name)
  afterAll(() => dropDatabaseAt(server.url, name))
  return { ...server, url, name, serverUrl: server.url }
}
