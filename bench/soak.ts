/**
 * Very many transactions, with refusals, timeouts and aborted signals mixed in at random, and then the
 * question what is left of them: `npm run bench -- soak`.
 *
 * What callers heard is compared with what the databases hold, and pools, listeners, prepared branches
 * and the heap with what they were.
 *
 *   --transactions <n>  (default 100,000)
 *   --seed <n>          which mixture (default 1)
 *   --postgres <v>      version, `--mysql mariadb|mysql`: which servers (default: what can be had)
 */
import { type EventEmitter, getEventListeners } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { Observer } from '../examples/transfer/demo/observe.ts'
import { createSchema, PLACES, START_BALANCE } from '../examples/transfer/schema.ts'
import { collectGarbage } from '../test/support/garbage.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { type Bank, one, pick, randomFrom } from './soak-mixture.ts'

export interface SoakOptions {
  readonly postgresUrl: string
  readonly mysqlUrl: string
  readonly logDirectory: string
  readonly transactions: number
  readonly seed: number
  /** Transactions between two looks at the heap. */
  readonly step: number
  report(line: string): void
}

/** What is there between two steps, when no transaction runs. */
export interface Census {
  readonly done: number
  readonly heapBytes: number
  /** Connections open, and those among them that are not idle. */
  readonly connections: readonly [number, number]
  readonly busy: readonly [number, number]
  readonly waiting: readonly [number, number]
  /** On connections, pools and on a signal that all transactions share. */
  readonly listeners: number
  readonly prepared: number
}

export interface SoakResult {
  /** How often callers heard what: `committed`, or the code of the error. */
  readonly heard: ReadonlyMap<string, number>
  readonly censuses: readonly Census[]
  /** Where the databases and what callers heard do not agree; empty when all is well. */
  readonly wrong: readonly string[]
  readonly tookMs: number
}

const POOL_SIZE = 8
/** More than one pool has connections for: some wait, and some wait in vain. */
const CALLERS = 14

export async function soak(options: SoakOptions): Promise<SoakResult> {
  const startedAt = performance.now()
  const accounts = new pg.Pool({ connectionString: options.postgresUrl, max: POOL_SIZE })
  accounts.on('error', () => undefined)
  const wallets = mysql2.createPool({ uri: options.mysqlUrl, connectionLimit: POOL_SIZE })
  const looking = {
    accounts: new pg.Pool({ connectionString: options.postgresUrl, max: 1 }),
    wallets: mysql2.createPool({ uri: options.mysqlUrl, connectionLimit: 1 }),
    close: () => Promise.resolve(),
  }
  await createSchema(looking.accounts, looking.wallets)
  const observer = new Observer(looking)
  const clients = new Set<EventEmitter>()
  accounts.on('connect', (client) => clients.add(client))
  accounts.on('remove', (client) => clients.delete(client))
  const bank: Bank = await Coordinator.open({
    log: options.logDirectory,
    acquireMs: 100,
    recoveryIntervalMs: 500,
    participants: { accounts: postgres(accounts), wallets: mysql(wallets) },
  })
  observer.only(bank.logId)
  const shared = new AbortController()
  const heard = new Map<string, number>()
  const answers = new Map<string, 'committed' | 'rolled-back' | 'open'>()
  const random = randomFrom(options.seed)
  let begun = 0

  async function caller(until: number): Promise<void> {
    while (begun < until) {
      begun += 1
      const { id, kind } = { id: `soak-${begun}`, kind: pick(random) }
      const heardNow = await one(bank, { id, kind, random, signal: shared.signal })
      heard.set(heardNow.word, (heard.get(heardNow.word) ?? 0) + 1)
      answers.set(id, heardNow.answer)
    }
  }

  const censuses: Census[] = []
  while (begun < options.transactions) {
    const until = Math.min(begun + options.step, options.transactions)
    await Promise.all(Array.from({ length: CALLERS }, () => caller(until)))
    const now = await takeCensus({ accounts, wallets, clients, observer, shared }, begun)
    censuses.push(now)
    options.report(lineOf(now, performance.now() - startedAt))
  }
  const wrong = [...(await disagreements(observer, answers)), ...leaks(censuses)]
  await bank.close()
  await Promise.all([accounts.end(), wallets.end(), looking.accounts.end(), looking.wallets.end()])
  return { heard, censuses, wrong, tookMs: performance.now() - startedAt }
}

interface Looking {
  readonly accounts: pg.Pool
  readonly wallets: mysql2.Pool
  readonly clients: ReadonlySet<EventEmitter>
  readonly observer: Observer
  readonly shared: AbortController
}

