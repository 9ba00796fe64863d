/**
 * SIGTERM under load, as an orchestrator sends it: the process ends in good order, tells whether
 * something is left, and loses nothing; also when a database is gone by then.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import {
  ACCOUNTS_URL,
  DECISIONS,
  openPools,
  WALLETS_URL,
} from '../../examples/transfer/environment.ts'
import { createSchema, PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { openBank } from '../../examples/transfer/transfer.ts'
import type { WorkerLine } from '../../examples/transfer/worker.ts'
import { systemClock } from '../../src/clock.ts'
import { askLive } from '../../src/live/client.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readLog } from '../../src/log/read-log.ts'
import { createMarkerTables, logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'
import { createDatabase, startMysqlFamily } from '../support/servers/index.ts'
import { mysqlWish } from '../support/shared-servers.ts'

const WORKER = fileURLToPath(new URL('../../examples/transfer/worker.ts', import.meta.url))
const { postgres } = await testDatabases()
// Ours alone: it is killed.
const server = await startMysqlFamily(mysqlWish(process.env['UNANIMOUS_TEST_MYSQL']))
afterAll(() => server.stop())
const urls = { accounts: postgres.url, wallets: await createDatabase(server, 'bank') }
const pools = openPools(urls.accounts, urls.wallets)
afterAll(() => pools.close())
const observer = new Observer(pools)
await createSchema(pools.accounts, pools.wallets)
await createMarkerTables(pools)
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

async function load(words: Readonly<Record<string, string>>) {
  const log = await logDirectory()
  const child = spawn(process.execPath, ['--import', 'tsx', WORKER], {
    env: {
      ...process.env,
      [ACCOUNTS_URL]: urls.accounts,
      [WALLETS_URL]: urls.wallets,
      [DECISIONS]: log,
      TRANSFERS: '100000',
      ...words,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.push(child)
  const lines: WorkerLine[] = []
  const read = createInterface({ input: child.stdout }).on('line', (text) =>
    lines.push(JSON.parse(text) as WorkerLine),
  )
  const over = Promise.all([once(child, 'exit'), once(read, 'close')])
  const answers = () => lines.flatMap((line) => (line.event === 'answer' ? [line] : []))
  await expect.poll(() => answers().length, { timeout: 60_000 }).toBeGreaterThan(100)
  return { log, child, lines, answers, over }
}

/** Both databases hold the same transfers, and every answer that was heard is true. */
async function agree(answers: readonly { readonly id: string; readonly answer: string }[]) {
  const [accounts, wallets] = [await observer.accounts(), await observer.wallets()]
  expect(accounts.transfers).toEqual(wallets.transfers)
  expect(PLACES * START_BALANCE - accounts.money).toBe(accounts.moved)
  expect(wallets.money - PLACES * START_BALANCE).toBe(wallets.moved)
  for (const { id, answer } of answers) {
    if (answer === 'committed') expect(accounts.transfers).toContain(id)
    if (answer === 'rolled-back') expect(accounts.transfers).not.toContain(id)
  }
  expect(await observer.inDoubt()).toEqual([])
}

it('under load: what runs ends, nothing is left, and the exit code says so', async () => {
  const { log, child, lines, answers, over } = await load({ RUN: 'calm' })
  child.kill('SIGTERM')
  await over
  expect([child.exitCode, child.signalCode]).toEqual([0, null])
  expect(lines.at(-1)).toEqual({ event: 'done', left: 0, aborted: 0 })
  expect(answers().filter(({ answer }) => answer === 'in-doubt')).toEqual([])
  expect((await readLog(log, nodeFileSystem)).pending).toEqual([])
  await agree(answers())
}, 120_000)

it('under load with no time to drain: what is not decided is rolled back everywhere', async () => {
  const { log, child, lines, answers, over } = await load({ RUN: 'hasty', DRAIN_MS: '1' })
  child.kill('SIGTERM')
  await over
  expect([child.exitCode, child.signalCode]).toEqual([0, null])
  expect(lines.at(-1)).toMatchObject({ event: 'done', left: 0 })
  expect((await readLog(log, nodeFileSystem)).pending).toEqual([])
  await agree(answers())
}, 120_000)

it('while it is drained by the command line: status tells it, and both end alike', async () => {
  const { log, child, lines, answers, over } = await load({ RUN: 'drained' })
  const drained = askLive(log, 'drain', { drainMs: 30_000 }, { clock: systemClock })
  const status = await askLive(log, 'status', {}, { clock: systemClock })
  expect(status).toMatchObject({ kind: 'answered', result: { state: 'draining' } })
  expect(await drained).toMatchObject({ kind: 'answered', result: { aborted: 0, left: 0 } })
  child.kill('SIGTERM')
  await over
  expect(child.exitCode).toBe(0)
  expect(lines.at(-1)).toMatchObject({ event: 'done', left: 0 })
  await agree(answers())
}, 120_000)

it('with a database gone: it ends in time, says what is left, and the next process settles it', async () => {
  const { log, child, lines, answers, over } = await load({ RUN: 'cut', DRAIN_MS: '500' })
  await server.kill()
  child.kill('SIGTERM')
  const startedAt = performance.now()
  await over
  // The wait, what recovery gets, and a server that refuses connections at once.
  expect(performance.now() - startedAt).toBeLessThan(40_000)
  const done = lines.at(-1)
  if (done?.event !== 'done') throw new Error(JSON.stringify(done))
  const { pending } = await readLog(log, nodeFileSystem)
  expect(done.left).toBeGreaterThanOrEqual(pending.length)
  expect(child.exitCode).toBe(done.left === 0 ? 0 : 1)
  await server.restart()
  const next = await openBank(pools.accounts, pools.wallets, { log })
  await expect
    .poll(async () => (await observer.inDoubt().catch(() => ['?'])).length, { timeout: 40_000 })
    .toBe(0)
  await next.close()
  expect((await readLog(log, nodeFileSystem)).pending).toEqual([])
  await agree(answers())
}, 180_000)
