/**
 * Without marker rows, after kill -9 of the coordinator, the log alone must do: what is absent from a
 * server of the same life has been committed. A restart of the server in between takes that proof away,
 * and is reported as the hazard it is, never as success.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection, createPool } from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeEach, expect, it } from 'vitest'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import { openPools } from '../../examples/transfer/environment.ts'
import { createSchema } from '../../examples/transfer/schema.ts'
import { openBank } from '../../examples/transfer/transfer.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readLog } from '../../src/log/read-log.ts'
import { createMarkerTables, logDirectory, type TestBank } from '../support/bank.ts'
import { crash } from '../support/crash.ts'
import { testDatabases } from '../support/databases.ts'
import { LostLogs, operator } from '../support/lost-log.ts'
import { createDatabase, startMysqlFamily } from '../support/servers/index.ts'
import { mysqlWish } from '../support/shared-servers.ts'

const { postgres } = await testDatabases()
const command = await operator()
// Ours alone: it is killed.
const server = await startMysqlFamily(mysqlWish(process.env['UNANIMOUS_TEST_MYSQL']))
afterAll(() => server.stop())
const urls = { accounts: postgres.url, wallets: await createDatabase(server, 'bank') }
const accounts = new pg.Pool({ connectionString: urls.accounts })
accounts.on('error', () => undefined)
const wallets = createPool({ uri: urls.wallets })
afterAll(() => Promise.all([accounts.end(), wallets.end()]))
await createSchema(accounts, wallets)

interface Told {
  readonly event: string
  readonly participant: string
  readonly answer: string
}

let log = ''
let run = 0
/** Both commits were acknowledged, and neither answer is in the log yet. */
beforeEach(async () => {
  log = await logDirectory()
  run += 1
  await crash(urls, log, { SCENARIO: 'commit', POINT: 'commit:after-all', RUN: `restart-${run}` })
})

/** Recovers; answers the heuristics that were reported. */
async function recover(): Promise<readonly Omit<Told, 'event'>[]> {
  const told: Omit<Told, 'event'>[] = []
  const answers: string[] = []
  const quiet = (): void => undefined
  const hear = (details: object): void => {
    const { event, participant = '', answer = '' } = details as Partial<Told>
    if (event === 'branch:heuristic') told.push({ participant, answer })
    if (event === 'branch:settled') answers.push(participant)
  }
  const logger = { debug: hear, info: hear, warn: hear, error: hear, trace: quiet }
  const bank = await openBank(accounts, wallets, { log, logger })
  await expect.poll(() => answers.length).toBe(2)
  await bank.close()
  return told
}

it('killed after its commits were acknowledged: recovered, and nothing is reported', async () => {
  expect(await recover()).toEqual([])
})

it('the same with the server restarted in between: a heuristic hazard, which stays', async () => {
  await server.kill()
  await server.restart()
  const hazard = [{ participant: 'wallets', answer: 'heuristic-hazard' }]
  expect(await recover()).toEqual(hazard)
  const { pending } = await readLog(log, nodeFileSystem)
  expect(pending.map(({ answers }) => [...answers.values()].sort())).toEqual([
    ['committed', 'heuristic-hazard'],
  ])
})

it('with the log lost and marker rows on, a session that has the preparer’s old id disturbs nobody', async () => {
  // Nothing of the run before is wanted here.
  await recover()
  const pools = openPools(urls.accounts, await createDatabase(server, 'marked'))
  await accounts.query('drop table account, transfer cascade')
  await createSchema(pools.accounts, pools.wallets)
  await createMarkerTables(pools)
  const bank: TestBank = {
    postgres,
    mysql: { ...postgres, url: new URL('/marked', server.url).href, name: 'marked' },
    pools,
    observer: new Observer(pools),
    markers: async () => 0,
  }
  const logs = new LostLogs(bank, command)
  const { logId } = await logs.lose('prepare:after-all')
  await expect.poll(() => logs.prepared(logId)).toEqual(['accounts', 'wallets'])
  const preparer = Number(
    (await bank.observer.inDoubt()).map(({ id }) => /\.(\d+)$/.exec(id)?.[1] ?? '').join(''),
  )
  // A marker of this life of the server, within the slack of its clock, would count as a session's.
  await sleep(3_000)
  await server.kill()
  await server.restart()
  const crowd = await Promise.all(
    Array.from({ length: preparer + 10 }, () => createConnection({ uri: server.url })),
  )
  expect(crowd.map(({ threadId }) => threadId)).toContain(preparer)
  await logs.recoverAll(logId)
  await logs.agree()
  await Promise.all(crowd.map((one) => one.end()))
  await pools.close()
})
