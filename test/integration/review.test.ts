/**
 * Interleavings that once made money move, an answer lie, a lock stay or the process end. Each test is
 * named after its cause.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, connect as dial, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { wireProxy } from '../../adapters/contract/wire-proxy.ts'
import { Patience } from '../../adapters/dialect/patience.ts'
import { acquire } from '../../adapters/pg/pool.ts'
import { LATE, systemClock } from '../../src/adapter.ts'
import { logDirectory, testBank } from '../support/bank.ts'
import { refused } from '../support/refused.ts'

const db = await testBank({ markers: true })
const { accounts, wallets } = db.pools
const SPEND = 'update account set balance = balance - 1 where id = 1'
const EARN = 'update wallet set balance = balance + 1 where id = 1'

async function open(
  from: { accounts?: pg.Pool; wallets?: typeof wallets } = {},
  options: { settleMs?: number; timeoutMs?: number; log?: string } = {},
) {
  const participants = {
    accounts: postgres(from.accounts ?? accounts, { answerMs: 1_000 }),
    wallets: mysql(from.wallets ?? wallets, { answerMs: 1_000 }),
  }
  const log = options.log ?? (await logDirectory())
  const bank = await Coordinator.open({ ...options, log, participants })
  db.observer.only(bank.logId)
  return bank
}

async function balanceOfAccount(): Promise<number> {
  const { rows } = await accounts.query<{ balance: string }>(
    'select balance from account where id = 1',
  )
  return Number(rows[0]?.balance)
}

async function balanceOfWallet(): Promise<number> {
  const [found]: readonly unknown[] = await wallets.query('select balance from wallet where id = 1')
  const [wallet] = found as readonly { balance: number | string }[]
  return Number(wallet?.balance)
}

/** The same login through another port. */
function through(url: string, port: number): string {
  const other = new URL(url)
  other.hostname = '127.0.0.1'
  other.port = String(port)
  return other.href
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

it('a participant first used while the others are asked whether they wrote takes no part', async () => {
  const bank = await open()
  const before = await balanceOfWallet()
  let late: Promise<unknown> = Promise.resolve()
  await bank.transaction(async (tx) => {
    await tx.accounts.query('select 1')
    // The callback returns first; the branch that only read is asked in a trip of its own.
    setImmediate(() => {
      late = tx.wallets.query(EARN).catch((cause: unknown) => cause)
    })
  })
  await sleep(50)
  expect(await late).toMatchObject({ code: 'TRANSACTION_ENDED' })
  expect(await balanceOfWallet()).toBe(before)
  await bank.close()
})

it('a branch that only read and has ended does not make a refusal heuristic', async () => {
  const bank = await open()
  await accounts.query(`create table if not exists review_child (
    parent integer references account deferrable initially deferred)`)
  const asked = bank.transaction(
    async (tx) => {
      await tx.wallets.query('select balance from wallet where id = 1')
      await tx.accounts.query('insert into review_child values (999999)')
    },
    { readOnly: ['wallets'] },
  )
  await refused(asked, { code: 'PREPARE_REFUSED', outcome: 'rolled-back', hint: false })
  await bank.close()
})

it('a logger that throws changes no answer', async () => {
  const fail = (): never => {
    throw new Error('the stream is closed')
  }
  const bank = await Coordinator.open({
    log: await logDirectory(),
    participants: { accounts: postgres(accounts), wallets: mysql(wallets) },
    logger: { debug: fail, info: fail, warn: fail, error: fail },
  })
  db.observer.only(bank.logId)
  const before = await balanceOfAccount()
  const answer = await bank.transaction(async (tx) => {
    await tx.accounts.query(SPEND)
    await tx.wallets.query(EARN)
    return 'done'
  })
  expect(answer).toBe('done')
  expect(await balanceOfAccount()).toBe(before - 1)
  expect(await db.observer.inDoubt()).toEqual([])
  await bank.close()
})

it('a branch that ran under SET LOCAL ROLE is settled although it belongs to that role', async () => {
  const role = `tenant_${db.postgres.name}`
  const app = `app_${db.postgres.name}`
  await accounts.query(`create role ${role}`)
  await accounts.query(`create role ${app} login password 'app'`)
  await accounts.query(`grant ${role} to ${app}`)
  await accounts.query(`grant all on all tables in schema public to ${role}, ${app}`)
  afterAll(async () => {
    await accounts.query(`drop owned by ${role}, ${app}`)
    await accounts.query(`drop role ${role}, ${app}`)
  })
  const url = new URL(db.postgres.url)
  url.username = app
  url.password = 'app'
  const pool = new pg.Pool({ connectionString: url.href })
  const bank = await open({ accounts: pool })
  await bank.transaction(async (tx) => {
    await tx.accounts.query(`set local role ${role}`)
    await tx.accounts.query('update account set balance = 17 where id = 2')
    await tx.wallets.query('update wallet set balance = 17 where id = 2')
  })
  await expect.poll(() => db.observer.inDoubt()).toEqual([])
  const { rows } = await accounts.query('select id from account where balance = 17')
  expect(rows).toEqual([{ id: 2 }])
  await bank.close()
  await pool.end()
})

describe('a server that goes silent at the COMMIT of one phase', () => {
  it.each(['accounts', 'wallets'] as const)('does not keep the caller: %s', async (name) => {
    const url = new URL(name === 'accounts' ? db.postgres.url : db.mysql.url)
    const proxy = await wireProxy(url.hostname, Number(url.port))
    const via = through(url.href, proxy.port)
    const pools = {
      accounts: new pg.Pool({ connectionString: name === 'accounts' ? via : db.postgres.url }),
      wallets: createPool({ uri: name === 'wallets' ? via : db.mysql.url }),
    }
    pools.accounts.on('error', () => undefined)
    const participants = {
      accounts: postgres(pools.accounts, { answerMs: 500 }),
      wallets: mysql(pools.wallets, { answerMs: 500 }),
    }
    const bank = await Coordinator.open({
      log: await logDirectory(),
      participants,
      settleMs: 300,
      timeoutMs: 500,
      seams: {
        failpoints: (point) => {
          if (point === 'one-phase:before') proxy.stall(true)
        },
      },
    })
    db.observer.only(bank.logId)
    const begun = performance.now()
    const asked = bank.transaction(async (tx) => {
      if (name === 'accounts') await tx.accounts.query(SPEND)
      else await tx.wallets.query(EARN)
    })
    const error = await refused(asked, { code: 'ONE_PHASE_IN_DOUBT', outcome: 'in-doubt' })
    expect(error.recoverable).toBe(false)
    expect(performance.now() - begun).toBeLessThan(6_000)
    proxy.dropAll()
    proxy.stall(false)
    await bank.close()
    await Promise.all([pools.accounts.end(), pools.wallets.end(), proxy.close()])
  })
})

it('a COMMIT that arrives after its fence was swept does not make a rolled-back answer a lie', async () => {
  const server = new URL(db.postgres.url)
  const held: { text: Buffer[]; deliver: () => void } = { text: [], deliver: () => undefined }
  let armed = true
  // Holds one connection at its vote packet, and delivers that after its client has gone.
  const proxy = createServer((client) => {
    const upstream = dial(Number(server.port), server.hostname)
    let holds = false
    upstream.on('error', () => undefined)
    client.on('error', () => undefined)
    client.on('data', (chunk) => {
      if (armed && chunk.includes('; COMMIT')) {
        armed = false
        holds = true
        held.deliver = () => {
          for (const each of held.text) upstream.write(each)
          upstream.end()
        }
      }
      if (holds) held.text.push(chunk)
      else upstream.write(chunk)
    })
    upstream.on('data', (chunk) => client.write(chunk))
    client.on('close', () => {
      if (!holds) upstream.destroy()
    })
    upstream.on('close', () => client.destroy())
  })
  const port = await listening(proxy)
  const pool = new pg.Pool({ connectionString: through(server.href, port) })
  pool.on('error', () => undefined)
  const log = await logDirectory()
  const bank = await open({ accounts: pool }, { log, timeoutMs: 300, settleMs: 2_000 })
  const before = await balanceOfAccount()
  const asked = bank.transaction((tx) => tx.accounts.query(SPEND))
  await refused(asked, { code: 'CONNECTION_LOST', outcome: 'rolled-back', hint: false })
  await bank.close()
  // The next life of the log sweeps its marker rows in its first pass.
  const next = await open({}, { log })
  await sleep(300)
  held.deliver()
  await sleep(300)
  expect(await balanceOfAccount()).toBe(before)
  await next.close()
  await pool.end()
  proxy.close()
})

it('a connection whose death arrives with its greeting does not end the process', async () => {
  const server = new URL(db.postgres.url)
  const words = 'SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'
  const fatal = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), Buffer.from(words)])
  fatal.writeInt32BE(fatal.length - 1, 1)
  const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
  let armed = false
  const proxy = createServer((client) => {
    const upstream = dial(Number(server.port), server.hostname)
    upstream.on('error', () => undefined)
    client.on('error', () => undefined)
    client.on('data', (chunk) => upstream.write(chunk))
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    let greeted = false
    upstream.on('data', (chunk) => {
      const greets = !greeted && chunk.subarray(-READY.length).equals(READY)
      greeted ||= greets
      const dies = armed && greets
      if (dies) armed = false
      client.write(dies ? Buffer.concat([chunk, fatal]) : chunk)
    })
  })
  const port = await listening(proxy)
  // Each transaction has a connection of its own. One of recovery's may be greeted first, and die.
  const pool = new pg.Pool({ connectionString: through(server.href, port), maxUses: 1 })
  const bank = await open({ accounts: pool })
  const select = (): Promise<unknown> => bank.transaction((tx) => tx.accounts.query('select 1'))
  let cause: unknown
  for (let at = 0; at < 10 && cause === undefined; at += 1) {
    armed = true
    cause = await select().then(
      () => undefined,
      (refusal: unknown) => refusal,
    )
  }
  expect(cause).toMatchObject({ code: 'ENLIST_FAILED', outcome: 'rolled-back' })
  armed = false
  await select()
  await bank.close()
  await pool.end()
  proxy.close()
})

