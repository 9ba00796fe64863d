/**
 * Faults of a disk on the real kernel, with both databases: `npx tsx test/crash/disk-faults.ts`.
 *
 * Transfers run while a system call of the log fails (strace), or while its disk is full (a small
 * tmpfs). A failed force leaves its callers in doubt and its branches alone; a full disk costs no
 * decision. After a restart without the fault both databases agree. Needs root and strace; ends
 * with `N passed, N failed`, or with 2 when the machine lacks something.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Observer } from '../../examples/transfer/demo/observe.ts'
import { ACCOUNTS_URL, openPools, WALLETS_URL } from '../../examples/transfer/environment.ts'
import { createSchema, PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { messageOf } from '../../src/errors.ts'
import { startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import { createDatabaseAt, dropDatabaseAt } from '../support/servers/probe.ts'

const CHILD = fileURLToPath(new URL('../support/slot-child.ts', import.meta.url))
/** How long branches of a failed force are watched, in ms: several recovery passes. */
const WATCH_MS = 2_500
const LIMIT_MS = 40_000
/** Opening makes the first of these calls; the fault is moved on until a transfer meets it. */
const FIRST_CALL = { pwritev: 12, fsync: 3 } as const
const MAX_CALL = 16

function demand(): void {
  const lacks: string[] = []
  if (process.getuid?.() !== 0) lacks.push('root')
  if (spawnSync('strace', ['-V']).error !== undefined) lacks.push('strace')
  if (lacks.length === 0) return
  console.error(`disk faults cannot be made on this machine: it lacks ${lacks.join(' and ')}`)
  process.exit(2)
}

interface Line {
  readonly event: string
  readonly id?: string
  readonly answer?: string
  readonly code?: string
}

class Bank {
  readonly process: ChildProcess
  readonly lines: Line[] = []

