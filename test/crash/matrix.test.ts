/**
 * A spread of the crash matrix (README.md beside this file) on servers of its own, of the run's
 * versions, which it kills and stops. All cases run before the first of them reports.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sharedServers } from '../support/databases.ts'
import { type Server, startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import { runMatrix } from './matrix.ts'
import { spread } from './spread.ts'
import { allCases, WITHOUT_ROW } from './table.ts'

const CASES = spread(allCases(), 100)
/** A case takes about a second; a loaded machine may take ten times as long. */
const LIMIT_MS = 15 * 60_000

const { postgres, mysql } = sharedServers()
const { flavour } = mysql
const servers: Server[] = []
const failures = new Map<string, string>()

it('has a row for every failpoint', () => {
  expect(WITHOUT_ROW).toEqual([])
})

describe(`crash matrix on PostgreSQL ${postgres.version} and ${flavour} ${mysql.version}`, () => {
  beforeAll(async () => {
    const accounts = await startPostgres({ version: postgres.version })
    servers.push(accounts)
    const wallets = await startMysqlFamily({
      flavour: flavour === 'mysql' ? 'mysql' : 'mariadb',
      version: mysql.version,
    })
    servers.push(wallets)
    await runMatrix(CASES, {
      servers: { accounts, wallets },
      width: 4,
      onResult: (result) => failures.set(result.case.title, result.failure ?? 'none'),
    })
  }, LIMIT_MS)
  afterAll(() => Promise.all(servers.map((server) => server.stop())))

  it.each(CASES.map(({ title }) => title))('%s', (title) => {
    expect(failures.get(title)).toBe('none')
  })
})