it.each([false, true])(
  'a roll-back that meets a socket as it closes leaves no statement pending, with multipleStatements %s',
  async (multipleStatements) => {
    const server = new URL(db.mysql.url)
    let closing = (): unknown => undefined
    const stream = (): Socket => {
      const socket = dial(Number(server.port), server.hostname)
      // Node closes it right after this event, and tells of that in a later step of its loop.
      socket.once('finish', () => process.nextTick(() => closing()))
      return socket
    }
    const pool = createPool({ uri: server.href, multipleStatements, stream })
    const bank = await open({ wallets: pool })
    const tx = await bank.begin()
    let rolledBack: Promise<unknown> | undefined
    closing = () => {
      rolledBack ??= tx.rollback()
    }
    const asked = Promise.allSettled([
      tx.wallets.query('select sleep(20)'),
      tx.wallets.query('select 1'),
    ])
    await killSleeping()
    const told = await Promise.race([asked, sleep(5_000, 'pending')])
    await rolledBack
    const ended = { status: 'rejected', reason: { code: 'TRANSACTION_ENDED' } }
    expect(told).toMatchObject([ended, ended])
    await bank.close()
    await pool.end()
  },
)

/** Ends the session that sleeps, once it does. */
async function killSleeping(): Promise<void> {
  const sleeping = `select id as id from information_schema.processlist
    where db = database() and id <> connection_id() and info like '%sleep(20)%'`
  await vi.waitFor(async () => {
    const [[found]] = await wallets.query<RowDataPacket[]>(sleeping)
    expect(found).toBeDefined()
    await wallets.query('kill ?', [found?.['id']])
  })
}

