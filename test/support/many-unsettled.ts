/**
 * Very many transactions that a process left decided and prepared in both databases, the command line over
 * them in this process, and the bare statements that it is measured against.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import {
  type Connection,
  createConnection,
  createPool,
  type Pool as MysqlPool,
} from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { ROOT } from '../../scripts/source-tree.ts'
import { runCli } from '../../src/cli/program.ts'
import { systemClock, systemRandom } from '../../src/clock.ts'
import { noFailpoints } from '../../src/failpoint.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { openFileDecisionLog } from '../../src/log/open-log.ts'

const PLACE = 'unanimous.test.many'
/** How long a process may take that runs a command. */
const PROCESS_MS = 60_000
/** Connections that prepare. */
const LANES = 16

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export class Unsettled {
  readonly folder: string
  readonly ledgerUrl: string
  readonly shopUrl: string
  readonly #ledger: pg.Pool
  readonly #shop: MysqlPool
  readonly #bareLedger: pg.Client
  readonly #bareShop: Connection
  readonly #runCli: typeof runCli

  private constructor(
    folder: string,
    ledgerUrl: string,
    shopUrl: string,
    bareLedger: pg.Client,
    bareShop: Connection,
    run: typeof runCli,
  ) {
    this.folder = folder
    this.ledgerUrl = ledgerUrl
    this.shopUrl = shopUrl
    this.#ledger = new pg.Pool({ connectionString: ledgerUrl })
    this.#shop = createPool({ uri: shopUrl })
    this.#bareLedger = bareLedger
    this.#bareShop = bareShop
    this.#runCli = run
  }

  /** @param run - the command line: of the built package, where that is measured */
  static async open(
    folder: string,
    ledgerUrl: string,
    shopUrl: string,
    run: typeof runCli = runCli,
  ): Promise<Unsettled> {
    const bareLedger = new pg.Client(ledgerUrl)
    await bareLedger.connect()
    const bareShop = await createConnection({ uri: shopUrl })
    await bareLedger.query('create table if not exists entry (note text)')
    await bareShop.query('create table if not exists entry (note varchar(200)) engine=innodb')
    const many = new Unsettled(folder, ledgerUrl, shopUrl, bareLedger, bareShop, run)
    await writeFile(
      join(folder, 'unanimous.config.mjs'),
      `export default () => globalThis[Symbol.for('${PLACE}')]`,
    )
    return many
  }

  get log(): { readonly directory: string; readonly allowUnsafeFileSystem: true } {
    return { directory: join(this.folder, 'decisions'), allowUnsafeFileSystem: true }
  }

  /** Runs a command in this process: what is measured is its work, and not the start of a process. */
  async cli(...args: readonly string[]): Promise<Ran> {
    const participants = { ledger: postgres(this.#ledger), shop: mysql(this.#shop) }
    Object.assign(globalThis, { [Symbol.for(PLACE)]: { log: this.log, participants } })
    let out = ''
    let err = ''
    const code = await this.#runCli(args, {
      cwd: this.folder,
      clock: systemClock,
      interactive: false,
      out: (text) => {
        out += text
      },
      err: (text) => {
        err += text
      },
      paint: (_, text) => text,
    })
    return { code, out, err }
  }

  /** Runs the built command line as a process of its own: with the start of Node.js and all its modules. */
  async process(...args: readonly string[]): Promise<void> {
    const config = join(this.folder, 'process.config.mjs')
    await writeFile(config, processConfig(this.log, this.ledgerUrl, this.shopUrl))
    const main = join(ROOT, 'dist/src/cli/main.js')
    const child = spawn(process.execPath, [main, ...args, '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: PROCESS_MS,
      killSignal: 'SIGKILL',
    })
    const [said, [, signal]] = await Promise.all([text(child.stderr), once(child, 'exit')])
    if (signal === null) return
    const took = `was ended by ${signal}, after ${PROCESS_MS / 1_000} s at most`
    throw new Error(`unanimous ${args.join(' ')} ${took}; it said: ${said}`)
  }

  /** The listing queries alone, both at once, on connections that are there. */
  async listBare(): Promise<void> {
    await Promise.all([
      this.#bareLedger.query(
        'select gid, owner, prepared from pg_prepared_xacts where database = current_database()',
      ),
      this.#bareShop.query('xa recover'),
    ])
  }

  /** One connection a database, one statement after the other. */
  async settleBare(gtrids: readonly string[]): Promise<void> {
    const inLedger = async (): Promise<void> => {
      for (const gtrid of gtrids) await this.#bareLedger.query(`commit prepared '${gtrid}:ledger'`)
    }
    const inShop = async (): Promise<void> => {
      for (const gtrid of gtrids) await this.#bareShop.query(`xa commit '${gtrid}','shop',1`)
    }
    await Promise.all([inLedger(), inShop()])
  }

  async close(): Promise<void> {
    await this.#bareLedger.end()
    await this.#bareShop.end()
    await Promise.all([this.#ledger.end(), this.#shop.end()])
  }
}

function processConfig(log: object, ledgerUrl: string, shopUrl: string): string {
  const built = (path: string): string => pathToFileURL(join(ROOT, path)).href
  return `import { createRequire } from 'node:module'
import { mysql } from '${built('dist/adapters/mysql2/index.js')}'
import { postgres } from '${built('dist/adapters/pg/index.js')}'
const require = createRequire('${built('package.json')}')
const ledger = new (require('pg').Pool)({ connectionString: '${ledgerUrl}' })
const shop = require('mysql2/promise').createPool({ uri: '${shopUrl}' })
export default {
  log: ${JSON.stringify(log)},
  participants: { ledger: postgres(ledger), shop: mysql(shop) },
  close: () => Promise.all([ledger.end(), shop.end()]),
}
`
}

/**
 * Prepares in both databases.
 *
 * @param how - `logged`: with their commits in the log; `bare`: under ids that are nobody's
 * @returns their gtrids
 */
export async function prepareMany(
  many: Unsettled,
  count: number,
  how: 'logged' | 'bare',
): Promise<readonly string[]> {
  const seams = {
    clock: systemClock,
    random: systemRandom,
    files: nodeFileSystem,
    failpoints: noFailpoints,
    onEvent: () => undefined,
  }
  const opened = how === 'logged' ? await openFileDecisionLog(many.log, seams) : undefined
  const log = await opened?.start()
  const gtrids: string[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    const ledger = new pg.Client(many.ledgerUrl)
    await ledger.connect()
    for (; next < count; ) {
      next += 1
      const gtrid = log?.begin() ?? `bare-${next}`
      gtrids.push(gtrid)
      await Promise.all([prepareInLedger(ledger, gtrid), prepareInShop(many.shopUrl, gtrid)])
      const server = { server: 'bench', startedAtMs: 0 }
      await log?.decide({
        gtrid,
        decidedAtMs: systemClock.now(),
        name: 'transfer',
        branches: ['ledger', 'shop'].map((name) => ({
          participant: name,
          bqual: name,
          server,
          marker: false,
        })),
      })
      log?.release(gtrid)
    }
    await ledger.end()
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  await log?.close()
  return gtrids
}

async function prepareInLedger(ledger: pg.Client, gtrid: string): Promise<void> {
  await ledger.query(
    `begin; insert into entry values ('${gtrid}'); prepare transaction '${gtrid}:ledger'`,
  )
}

/** MariaDB keeps a prepared branch with its session until that ends. */
async function prepareInShop(url: string, gtrid: string): Promise<void> {
  const shop = await createConnection({ uri: url, multipleStatements: true })
  const xid = `'${gtrid}','shop',1`
  await shop.query(
    `xa start ${xid}; insert into entry values ('${gtrid}'); xa end ${xid}; xa prepare ${xid}`,
  )
  await shop.end()
}

export async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
