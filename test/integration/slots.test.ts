/**
 * Several processes on one host: each takes a log of its own under a root, and a living one settles
 * what a killed one left. And two that follow each other on a single log.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createPool } from 'mysql2/promise'
import { Coordinator } from 'unanimous'
import type { ParticipantContext, ParticipantDefinition } from 'unanimous/adapter'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, assert, describe, expect, it } from 'vitest'
import { ACCOUNTS_URL, WALLETS_URL } from '../../examples/transfer/environment.ts'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { openBank } from '../../examples/transfer/transfer.ts'
import type { LoggedDecision } from '../../src/log/decision-log.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { readSlots } from '../../src/log/slots.ts'
import { mysqlSession } from '../contract/mysql-harness.ts'
import { logDirectory, type TestBank, testBank } from '../support/bank.ts'
import { startMysqlFamily } from '../support/servers/index.ts'

const CHILD = fileURLToPath(new URL('../support/slot-child.ts', import.meta.url))
const bank = await testBank({ markers: true })
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

interface Line {
  readonly event: string
  readonly logId?: string
  readonly [detail: string]: unknown
}

class Worker {
  readonly process: ChildProcess
  readonly lines: Line[] = []
  readonly exited: Promise<unknown>

  constructor({ postgres, mysql }: TestBank, words: Readonly<Record<string, string>>) {
    this.process = spawn(process.execPath, ['--import', 'tsx', CHILD], {
      env: {
        ...process.env,
        [ACCOUNTS_URL]: postgres.url,
        [WALLETS_URL]: mysql.url,
        ...words,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    children.push(this.process)
    this.exited = once(this.process, 'exit')
    const { stdout } = this.process
    if (stdout !== null) {
      createInterface({ input: stdout }).on('line', (text) =>
        this.lines.push(JSON.parse(text) as Line),
      )
    }
  }

  /** Resolves with the first line of this event. */
  async heard(event: string): Promise<Line> {
    await expect.poll(() => this.of(event).length, { timeout: 30_000 }).toBeGreaterThan(0)
    const [line] = this.of(event)
    if (line === undefined) throw new Error(`no line ${event}`)
    return line
  }

  of(event: string): Line[] {
    return this.lines.filter((line) => line.event === event)
  }

  say(word: 'work' | 'close'): void {
    this.process.stdin?.write(`${word}\n`)
  }
}

/** Both databases hold the same transfers, and every answer that was heard is true. */
async function agree(workers: readonly Worker[]): Promise<number> {
  const [accounts, wallets] = [await bank.observer.accounts(), await bank.observer.wallets()]
  expect(accounts.transfers).toEqual(wallets.transfers)
  expect(PLACES * START_BALANCE - accounts.money).toBe(accounts.moved)
  expect(wallets.money - PLACES * START_BALANCE).toBe(wallets.moved)
  for (const { id, answer } of workers.flatMap((worker) => worker.of('answer'))) {
    if (answer === 'committed') expect(accounts.transfers).toContain(id)
    if (answer === 'rolled-back') expect(accounts.transfers).not.toContain(id)
  }
  return accounts.transfers.size
}

describe('processes that share a root', () => {
  it('take a slot each, and the living settle what a killed one left', async () => {
    const root = await logDirectory()
    const words = { ROOT: root, TRANSFERS: '400' }
    const doomed = new Worker(bank, { ...words, RUN: 'a', POINT: 'decide:after', ON: '40' })
    const living = [
      new Worker(bank, { ...words, RUN: 'b' }),
      new Worker(bank, { ...words, RUN: 'c' }),
    ]
    const all = [doomed, ...living]
    const ids = (await Promise.all(all.map((one) => one.heard('open')))).map(({ logId }) => logId)
    const slots = await readSlots(root, nodeFileSystem)
    expect(slots.map(({ name }) => name)).toEqual(['slot-1', 'slot-2', 'slot-3'])
    expect(new Set(slots.map(({ snapshot }) => snapshot?.logId))).toEqual(new Set(ids))
    expect(new Set(slots.map(({ owner }) => owner?.pid)).size).toBe(3)

    for (const one of all) one.say('work')
    await doomed.exited
    expect(doomed.process.signalCode).toBe('SIGKILL')
    await Promise.all(living.map((one) => one.heard('done')))

    // Nobody was started again.
    await expect.poll(() => bank.observer.inDoubt()).toEqual([])
    await bank.observer.lockAll()
    expect(await agree(all)).toBeGreaterThan(40)
    const settled = living.flatMap((one) => one.of('settled'))
    expect(settled.some(({ gtrid }) => String(gtrid).includes(String(ids[0])))).toBe(true)
    expect(living.flatMap((one) => one.of('reported'))).toEqual([])
    const left = async (): Promise<number> =>
      (await readSlots(root, nodeFileSystem)).flatMap(({ snapshot }) => snapshot?.pending ?? [])
        .length
    await expect.poll(left).toBe(0)

    for (const one of living) one.say('close')
    await Promise.all(living.map((one) => one.exited))
    expect(living.map(({ process: { exitCode } }) => exitCode)).toEqual([0, 0])
  }, 90_000)
})

