/**
 * A lane: a bank of its own (a database on each server), a proxy before each of the two, a process
 * for the coordinator, and eyes that see past the proxies. Cases run in lanes, one at a time in each;
 * lanes share nothing but the servers.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type WireProxy, wireProxy } from '../../adapters/contract/wire-proxy.ts'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import { openPools, type Pools } from '../../examples/transfer/environment.ts'
import { createSchema, PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { participants } from '../../examples/transfer/transfer.ts'
import { systemClock } from '../../src/adapter.ts'
import type { Server } from '../support/servers/index.ts'
import { createDatabaseAt, dropDatabaseAt } from '../support/servers/probe.ts'
import type { Command, Said } from './child.ts'
import { CoordinatorProcess, urls } from './coordinator-process.ts'
import type { Side } from './table.ts'

export interface Servers {
  readonly accounts: Server
  readonly wallets: Server
}

/** Everything that the databases hold. */
export interface Holdings {
  readonly ids: ReadonlySet<string>
  readonly text: string
}

const AGAIN_MS = 25
const LIMIT_MS = 30_000

export class Lane {
  readonly markers: boolean
  readonly proxies: Readonly<Record<Side, WireProxy>>
  readonly observer: Observer
  process: CoordinatorProcess<Command, Said>
  readonly #bundle: string
  readonly #env: Readonly<Record<string, string>>
  readonly #pools: Pools
  readonly #folder: string
  readonly #drop: () => Promise<void>
  #logs = 0

  static async open(
    servers: Servers,
    bundle: string,
    markers: boolean,
    name: string,
  ): Promise<Lane> {
    const accounts = await createDatabaseAt(servers.accounts.url, name)
    const wallets = await createDatabaseAt(servers.wallets.url, name)
    const pools = openPools(accounts, wallets)
    await createSchema(pools.accounts, pools.wallets)
    for (const statement of [
      'create table one_side (id varchar(64) primary key)',
      'create table nobody (id varchar(64) primary key)',
      `create table refused (id varchar(64) primary key
         references nobody deferrable initially deferred)`,
    ]) {
      await pools.accounts.query(statement)
    }
    await pools.wallets.query('create table one_side (id varchar(64) primary key)')
    if (markers) await createMarkers(pools)
    const proxies = { accounts: await proxyOf(accounts), wallets: await proxyOf(wallets) }
    const env = urls(
      through(accounts, proxies.accounts.port),
      through(wallets, proxies.wallets.port),
    )
    return new Lane(markers, pools, proxies, bundle, env, async () => {
      await Promise.all([
        dropDatabaseAt(servers.accounts.url, name),
        dropDatabaseAt(servers.wallets.url, name),
      ])
    })
  }

  private constructor(
    markers: boolean,
    pools: Pools,
    proxies: Readonly<Record<Side, WireProxy>>,
    bundle: string,
    env: Readonly<Record<string, string>>,
    drop: () => Promise<void>,
  ) {
    this.markers = markers
    this.proxies = proxies
    this.observer = new Observer(pools)
    this.#pools = pools
    this.#bundle = bundle
    this.#env = env
    this.#drop = drop
    this.#folder = mkdtempSync(join(tmpdir(), 'unanimous-crash-'))
    this.process = this.#start()
  }

  /** A new process in the place of one that was killed. */
  replace(): void {
    this.process = this.#start()
  }

