/**
 * The part with crashes. A worker does transfers and kills itself at a given point; what it leaves
 * in doubt is shown as the databases see it and as the command line sees it; then a new process
 * opens the coordinator on the same log, and the databases are watched until nothing is in doubt.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Random, randomFrom } from '../orders.ts'
import type { Answer } from '../worker.ts'
import { type Check, checkBooks } from './checks.ts'
import { runCli, Worker } from './child.ts'
import { CONCURRENCY } from './load.ts'
import type { InDoubt } from './observe.ts'
import type { DemoOptions } from './options.ts'
import { bad, good, heading, line, money, number, quote, seconds } from './screen.ts'
import type { Stage } from './stage.ts'

const POINTS = [
  { at: 'prepare:after-first', when: 'after the first prepare' },
  { at: 'prepare:after-all', when: 'after all prepares' },
  { at: 'decide:after', when: 'after the decision' },
  { at: 'commit:after-first', when: 'after the first commit' },
]

/** More than a worker gets done before it is killed. */
const TRANSFERS = 2_000
/** The kill comes at one of this many transfers, after some have gone through. */
const FIRST_KILL = 20
const KILLS = 60
const POLL_MS = 5
const GIVE_UP_MS = 60_000

export interface CrashReport {
  readonly rounds: number
  readonly clean: number
  /** The longest time from restart to nothing in doubt, in ms. */
  readonly slowestMs: number
  readonly kills: number
}

export async function crashRounds(
  stage: Stage,
  options: DemoOptions,
  answers: Map<string, Answer>,
): Promise<CrashReport> {
  const random = randomFrom(options.seed + 1)
  const report = { rounds: options.crashRounds, clean: 0, slowestMs: 0, kills: 0 }
  for (let round = 1; round <= options.crashRounds; round += 1) {
    let clean = true
    for (const point of POINTS) {
      heading(`Round ${round} of ${options.crashRounds}: kill -9 ${point.when}`)
      report.kills += 1
      const run = { stage, answers, random, name: `crash-${report.kills}` }
      const { tookMs, checks } = await crash(run, point.at, round === 1)
      report.slowestMs = Math.max(report.slowestMs, tookMs)
      checks.push(withinLimit(tookMs, options.limitMs))
      for (const { what, wrong } of checks) {
        if (wrong === undefined) continue
        clean = false
        line(`${bad('BROKEN')}  ${what}: ${wrong}`)
      }
    }
    if (clean) report.clean += 1
    if (options.crashRounds > 1) line(`${report.clean} of ${round} rounds ended clean`)
  }
  return report
}

interface Run {
  readonly stage: Stage
  readonly answers: Map<string, Answer>
  readonly random: Random
  /** Begins the ids of its transfers. */
  readonly name: string
}

async function crash(
  { stage, answers, random, name }: Run,
  at: string,
  showAll: boolean,
): Promise<{ tookMs: number; checks: Check[] }> {
  const { observer } = stage
  const worker = new Worker({
    ...stage.environment,
    TRANSFERS: String(TRANSFERS),
    CONCURRENCY: String(CONCURRENCY),
    SEED: String(Math.floor(random() * 2 ** 31)),
    RUN: name,
    CRASH_AT: at,
    CRASH_ON: String(FIRST_KILL + Math.floor(random() * KILLS)),
  })
  await worker.killed()
  let heard = 0
  for (const said of worker.heard) {
    if (said.event !== 'answer') continue
    heard += 1
    answers.set(said.id, said.answer)
  }
  line(`${heard} callers had heard their answer, then the process was gone`)
  const inDoubt = await observer.inDoubt()
  showInDoubt(inDoubt, showAll)
  if (showAll) {
    // With a status of its own for "something is in doubt": not a failure here.
    line('unanimous list')
    quote((await runCli(['list'], stage.environment)).output)
  }
  const tookMs = await restart(stage)
  const [accounts, wallets] = await Promise.all([observer.accounts(), observer.wallets()])
  line(
    `accounts ${money(accounts.money)} + wallets ${money(wallets.money)} = ${money(accounts.money + wallets.money)}`,
  )
  line(
    `transfers ${number(accounts.transfers.size)} and ${number(wallets.transfers.size)}; from restart to nothing in doubt ${good(seconds(tookMs))}`,
  )
  return { tookMs, checks: checkBooks(accounts, wallets, answers) }
}

function showInDoubt(branches: readonly InDoubt[], showAll: boolean): void {
  const count = (database: string): number =>
    branches.filter((branch) => branch.database === database).length
  line(`in doubt: ${count('accounts')} in accounts, ${count('wallets')} in wallets`)
  if (!showAll) return
  for (const [database, source] of [
    ['accounts', 'pg_prepared_xacts'],
    ['wallets', 'XA RECOVER'],
  ]) {
    const ids = branches.filter((branch) => branch.database === database).map(({ id }) => id)
    if (ids.length > 0) quote([`${source}:`, ...ids.sort()].join('\n'))
  }
}

/**
 * Starts a process that opens the coordinator, and watches the databases.
 *
 * @returns ms from its start until it is open and neither database has anything prepared
 */
async function restart(stage: Stage): Promise<number> {
  const begin = performance.now()
  const worker = new Worker({ ...stage.environment, TRANSFERS: '0' })
  await worker.until('open')
  while ((await stage.observer.inDoubt()).length > 0) {
    if (performance.now() - begin > GIVE_UP_MS) throw new Error('something stays in doubt')
    await sleep(POLL_MS)
  }
  const tookMs = performance.now() - begin
  await worker.finish()
  return tookMs
}

function withinLimit(tookMs: number, limitMs: number): Check {
  return {
    what: `from restart to nothing in doubt within ${limitMs} ms`,
    wrong: tookMs <= limitMs ? undefined : `${Math.round(tookMs)} ms`,
  }
}
