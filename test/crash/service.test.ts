/**
 * The example service under load, killed twice and started again. What its clients were told is what
 * both databases hold, to the last row.
 *
 * `UNANIMOUS_SERVICE_SECONDS` sets how long the load lasts (10; `npm run test:service`: 30, on every server).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  CREDIT,
  CUSTOMERS,
  createSchema,
  ITEMS,
  priceOf,
  STOCK,
} from '../../examples/service/schema.ts'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'
import { freePort } from '../support/servers/port.ts'
import {
  type Answer,
  ask,
  clients,
  drawOrder,
  type Service,
  serviceCli,
  startService,
} from '../support/service.ts'

const SECONDS = Number(process.env['UNANIMOUS_SERVICE_SECONDS'] || 10)
const CLIENTS = 16

const { postgres, mysql } = await testDatabases()
const port = await freePort()
const url = `http://127.0.0.1:${port}`
const environment = {
  LEDGER_URL: postgres.url,
  SHOP_URL: mysql.url,
  DECISIONS: await logDirectory(),
  PORT: String(port),
}
const ledger = new pg.Pool({ connectionString: postgres.url })
const shopCore = createPool(mysql.url)
const shop = shopCore.promise()
let service: Service | undefined

beforeAll(async () => {
  await createSchema(ledger, shopCore)
  await serviceCli(environment, 'init', '--apply')
})

afterAll(async () => {
  await service?.kill()
  await Promise.all([ledger.end(), shop.end()])
})

it(`${SECONDS} s of load and two SIGKILL: what was answered is in both databases, and nothing else`, {
  timeout: SECONDS * 1_000 + 120_000,
}, async () => {
  service = await startService(environment)
  const load = clients(url, CLIENTS)
  const third = (SECONDS * 1_000) / 3
  await sleep(third)
  const first = await killAndStart(service)
  await sleep(third)
  const second = await killAndStart(first.service)
  service = second.service
  await sleep(third)
  await load.stop()
  const { answers, tally } = load
  const sold = await expectTold(answers)
  expect(Math.min(sold, tally.again, tally.repeated)).toBeGreaterThan(0)
  expect(await service.stop(), service.complaints()).toBe(0)
  await expectRest(service.logId)
  console.log(
    `${SECONDS} s, ${CLIENTS} clients: ${answers.length} requests answered (${tally.asked} sent, ` +
      `${tally.again} of them again for want of an answer, ${tally.repeated} again with one), ` +
      `${sold} purchases in both databases, 0 in one; killed twice, with ${first.left} and ` +
      `${second.left} branches prepared; answering again after ${first.downMs} and ${second.downMs} ms`,
  )
})

async function killAndStart(running: Service) {
  const killed = performance.now()
  await running.kill()
  const left = (await prepared(running.logId)).length
  const started = await startService(environment)
  return { service: started, left, downMs: Math.round(performance.now() - killed) }
}

it('SIGTERM lets what is running end, and takes nothing new', async () => {
  const before = await purchases()
  service = await startService(environment)
  const tally = { asked: 0, again: 0, repeated: 0 }
  const asked = Array.from({ length: 40 }, () => ask(url, drawOrder(), tally))
  await sleep(30)
  expect(await service.stop(), service.complaints()).toBe(0)
  // Those that came too late are answered by the next one.
  service = await startService(environment)
  const answers = await Promise.all(asked)
  expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThan(0)
  expect(new Set([...before, ...idsOf(answers)])).toEqual(new Set(await purchases()))
  expect(await service.stop(), service.complaints()).toBe(0)
  await expectRest(service.logId)
})

it('a key stands for one request, and a refused one leaves nothing behind', async () => {
  const before = await purchases()
  service = await startService(environment)
  const post = (key: string, order: object) =>
    fetch(`${url}/purchases`, {
      method: 'POST',
      headers: { 'Idempotency-Key': key },
      body: JSON.stringify(order),
    })
  const bought = await post('a', { customer: 1, item: 1, quantity: 1 })
  expect(bought.status).toBe(201)
  const purchase = (await bought.json()) as { id: string }
  expect(await (await fetch(`${url}/purchases/${purchase.id}`)).json()).toEqual(purchase)
  expect((await post('a', { customer: 1, item: 1, quantity: 2 })).status).toBe(422)
  expect((await post('b', { customer: CUSTOMERS + 1, item: 1, quantity: 1 })).status).toBe(409)
  expect((await post('c', { customer: 1, item: ITEMS + 1, quantity: 1 })).status).toBe(409)
  expect((await post('d', { customer: 1, item: 1, quantity: 0 })).status).toBe(400)
  expect((await fetch(`${url}/purchases/none`)).status).toBe(404)
  expect(new Set(await purchases())).toEqual(new Set([...before, purchase.id]))
  await service.stop()
})

const idsOf = (answers: readonly Answer[]): string[] =>
  answers
    .filter(({ status }) => status === 201)
    .map(({ body }) => (JSON.parse(body) as { id: string }).id)

interface Numbers {
  readonly [name: string]: string | number | null
}

async function ledgerRows<R extends object>(sql: string): Promise<readonly R[]> {
  return (await ledger.query<R & pg.QueryResultRow>(sql)).rows
}

async function shopRows<R>(sql: string): Promise<readonly R[]> {
  const [rows] = await shop.query(sql)
  return rows as unknown as readonly R[]
}

/** Ids of the purchases, once they are the same in both databases. */
async function purchases(): Promise<string[]> {
  const paid = (await ledgerRows<{ id: string }>('select purchase as id from payment')).map(idOf)
  const sold = (await shopRows<{ id: string }>('select id from purchase')).map(idOf)
  expect(new Set(sold)).toEqual(new Set(paid))
  return sold
}