async function takeCensus(
  { accounts, wallets, clients, observer, shared }: Looking,
  done: number,
): Promise<Census> {
  const core = wallets.pool as unknown as MysqlInternals
  const busy = (): readonly [number, number] => [
    accounts.totalCount - accounts.idleCount,
    core._allConnections.length - core._freeConnections.length,
  ]
  // A roll-back goes on behind a caller that was answered at its deadline.
  for (let tries = 0; tries < 200 && busy().some(Boolean); tries += 1) await sleep(25)
  await sleep(50)
  const listeners = [accounts, core, ...clients, ...listOf(core._allConnections)]
    .flatMap((one) => one.eventNames().map((name) => one.listenerCount(name)))
    .reduce((sum, count) => sum + count, getEventListeners(shared.signal, 'abort').length)
  collectGarbage()
  return {
    done,
    heapBytes: process.memoryUsage().heapUsed,
    connections: [accounts.totalCount, core._allConnections.length],
    busy: busy(),
    waiting: [accounts.waitingCount, core._connectionQueue.length],
    listeners,
    prepared: (await observer.inDoubt()).length,
  }
}

async function disagreements(
  observer: Observer,
  answers: ReadonlyMap<string, 'committed' | 'rolled-back' | 'open'>,
): Promise<readonly string[]> {
  const wrong: string[] = []
  const [accounts, wallets] = [await observer.accounts(), await observer.wallets()]
  for (const [id, answer] of answers) {
    const [here, there] = [accounts.transfers.has(id), wallets.transfers.has(id)]
    if (here !== there) wrong.push(`${id} is on one side only`)
    else if (answer !== 'open' && here !== (answer === 'committed')) {
      wrong.push(`${id} was answered ${answer} and is ${here ? '' : 'not '}there`)
    }
  }
  const total = accounts.money + wallets.money
  if (total !== 2 * PLACES * START_BALANCE) wrong.push(`the money is ${total}`)
  if (accounts.moved !== wallets.moved) wrong.push('the two sides moved different sums')
  await observer
    .lockAll()
    .catch((cause: unknown) => wrong.push(`a row is locked: ${String(cause)}`))
  return wrong
}

/** Heap that a step may gain by chance, in bytes; what leaks gains it at every step. */
const HEAP_SLACK = 12 * 1024 * 1024

function leaks(censuses: readonly Census[]): readonly string[] {
  const wrong: string[] = []
  for (const { done, busy, waiting, prepared, connections, listeners } of censuses) {
    const at = `after ${done}:`
    if (busy.some(Boolean)) wrong.push(`${at} connections not idle: ${busy.join(', ')}`)
    if (waiting.some(Boolean)) wrong.push(`${at} still waiting: ${waiting.join(', ')}`)
    if (prepared > 0) wrong.push(`${at} ${prepared} prepared branches`)
    const [ledger, shop] = connections
    const most = 24 + 12 * (ledger + shop)
    if (listeners > most) wrong.push(`${at} ${listeners} listeners on ${ledger + shop} connections`)
  }
  const [, second] = censuses
  const last = censuses.at(-1)
  if (second !== undefined && last !== undefined && censuses.length > 3) {
    // What each caller heard is kept here, for the comparison at the end.
    const kept = (last.done - second.done) * 200
    const gained = last.heapBytes - second.heapBytes - kept
    if (gained > HEAP_SLACK) wrong.push(`the heap gained ${gained} bytes`)
  }
  return wrong
}

interface MysqlInternals extends EventEmitter {
  readonly _allConnections: Queue
  readonly _freeConnections: Queue
  readonly _connectionQueue: Queue
}

interface Queue {
  readonly length: number
  get(at: number): EventEmitter | undefined
}

function listOf(queue: Queue): readonly EventEmitter[] {
  return Array.from({ length: queue.length }, (_, at) => queue.get(at)).filter(
    (one) => one !== undefined,
  )
}

function lineOf(census: Census, elapsedMs: number): string {
  const { done, heapBytes, connections, busy, listeners, prepared } = census
  return [
    String(done).padStart(7),
    `${(elapsedMs / 1000).toFixed(0).padStart(5)} s`,
    `heap ${(heapBytes / 1024 / 1024).toFixed(1).padStart(6)} MiB`,
    `connections ${connections.join('+')}, busy ${busy.join('+')}`,
    `listeners ${listeners}`,
    `prepared ${prepared}`,
  ].join('  ')
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      transactions: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      postgres: { type: 'string' },
      mysql: { type: 'string' },
    },
  })
  const report = (line: string): void => console.log(line)
  const servers = await Promise.all([
    startPostgres({ version: values.postgres }, { report }),
    startMysqlFamily(mysqlWish(values.mysql), { report }),
  ])
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-soak-'))
  try {
    const name = `soak_${process.pid}`
    const [postgresUrl, mysqlUrl] = await Promise.all([
      createDatabase(servers[0], name),
      createDatabase(servers[1], name),
    ])
    const transactions = Number(values.transactions)
    const result = await soak({
      postgresUrl,
      mysqlUrl,
      logDirectory: join(folder, 'decisions'),
      transactions,
      seed: Number(values.seed),
      step: Math.min(10_000, Math.ceil(transactions / 4)),
      report,
    })
    for (const [word, count] of [...result.heard].sort(([, a], [, b]) => b - a)) {
      report(`${String(count).padStart(8)}  ${word}`)
    }
    for (const line of result.wrong.slice(0, 20)) report(`WRONG: ${line}`)
    report(`${transactions} transactions in ${(result.tookMs / 1000).toFixed(0)} s`)
    process.exitCode = result.wrong.length === 0 ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
    await Promise.all(servers.map((server) => server.stop()))
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
