/**
 * A database that dies between the decisions and their settlement: its budget fills, new work there is
 * refused and everything else goes on; when it is back recovery settles and the circuit closes.
 */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { afterAll, expect, it } from 'vitest'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import { openPools } from '../../examples/transfer/environment.ts'
import { createSchema, PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { openBank, transfer } from '../../examples/transfer/transfer.ts'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'
import { createDatabase, startMysqlFamily } from '../support/servers/index.ts'
import { mysqlWish } from '../support/shared-servers.ts'

const { postgres } = await testDatabases()
// Ours alone: it is killed.
const server = await startMysqlFamily(mysqlWish(process.env['UNANIMOUS_TEST_MYSQL']))
afterAll(() => server.stop())
const urls = { accounts: postgres.url, wallets: await createDatabase(server, 'bank') }
const accounts = new pg.Pool({ connectionString: urls.accounts })
accounts.on('error', () => undefined)
const wallets = createPool({ uri: urls.wallets })
afterAll(() => Promise.all([accounts.end(), wallets.end()]))
await createSchema(accounts, wallets)

const DECIDED = 5

it('fills the budget of a stopped database, refuses there alone, and closes when it is back', async () => {
  const held: (() => void)[] = []
  let hold = true
  const bank = await openBank(accounts, wallets, {
    log: await logDirectory(),
    settleMs: 100,
    budget: { unsettled: DECIDED - 1 },
    seams: {
      failpoints: (name) => {
        if (name !== 'commit:before' || !hold) return undefined
        return new Promise<void>((resolve) => {
          held.push(resolve)
        })
      },
    },
  })
  afterAll(() => bank.close({ drainMs: 0 }))
  const circuit: boolean[] = []
  bank.on('participant:budget', ({ participant, exceeded }) => {
    expect(participant).toBe('wallets')
    circuit.push(exceeded)
  })
  const order = (id: string, place: number) => ({
    id,
    from: { account: place },
    to: { wallet: place },
    amount: 100,
  })
  const decided = Array.from({ length: DECIDED }, (_, index) =>
    transfer(bank, order(`decided-${index}`, index + 1)),
  )
  await expect.poll(() => held.length).toBe(DECIDED)
  await server.kill()
  hold = false
  for (const resolve of held) resolve()
  // Decided, and a database has it: for their callers they are committed.
  expect(await Promise.all(decided)).toEqual(decided.map(() => 'done'))
  await expect
    .poll(() => bank.stats().participants['wallets'])
    .toMatchObject({ unsettled: DECIDED, refusing: true, reachable: false })

  const refused = bank.transaction(async (tx) => {
    await tx.accounts.query('update account set balance = balance - 1 where id = 9')
    await tx.wallets.query('update wallet set balance = balance + 1 where id = 9')
  })
  await expect(refused).rejects.toMatchObject({
    code: 'PARTICIPANT_OVER_BUDGET',
    outcome: 'rolled-back',
    retryable: true,
  })
  await bank.transaction((tx) =>
    tx.accounts.query('update account set balance = balance where id = 9'),
  )
  expect(circuit).toEqual([true])

  await server.restart()
  await expect
    .poll(() => bank.stats().participants['wallets'], { timeout: 40_000 })
    .toMatchObject({ unsettled: 0, refusing: false, committed: DECIDED })
  expect(await transfer(bank, order('after', 6))).toBe('done')
  expect(circuit).toEqual([true, false])

  const pools = openPools(urls.accounts, urls.wallets)
  const observer = new Observer(pools)
  const [left, right] = [await observer.accounts(), await observer.wallets()]
  expect(left.transfers).toEqual(right.transfers)
  expect(left.transfers.size).toBe(DECIDED + 1)
  expect(PLACES * START_BALANCE - left.money).toBe((DECIDED + 1) * 100)
  expect(await observer.inDoubt()).toEqual([])
  await pools.close()
}, 120_000)