  /** A directory for a log that does not exist yet. */
  newLog(): string {
    this.#logs += 1
    return join(this.#folder, String(this.#logs))
  }

  /**
   * Resolves when no branch of the log is prepared, and no session is amidst a transaction: a COMMIT of one
   * phase that a stopped server has yet to read is carried out when it goes on.
   */
  async settled(): Promise<void> {
    const deadline = performance.now() + LIMIT_MS
    for (;;) {
      const left = await patient(() => this.observer.inDoubt())
      if (left.length === 0 && (await this.#isQuiet())) return
      if (performance.now() > deadline) {
        throw new Error(
          left.length === 0
            ? 'a session is amidst a transaction'
            : `still prepared: ${left.map(({ database, id }) => `${database} ${id}`).join(', ')}`,
        )
      }
      await sleep(AGAIN_MS)
    }
  }

  /** Reads the books and compares them. @throws when money or transfers differ, or a row is locked */
  async holdings(): Promise<Holdings> {
    const accounts = await patient(() => this.observer.accounts())
    const wallets = await patient(() => this.observer.wallets())
    equal('transfers', [...accounts.transfers].toSorted(), [...wallets.transfers].toSorted())
    equal('what the transfers moved', accounts.moved, wallets.moved)
    equal('money that left the accounts', PLACES * START_BALANCE - accounts.money, accounts.moved)
    equal('money that reached the wallets', wallets.money - PLACES * START_BALANCE, wallets.moved)
    const oneSide = (await this.#onBoth('select id from one_side')).map(({ id }) => String(id))
    await patient(() => this.observer.lockAll())
    const ids = new Set([...accounts.transfers, ...oneSide])
    return { ids, text: JSON.stringify([[...ids].toSorted(), accounts.money, wallets.money]) }
  }

  /** Marker rows of the log that nobody has collected. */
  async markerRows(logId: string): Promise<number> {
    if (!this.markers) return 0
    const where = `gtrid like 'una1-${logId}-%' and state = 'committed'`
    const text = `select count(*) as n from unanimous_branch where ${where}`
    return (await this.#onBoth(text)).reduce((sum, { n }) => sum + Number(n), 0)
  }

  async close(): Promise<void> {
    await this.process.kill()
    await Promise.all([this.proxies.accounts.close(), this.proxies.wallets.close()])
    await this.#pools.close()
    await this.#drop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #isQuiet(): Promise<boolean> {
    const { rows } = await patient(() =>
      this.#pools.accounts.query(`select pid from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`),
    )
    const [status]: readonly unknown[] = await patient(() =>
      this.#pools.wallets.query('show engine innodb status'),
    )
    const threads = threadsInTransactions(
      (status as readonly { Status: string }[])[0]?.Status ?? '',
    )
    if (rows.length > 0 || threads.length === 0) return rows.length === 0
    const [others]: readonly unknown[] = await patient(() =>
      this.#pools.wallets.query(
        'select id from information_schema.processlist where db = database() and id in (?)',
        [threads],
      ),
    )
    return (others as readonly unknown[]).length === 0
  }

  async #onBoth(text: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const { rows } = await patient(() => this.#pools.accounts.query<Record<string, unknown>>(text))
    const [others]: readonly unknown[] = await patient(() => this.#pools.wallets.query(text))
    return [...rows, ...(others as typeof rows)]
  }

  #start(): CoordinatorProcess<Command, Said> {
    return new CoordinatorProcess(this.#bundle, this.#env)
  }
}

/** What `unanimous init` does. */
async function createMarkers(pools: Pools): Promise<void> {
  for (const [name, definition] of Object.entries(participants(pools.accounts, pools.wallets))) {
    const participant = definition.create({ name, clock: systemClock, warn: () => undefined })
    await participant.init()
    await participant.close()
  }
}

async function proxyOf(url: string): Promise<WireProxy> {
  const { hostname, port } = new URL(url)
  return wireProxy(hostname, Number(port))
}

function through(url: string, port: number): string {
  const changed = new URL(url)
  changed.hostname = '127.0.0.1'
  changed.port = String(port)
  return changed.href
}

/**
 * From InnoDB's own status: information_schema.innodb_trx is a copy, made anew only when nobody has read it for
 * a tenth of a second, and several lanes that ask in turn would read the first one for ever.
 */
function threadsInTransactions(status: string): readonly number[] {
  const active = status.split('---TRANSACTION ').filter((text) => /^\d+, ACTIVE/.test(text))
  return active.flatMap((text) => {
    const thread = / thread id (\d+)/.exec(text)?.[1]
    return thread === undefined ? [] : [Number(thread)]
  })
}

/** Our own eyes may look at a server that has just come back, on connections that died with it. */
async function patient<T>(look: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + LIMIT_MS / 3
  for (;;) {
    try {
      return await look()
    } catch (cause) {
      if (performance.now() > deadline) throw cause
      await sleep(AGAIN_MS * 2)
    }
  }
}

function equal(what: string, left: unknown, right: unknown): void {
  const [a, b] = [JSON.stringify(left), JSON.stringify(right)]
  if (a !== b) throw new Error(`${what} differ: ${a} and ${b}`)
}
