/** Old marker rows go while other transactions vote. Each test is named after its cause. */
import { createConnection, createPool } from 'mysql2/promise'
import { mysql } from 'unanimous/mysql2'
import { expect, it, onTestFinished } from 'vitest'
import type { MysqlOwnConnection } from '../../adapters/mysql2/driver-types.ts'
import { systemClock } from '../../src/adapter.ts'
import { testDatabases } from '../support/databases.ts'

const { mysql: database } = await testDatabases()
const ROWS = 600
const AT_ONCE = 500

const gtridOf = (n: number): string => `una1-deletion-1.aaaaaaaa-${n.toString(36)}`

async function world(session = 'DO 0') {
  const pool = createPool({ uri: database.url, connectionLimit: 1 })
  const connect = async () => {
    const own = await createConnection(database.url)
    await own.query(session)
    return own as typeof own & MysqlOwnConnection
  }
  const context = { name: 'shop', clock: systemClock, warn: () => undefined }
  const participant = mysql(pool, { connect }).create(context)
  await participant.init()
  const others = [await createConnection(database.url), await createConnection(database.url)]
  onTestFinished(async () => {
    for (const one of others) one.destroy()
    await participant.close()
    await pool.end()
  })
  const [voter, other] = others as [(typeof others)[0], (typeof others)[0]]
  const mark = (by: typeof voter, ...ids: readonly number[]) =>
    by.query('insert into unanimous_branch (gtrid, bqual, state) values ?', [
      ids.map((n) => [gtridOf(n), 'shop', 'committed']),
    ])
  await voter.query('delete from unanimous_branch')
  await mark(voter, ...Array.from({ length: ROWS }, (_, n) => n))
  const collected = Array.from({ length: AT_ONCE }, (_, n) => gtridOf(n))
  const left = async (): Promise<number> =>
    (await participant.listMarkers('una1-deletion', 10_000)).length
  return { participant, voter, other, mark, collected, left }
}

it('a scan of the small table waits for a branch, and no vote waits for the scan', async () => {
  const { participant, voter, other, mark, collected, left } = await world()
  await voter.query('begin')
  await mark(voter, ROWS + 500)
  const done = participant.collectMarkers(collected)
  // It has read all that comes before the branch by then.
  await new Promise((resolve) => setTimeout(resolve, 300))
  await other.query('set session innodb_lock_wait_timeout = 1')
  await mark(other, ROWS + 100)
  await voter.query('rollback')
  await done
  expect(await left()).toBe(ROWS + 1 - AT_ONCE)
})

it('a session that logs statements cannot delete at READ COMMITTED, and deletes all the same', async () => {
  const { participant, collected, left } = await world("set session binlog_format = 'STATEMENT'")
  await participant.collectMarkers(collected)
  expect(await left()).toBe(ROWS - AT_ONCE)
})
