/**
 * The coordinator's process of a crash case: obeys lines of JSON on stdin, and says what happens on
 * stdout, a line each, before anything else happens. It is bundled before it runs, so that a new one
 * costs a tenth of a second.
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Coordinator, TransactionError, UnanimousError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { openPools } from '../../examples/transfer/environment.ts'
import { inParallel } from '../../examples/transfer/orders.ts'
import { PLACES } from '../../examples/transfer/schema.ts'
import type { Failpoint } from '../../src/failpoint.ts'
import { hearing } from '../support/hearing.ts'
import { FaultyDisk } from './faulty-disk.ts'
import type { Scenario } from './table.ts'

/** What the process does when it meets a failpoint. */
export interface Arm {
  readonly point: Failpoint
  readonly nth: number
  readonly act: 'kill' | 'hold' | 'disk full' | 'disk fails'
}

export type Command =
  | { readonly do: 'open'; readonly log: string; readonly limits: Limits; readonly arm?: Arm }
  | {
      readonly do: 'run'
      readonly scenario: Scenario | 'plain'
      readonly id: string
      readonly arm?: Arm
    }
  /** Goes on from the point where it holds. */
  | { readonly do: 'go' }
  /** The disk is sound again. */
  | { readonly do: 'mend' }
  | { readonly do: 'close' }

/** Time limits, in ms: short ones where a database is frozen. */
export interface Limits {
  /** Of the log: a small one is soon full, and holds the decisions of few transactions. */
  readonly segmentBytes: number
  readonly answerMs: number
  readonly timeoutMs: number
  readonly settleMs: number
}

export type Said =
  | { readonly event: 'open'; readonly logId: string }
  | { readonly event: 'refused'; readonly code: string }
  | { readonly event: 'at' }
  | {
      readonly event: 'answer'
      readonly id: string
      readonly answer: string
      readonly code?: string
    }
  | { readonly event: 'done' }
  | { readonly event: 'closed' }
  /** Something that an operator is told, of one branch. */
  | { readonly event: 'told'; readonly id: string; readonly what: string }

type Bank = ReturnType<typeof participants>

/** Transfers of a case that waits for the log to roll: a segment holds fewer. */
const MANY = 40
const AT_A_TIME = 12
const AGAIN_MS = 10

const pools = openPools()
let bank: Coordinator<Bank> | undefined
let arm: Arm | undefined
let met = 0
let settleMs = 0
const disk = new FaultyDisk()
let goOn: () => void = () => undefined

function say(line: Said): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

function failpoint(name: Failpoint): void | Promise<void> {
  if (name !== arm?.point) return
  met += 1
  if (met !== arm.nth) return
  switch (arm.act) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL')
      return
    case 'disk full':
    case 'disk fails':
      disk.state = arm.act === 'disk full' ? 'full' : 'fails'
      say({ event: 'at' })
      return
    case 'hold':
      say({ event: 'at' })
      return new Promise((resolve) => {
        goOn = resolve
      })
  }
}

function aim(next: Arm | undefined): void {
  arm = next
  met = 0
}

function participants({ answerMs }: Limits) {
  return {
    accounts: postgres(pools.accounts, { answerMs }),
    wallets: mysql(pools.wallets, { answerMs }),
  }
}

async function open(log: string, limits: Limits): Promise<void> {
  const { timeoutMs } = limits
  settleMs = limits.settleMs
  try {
    bank = await Coordinator.open({
      // Read by the log alone: its size is no option of a coordinator.
      log: { directory: log, segmentBytes: limits.segmentBytes, allowUnsafeFileSystem: true } as {
        readonly directory: string
      },
      participants: participants(limits),
      logger: hearing({
        'branch:heuristic': ({ gtrid, answer }) => say({ event: 'told', id: gtrid, what: answer }),
        'branch:reported': ({ id, why }) => say({ event: 'told', id, what: why }),
      }),
      timeoutMs,
      settleMs,
      acquireMs: timeoutMs,
      recoveryIntervalMs: 200,
      seams: { failpoints: failpoint, files: disk.files },
    })
  } catch (cause) {
    if (!(cause instanceof UnanimousError)) throw cause
    say({ event: 'refused', code: cause.code })
    return
  }
  say({ event: 'open', logId: bank.logId })
}