const idOf = ({ id }: { readonly id: string }): string => id

/** What clients were told is what the databases hold. @returns how many purchases there are */
async function expectTold(answers: readonly Answer[]): Promise<number> {
  const statuses = new Set(answers.map(({ status }) => status))
  expect(statuses).toEqual(new Set([201, 409]))
  const told = idsOf(answers)
  expect(new Set(told).size).toBe(told.length)
  const held = await purchases()
  expect(new Set(held)).toEqual(new Set(told))
  const keys = answers.filter(({ status }) => status === 201).map(({ key }) => key)
  const stored = await ledgerRows<{ id: string }>('select key as id from request')
  expect(new Set(stored.map(idOf))).toEqual(new Set(keys))
  await expectSums()
  return held.length
}

async function expectSums(): Promise<void> {
  const [credit] = await ledgerRows<Numbers>(
    'select sum(cents)::float8 as left, (select sum(cents)::float8 from payment) as paid from credit',
  )
  const [item] = await shopRows<Numbers>(
    'select cast(sum(stock) as double) as rest, (select cast(sum(quantity) as double) from purchase) as sold, ' +
      '(select cast(sum(cents) as double) from purchase) as earned from item',
  )
  expect(credit?.['left']).toBe(CREDIT * CUSTOMERS - Number(credit?.['paid']))
  expect(item?.['rest']).toBe(STOCK * ITEMS - Number(item?.['sold']))
  expect(item?.['earned']).toBe(credit?.['paid'])
  const rows = await shopRows<Record<'item' | 'quantity' | 'cents', number>>(
    'select item, quantity, cents from purchase',
  )
  for (const { item: id, quantity, cents } of rows) expect(cents).toBe(quantity * priceOf(id))
}

/** Nothing is prepared, no row is locked, and the command line finds nothing to do. */
async function expectRest(logId: string): Promise<void> {
  expect(await prepared(logId)).toEqual([])
  for (const table of ['credit', 'payment', 'request']) {
    await ledger.query(`select 1 from ${table} for update nowait`)
  }
  for (const table of ['item', 'purchase']) {
    await shop.query(`select 1 from ${table} for update nowait`)
  }
  const { output } = await serviceCli(environment, 'list')
  expect(output).toContain(logId)
}

/** Branches of this log that are prepared and not finished. */
async function prepared(logId: string): Promise<string[]> {
  const ours = await ledgerRows<{ gid: string }>('select gid from pg_prepared_xacts')
  const theirs = await shopRows<{ data: Buffer | string }>('xa recover')
  return [...ours.map(({ gid }) => gid), ...theirs.map(({ data }) => String(data))].filter((id) =>
    id.startsWith(`una1-${logId}-`),
  )
}