  /** @param fault - as strace spells it */
  constructor(
    urls: Readonly<Record<string, string>>,
    directory: string,
    fault?: string,
    more: Readonly<Record<string, string>> = {},
  ) {
    const node = [process.execPath, '--import', 'tsx', CHILD]
    const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '--seccomp-bpf']
    const call = fault?.split(':')[0]
    const inject = ['-e', `trace=${call}`, '-e', `inject=${fault}`]
    const [command = '', ...args] = fault === undefined ? node : [...strace, ...inject, ...node]
    this.process = spawn(command, args, {
      env: {
        ...process.env,
        ...urls,
        DIRECTORY: directory,
        SMALL: '1',
        TRANSFERS: '300',
        RUN: randomBytes(4).toString('hex'),
        // strace counts the calls of each thread by itself.
        UV_THREADPOOL_SIZE: '1',
        ...more,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const { stdout } = this.process
    assert.ok(stdout !== null)
    createInterface({ input: stdout }).on('line', (text) =>
      this.lines.push(JSON.parse(text) as Line),
    )
  }

  /** Waits for one of these events, and answers which came. */
  async heard(...events: readonly string[]): Promise<Line> {
    const deadline = performance.now() + LIMIT_MS
    for (;;) {
      const line = this.lines.find(({ event }) => events.includes(event))
      if (line !== undefined) return line
      assert.ok(performance.now() < deadline, `no line of ${events.join(', ')}`)
      assert.equal(this.process.exitCode, null, `it ended before ${events.join(', ')}`)
      await sleep(20)
    }
  }

  get answers(): readonly Line[] {
    return this.lines.filter(({ event }) => event === 'answer')
  }

  say(word: 'work' | 'close'): void {
    this.process.stdin?.write(`${word}\n`)
  }

  /** The child too: strace that is killed lets go of what it traces. */
  async kill(): Promise<void> {
    const exit = once(this.process, 'exit')
    const { pid } = this.process
    const below = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    for (const child of below === '' ? [] : below.split(' ')) process.kill(Number(child), 'SIGKILL')
    this.process.kill('SIGKILL')
    await exit
  }

  async close(): Promise<void> {
    this.say('close')
    if (this.process.exitCode === null) await once(this.process, 'exit')
    assert.equal(this.process.exitCode, 0)
  }
}

demand()
const postgres = await startPostgres()
const mysql = await startMysqlFamily()
const name = `disk_${randomBytes(6).toString('hex')}`
const accounts = await createDatabaseAt(postgres.url, name)
const wallets = await createDatabaseAt(mysql.url, name)
const urls = { [ACCOUNTS_URL]: accounts, [WALLETS_URL]: wallets }
const pools = openPools(accounts, wallets)
const observer = new Observer(pools)
const root = mkdtempSync(join(tmpdir(), 'unanimous-disk-'))
await createSchema(pools.accounts, pools.wallets)

/** Restarts on the same log, without the fault, and asks the databases. */
async function agreeAfterRestart(directory: string, before: Bank): Promise<void> {
  const again = new Bank(urls, directory)
  await again.heard('open')
  const deadline = performance.now() + LIMIT_MS
  while ((await observer.inDoubt()).length > 0) {
    assert.ok(performance.now() < deadline, 'branches are left')
    await sleep(100)
  }
  await again.close()
  const [left, right] = [await observer.accounts(), await observer.wallets()]
  assert.deepEqual(left.transfers, right.transfers)
  assert.equal(PLACES * START_BALANCE - left.money, left.moved)
  assert.equal(right.money - PLACES * START_BALANCE, right.moved)
  for (const { id = '', answer } of before.answers) {
    if (answer === 'committed') assert.ok(left.transfers.has(id), `${id} was committed`)
    if (answer === 'rolled-back') assert.ok(!left.transfers.has(id), `${id} was rolled back`)
  }
}

/** Answers whether a transfer met the fault. */
async function meets(directory: string, fault: string): Promise<boolean> {
  const bank = new Bank(urls, directory, fault)
  try {
    if ((await bank.heard('open', 'refused')).event === 'refused') return false
    bank.say('work')
    await bank.heard('done')
    const inDoubt = bank.answers.filter(({ answer }) => answer === 'in-doubt')
    if (inDoubt.length === 0) return false
    const prepared = await observer.inDoubt()
    assert.ok(prepared.length >= inDoubt.length, 'branches in doubt stay prepared')
    await sleep(WATCH_MS)
    const byId = (each: { readonly id: string }): string => each.id
    const now = (await observer.inDoubt()).map(byId)
    assert.deepEqual(now.toSorted(), prepared.map(byId).toSorted(), 'no branch is touched')
    const last = bank.answers.at(-1)
    assert.equal(last?.answer, 'rolled-back', 'nothing begins on a poisoned log')
    await bank.kill()
    await agreeAfterRestart(directory, bank)
    console.log(
      `        ${fault}: ${inDoubt.length} in doubt, ${prepared.length} branches prepared`,
    )
    return true
  } finally {
    if (bank.process.exitCode === null && bank.process.signalCode === null) await bank.kill()
  }
}

async function failing(call: keyof typeof FIRST_CALL, error: string): Promise<void> {
  for (let when = FIRST_CALL[call]; when < FIRST_CALL[call] + MAX_CALL; when += 1) {
    if (
      await meets(join(root, `${call}-${error}-${when}`), `${call}:error=${error}:when=${when}`)
    ) {
      return
    }
  }
  throw new Error(`no transfer met a failing ${call}`)
}

/** Forces go through O_DSYNC writes: fdatasync is called when a log opens, before it settles. */
async function failedOpening(): Promise<void> {
  const directory = join(root, 'fdatasync')
  const killed = new Bank(urls, directory, undefined, { POINT: 'decide:after', ON: '20' })
  await killed.heard('open')
  killed.say('work')
  await once(killed.process, 'exit')
  assert.equal(killed.process.signalCode, 'SIGKILL')
  const prepared = await observer.inDoubt()
  assert.ok(prepared.length > 0)
  const refused = new Bank(urls, directory, 'fdatasync:error=EIO:when=1')
  assert.equal((await refused.heard('open', 'refused')).code, 'LOG_UNREADABLE')
  if (refused.process.exitCode === null) await once(refused.process, 'exit')
  assert.equal((await observer.inDoubt()).length, prepared.length, 'no branch is touched')
  await agreeAfterRestart(directory, killed)
}

async function fullDisk(): Promise<void> {
  const directory = join(root, 'full')
  mkdirSync(directory)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', directory])
  try {
    const bank = new Bank(urls, directory)
    await bank.heard('open')
    fill(join(directory, 'ballast'))
    bank.say('work')
    await bank.heard('done')
    for (const { id, answer } of bank.answers) {
      assert.ok(answer === 'committed' || answer === 'rolled-back', `${id} heard ${answer}`)
    }
    assert.ok(bank.answers.some(({ answer }) => answer === 'committed'))
    await bank.kill()
    await agreeAfterRestart(directory, bank)
  } finally {
    execFileSync('umount', [directory])
  }
}

async function tooSmall(): Promise<void> {
  const directory = join(root, 'small')
  mkdirSync(directory)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', directory])
  try {
    const bank = new Bank(urls, directory)
    assert.equal((await bank.heard('open', 'refused')).code, 'LOG_FULL')
    if (bank.process.exitCode === null) await once(bank.process, 'exit')
  } finally {
    execFileSync('umount', [directory])
  }
}

function fill(path: string): void {
  try {
    for (;;) writeFileSync(path, Buffer.alloc(4096), { flag: 'a' })
  } catch {
    // Full, as it was meant to be.
  }
}

const CASES: Readonly<Record<string, () => Promise<void>>> = {
  'EIO of a forced write': () => failing('pwritev', 'EIO'),
  'ENOSPC of a forced write': () => failing('pwritev', 'ENOSPC'),
  'EIO of fdatasync, before recovery': failedOpening,
  'EIO of fsync on the directory': () => failing('fsync', 'EIO'),
  'a disk that is full': fullDisk,
  'a disk that is too small': tooSmall,
}

let failed = 0
try {
  for (const [title, run] of Object.entries(CASES)) {
    try {
      await run()
      console.log(`ok      ${title}`)
    } catch (cause) {
      failed += 1
      console.log(`failed  ${title}: ${messageOf(cause)}`)
    }
  }
} finally {
  await pools.close()
  await dropDatabaseAt(postgres.url, name).catch((cause: unknown) => console.error(cause))
  await dropDatabaseAt(mysql.url, name).catch((cause: unknown) => console.error(cause))
  await Promise.all([postgres.stop(), mysql.stop()])
  rmSync(root, { recursive: true, force: true })
}
console.log(`${Object.keys(CASES).length - failed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