async function run(scenario: Scenario | 'plain', id: string): Promise<void> {
  const isMet = (): boolean => arm !== undefined && met >= arm.nth
  if (scenario === 'roll') {
    for (let at = 0; at < MANY && !isMet(); at += 1) await one('plain', `${id}-${at}`)
  } else if (scenario === 'many') {
    const ids = Array.from({ length: MANY * 2 }, (_, at) => `${id}-${at}`)
    await inParallel(ids, AT_A_TIME, async (each) => {
      if (!isMet()) await one('plain', each)
    })
  } else await one(scenario, id)
  if (scenario === 'behind') await settledBehind()
  say({ event: 'done' })
}

/** So long as a caller that waits would have waited. */
async function settledBehind(): Promise<void> {
  const until = performance.now() + settleMs
  const behind = (): number => bank?.stats().transactions.behind ?? 0
  while (behind() > 0 && performance.now() < until) await sleep(AGAIN_MS)
}

/** Waits for the ends of earlier transfers, which are forced up to a second late, and would be the instant. */
async function ended(): Promise<void> {
  while (bank !== undefined && bank.stats().log.decisions > 0) await sleep(AGAIN_MS)
}

/** In a transaction of its own, which is not tried again. */
async function one(scenario: Scenario | 'plain', id: string): Promise<void> {
  if (bank === undefined) throw new Error('no coordinator is open')
  const place = 1 + (Number(id.slice(id.lastIndexOf('-') + 1)) % PLACES)
  const account = 'insert into transfer (id, account, amount) values ($1, $2, 1)'
  const wallet = 'insert into transfer (id, wallet, amount) values (?, ?, 1)'
  const pay = 'update account set balance = balance - 1 where id = $1'
  const earn = 'update wallet set balance = balance + 1 where id = ?'
  const inAdvance = (bank: Coordinator<Bank>) =>
    bank.execute([
      { on: 'accounts', text: account, values: [id, place] },
      { on: 'accounts', text: pay, values: [place] },
      { on: 'wallets', text: wallet, values: [id, place] },
      { on: 'wallets', text: earn, values: [place] },
    ])
  const inCallback = (bank: Coordinator<Bank>) =>
    bank.transaction(
      async (tx) => {
        if (scenario === 'one accounts') {
          await tx.accounts.query('insert into one_side values ($1)', [id])
          return
        }
        if (scenario === 'one wallets') {
          await tx.wallets.query('insert into one_side values (?)', [id])
          return
        }
        await tx.accounts.query(account, [id, place])
        await tx.accounts.query(pay, [place])
        await tx.wallets.query(wallet, [id, place])
        await tx.wallets.query(earn, [place])
        if (scenario === 'abort') throw new Error('changed my mind')
        if (scenario === 'refusal') await tx.accounts.query('insert into refused values ($1)', [id])
      },
      scenario === 'behind' ? { settle: 'behind' } : {},
    )
  const asked = scenario === 'in advance' ? inAdvance(bank) : inCallback(bank)
  const heard = await asked.then(
    () => ({ answer: 'committed' }),
    (cause: unknown) => {
      if (!(cause instanceof TransactionError)) return { answer: String(cause) }
      return { answer: cause.outcome, code: cause.code }
    },
  )
  say({ event: 'answer', id, ...heard })
}

async function obey(command: Command): Promise<void> {
  switch (command.do) {
    case 'open':
      aim(command.arm)
      return open(command.log, command.limits)
    case 'run':
      if (command.scenario === 'commit' && command.arm?.point.startsWith('log:')) await ended()
      aim(command.arm)
      return run(command.scenario, command.id)
    case 'go':
      return goOn()
    case 'mend':
      disk.state = 'sound'
      return undefined
    case 'close':
      aim(undefined)
      await bank?.close().catch(() => undefined)
      bank = undefined
      say({ event: 'closed' })
  }
}

const commands = createInterface({ input: process.stdin })
commands.on('line', (line) => {
  obey(JSON.parse(line) as Command).catch((cause: unknown) => {
    console.error(cause)
    process.exit(1)
  })
})
// Whoever started this is gone.
commands.on('close', () => process.exit(0))