it('a connection that comes too late for thousands goes from one to the next without filling the stack', async () => {
  const pool = new pg.Pool({ connectionString: db.postgres.url, max: 1 })
  const held = await pool.connect()
  const lender = { pool, clock: systemClock, patience: new Patience(systemClock, 1_000) }
  const seat = { taken: () => undefined, left: () => undefined, onceHeld: () => undefined }
  const asked = Array.from({ length: 3_000 }, () => acquire(lender, 20, seat))
  expect(new Set(await Promise.all(asked))).toEqual(new Set([LATE]))
  // The pool gives it on within this call: what is thrown there is the application's to hear.
  held.release()
  expect((await pool.query<{ n: number }>('select 1 as n')).rows).toEqual([{ n: 1 }])
  await pool.end()
})

it('a process with another Promise than that of its async functions tells answers from promises', async () => {
  const shop = createPool({ uri: db.mysql.url, connectionLimit: 1 })
  const bank = await open({ wallets: shop })
  const before = await Promise.all([balanceOfAccount(), balanceOfWallet()])
  class Other<T> extends Promise<T> {}
  vi.stubGlobal('Promise', Other)
  try {
    const transfers = [1, 2, 3].map(() =>
      bank.transaction(async (tx) => {
        // The one connection has one seat: two of three wait for it.
        await tx.wallets.query(EARN)
        // Only the server knows whether this wrote.
        await tx.accounts.query(`do $$ begin ${SPEND}; end $$`)
      }),
    )
    for (const transfer of transfers) await transfer
  } finally {
    vi.unstubAllGlobals()
  }
  const after = await Promise.all([balanceOfAccount(), balanceOfWallet()])
  expect(after).toEqual([(before[0] ?? 0) - 3, (before[1] ?? 0) + 3])
  expect(await db.observer.inDoubt()).toEqual([])
  await bank.close()
  await shop.end()
})

it('a driver that reads every answer its own way, as pg-native does, lists what is prepared', async () => {
  const connect = async () => {
    const client = new pg.Client(db.postgres.url)
    await client.connect()
    const query = client.query.bind(client) as (config: object) => Promise<pg.QueryResult>
    return Object.assign(client, {
      query: (config: object) => query({ ...config, types: pg.types }),
    })
  }
  const warn = (): void => undefined
  const accountsOf = postgres(accounts, { connect })
  const participant = accountsOf.create({ name: 'accounts', clock: systemClock, warn })
  await accounts.query("begin; prepare transaction 'of somebody'")
  const listed = await participant.list()
  await accounts.query("rollback prepared 'of somebody'")
  expect(listed.map(({ id }) => id)).toEqual(['of somebody'])
  expect(listed[0]?.preparedAtMs).toBeGreaterThan(Date.now() - 60_000)
  await participant.close()
})
