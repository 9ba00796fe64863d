/**
 * Processes that died and lost their log, and `unanimous recover --from-databases` as an operator gives
 * it: the command line in this process, with a configuration whose participants are the test's.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { z } from 'zod'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { participants } from '../../examples/transfer/transfer.ts'
import { runCli } from '../../src/cli/program.ts'
import { systemClock } from '../../src/clock.ts'
import type { CliConfig } from '../../src/config.ts'
import type { Failpoint } from '../../src/failpoint.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readLog } from '../../src/log/read-log.ts'
import { logDirectory, type TestBank } from './bank.ts'
import { crash, type Heard } from './crash.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** What `--json` answers, as far as tests ask. */
export const Left = z.object({
  plan: z.array(z.object({ gtrid: z.string(), action: z.string() })).optional(),
  left: z.array(
    z.object({
      gtrid: z.string(),
      logId: z.string(),
      hindrances: z.array(z.object({ kind: z.string() })),
    }),
  ),
})

/** A log's directory that is not there. */
export const NOWHERE = '/nonexistent/decisions'
const CONFIG = 'unanimous.test.config'

export type Command = (config: CliConfig, ...words: readonly string[]) => Promise<Ran>

/** Call at the top of a test file. Runs `recover --from-databases` with more words. */
export async function operator(): Promise<Command> {
  const cwd = await mkdtemp(join(tmpdir(), 'unanimous-operator-'))
  afterAll(() => rm(cwd, { recursive: true, force: true }))
  const text = `export default () => globalThis[Symbol.for('${CONFIG}')]\n`
  await writeFile(join(cwd, 'unanimous.config.mjs'), text)
  return async (config, ...words) => {
    Object.assign(globalThis, { [Symbol.for(CONFIG)]: config })
    let out = ''
    let err = ''
    const code = await runCli(['recover', '--from-databases', ...words], {
      cwd,
      clock: systemClock,
      interactive: false,
      out: (line) => {
        out += line
      },
      err: (line) => {
        err += line
      },
      paint: (_, line) => line,
    })
    return { code, out, err }
  }
}

export interface Lost {
  readonly logId: string
  /** Id of the transfer in which the process died. */
  readonly last: string
  readonly heard: readonly Heard[]
}

/** A bank whose logs get lost. */
export class LostLogs {
  readonly #bank: TestBank
  readonly #command: Command
  #runs = 0

  constructor(bank: TestBank, command: Command) {
    this.#bank = bank
    this.#command = command
  }

  get urls() {
    return { accounts: this.#bank.postgres.url, wallets: this.#bank.mysql.url }
  }

  config(chosen: CliConfig['participants'] = {}): CliConfig {
    const { accounts, wallets } = this.#bank.pools
    return { log: NOWHERE, participants: { ...participants(accounts, wallets), ...chosen } }
  }

  /** Kills a process at the point, which leaves what it had prepared, and loses its log. */
  async lose(
    point: Failpoint,
    { scenario = 'commit', on = 1, from = this.urls } = {},
  ): Promise<Lost> {
    this.#runs += 1
    const run = `run-${this.#runs}`
    const log = await logDirectory()
    const words = { SCENARIO: scenario, POINT: point, RUN: run, ON: String(on) }
    const heard = await crash(from, log, words)
    const { logId } = await readLog(log, nodeFileSystem)
    await rm(log, { recursive: true })
    return { logId, last: `${run}-last`, heard }
  }

  /** Both branches are prepared, and the dead process's sessions have ended. */
  async loseBoth(point: 'prepare:after-all' | 'decide:after' = 'prepare:after-all'): Promise<Lost> {
    const lost = await this.lose(point)
    await expect.poll(() => this.prepared(lost.logId)).toEqual(['accounts', 'wallets'])
    const open = async (): Promise<boolean> => {
      const words = ['--owner-is-dead', lost.logId, '--json']
      const { out } = await this.#command(this.config(), ...words)
      return Left.parse(JSON.parse(out)).left.length > 0
    }
    await expect.poll(open).toBe(false)
    return lost
  }

  /** What the dead process's COMMIT would have done, had it arrived. */
  async commitIn(database: 'accounts' | 'wallets', logId: string): Promise<void> {
    const { accounts, wallets } = this.#bank.pools
    this.#bank.observer.only(logId)
    const found = await this.#bank.observer.inDoubt()
    const { id = '' } = found.find((one) => one.database === database) ?? {}
    const [gtrid = '', bqual = ''] = id.split(':')
    if (database === 'accounts') await accounts.query(`commit prepared '${id}'`)
    // MariaDB answers 1397 until the preparer's session has ended.
    else await expect.poll(() => tried(wallets.query(`xa commit '${gtrid}','${bqual}'`))).toBe(true)
  }

  async prepared(logId: string): Promise<readonly string[]> {
    this.#bank.observer.only(logId)
    return (await this.#bank.observer.inDoubt()).map(({ database }) => database).sort()
  }

  /** Both books tell the same; answers the transfers that are in them. */
  async agree(): Promise<ReadonlySet<string>> {
    const { observer } = this.#bank
    const [accounts, wallets] = [await observer.accounts(), await observer.wallets()]
    expect(accounts.transfers).toEqual(wallets.transfers)
    expect(accounts.moved).toBe(wallets.moved)
    expect(PLACES * START_BALANCE - accounts.money).toBe(accounts.moved)
    expect(wallets.money - PLACES * START_BALANCE).toBe(wallets.moved)
    return accounts.transfers
  }

  /** The whole way out; a PREPARE that was still queued may appear after the first look. */
  async recoverAll(logId: string): Promise<void> {
    const words = ['--owner-is-dead', logId, '--apply', '--wait', '20s']
    for (let look = 1; look <= 3; look += 1) {
      const { code, err } = await this.#command(this.config(), ...words)
      expect([code, err], `look ${look}`).toEqual([0, ''])
      expect(await this.prepared(logId)).toEqual([])
    }
    await this.#bank.observer.lockAll()
  }
}

function tried(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