describe("a sibling's branch under its exact id on another server", () => {
  it('is not committed there: the decision would be forgotten, and the branch itself rolled back', async () => {
    const { flavour, version } = bank.mysql
    assert(flavour !== 'postgres')
    const elsewhere = await startMysqlFamily({ flavour, version }, { fresh: true })
    const pool = createPool(elsewhere.url)
    const settled: string[] = []
    const warned: string[] = []
    const root = await logDirectory()
    const misled = await Coordinator.open({
      log: { root },
      participants: {
        accounts: postgres(bank.pools.accounts),
        wallets: hearing(mysql(pool), settled),
      },
    })
    misled.on('participant:warning', ({ code }) => warned.push(code))
    try {
      const doomed = new Worker(bank, {
        ROOT: root,
        TRANSFERS: '1',
        RUN: 'd',
        POINT: 'decide:after',
      })
      doomed.say('work')
      await doomed.exited
      const decided = async (): Promise<readonly LoggedDecision[]> =>
        (await readSlots(root, nodeFileSystem)).flatMap(({ snapshot }) => snapshot?.pending ?? [])
      const [one] = await decided()
      const branch = one?.record.branches.find(({ participant }) => participant === 'wallets')
      const xid = `'${one?.record.gtrid}','${branch?.bqual}',1`

      // What a copy of the server's files would hold.
      const session = await mysqlSession(elsewhere.url)
      for (const verb of ['START', 'END', 'PREPARE']) await session.run(`XA ${verb} ${xid}`)
      session.close()
      await expect.poll(() => settled.length).toBeGreaterThan(0)
      expect(new Set(settled)).toEqual(new Set(['other-server']))
      expect(warned).toEqual(['OTHER_SERVER'])
      // The other branch is where it was, and is committed.
      const answers = async () => (await decided()).map((kept) => [...kept.answers.keys()])
      await expect.poll(answers).toEqual([['accounts']])
    } finally {
      await misled.close()
      await pool.end()
      await elsewhere.stop()
    }
    const led = await openBank(bank.pools.accounts, bank.pools.wallets, { log: { root } })
    await expect.poll(() => bank.observer.inDoubt()).toEqual([])
    expect(await agree([])).toBeGreaterThan(0)
    await led.close()
  }, 90_000)
})

/** Notes how each settlement of the participant's ended. */
function hearing<D extends ParticipantDefinition>(definition: D, settled: string[]): D {
  return {
    ...definition,
    create(context: ParticipantContext) {
      const participant = definition.create(context)
      const settle = participant.settle.bind(participant)
      participant.settle = async (...words) => {
        const settlement = await settle(...words)
        settled.push(settlement.kind)
        return settlement
      }
      return participant
    },
  }
}

describe('a rolling restart on one log', () => {
  it('lets the next process wait for the one before, and loses nothing', async () => {
    const directory = await logDirectory()
    const words = { DIRECTORY: directory, TRANSFERS: '50' }
    const before = new Worker(bank, { ...words, RUN: 'old' })
    const { logId } = await before.heard('open')
    const refused = new Worker(bank, { ...words, RUN: 'refused' })
    expect(await refused.heard('refused')).toMatchObject({ code: 'LOG_LOCKED' })
    const next = new Worker(bank, { ...words, RUN: 'new', LOCK_WAIT_MS: '30000' })
    before.say('work')
    await before.heard('done')
    expect(next.of('open')).toEqual([])
    before.say('close')
    expect((await next.heard('open')).logId).toBe(logId)
    next.say('work')
    await next.heard('done')
    next.say('close')
    await Promise.all([before.exited, next.exited, refused.exited])
    expect(await bank.observer.inDoubt()).toEqual([])
    expect(before.of('answer').length + next.of('answer').length).toBe(100)
    await agree([before, next])
  }, 90_000)
})
