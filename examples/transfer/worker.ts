/**
 * A process that does transfers, and can be told to kill itself in the middle of one.
 *
 *   TRANSFERS=200     how many; 0: open the coordinator, which recovers, and wait for the end of stdin
 *   CONCURRENCY=16    how many at a time
 *   SEED=1            which transfers
 *   RUN=a             begins the id of each transfer, which must be new
 *   CRASH_AT=decide:after   CRASH_ON=30    SIGKILL when this point of the protocol is met the 30th time
 *
 * It says what happened in lines of JSON, one for each answer that a caller heard. A line is written
 * before anything else can happen, so what the parent read before the kill is what was heard.
 */
import { writeSync } from 'node:fs'
import { TransactionError } from 'unanimous'
import { CONNECTIONS, DECISIONS, openPools, setting } from './environment.ts'
import { drawTransfer, inParallel, randomFrom } from './orders.ts'
import { type BankCoordinator, openBank, transfer } from './transfer.ts'

/** What the worker tells its parent. */
export type WorkerLine =
  | { readonly event: 'open'; readonly logId: string }
  | { readonly event: 'answer'; readonly id: string; readonly answer: Answer }
  | { readonly event: 'crash'; readonly at: string }
  | { readonly event: 'done' }

/** What the caller of a transfer heard. */
export type Answer = 'committed' | 'rolled-back' | 'in-doubt' | 'heuristic'

function say(line: WorkerLine): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

const crashAt = process.env['CRASH_AT']
let untilCrash = Number(process.env['CRASH_ON'] || 1)

function crashHere(point: string): void {
  if (point !== crashAt) return
  untilCrash -= 1
  if (untilCrash > 0) return
  say({ event: 'crash', at: point })
  process.kill(process.pid, 'SIGKILL')
}

async function work(bank: BankCoordinator, count: number): Promise<void> {
  const random = randomFrom(Number(process.env['SEED'] || 1))
  const orders = Array.from({ length: count }, (_, index) =>
    drawTransfer(random, `${process.env['RUN'] || 'run'}-${index + 1}`),
  )
  const width = Math.min(Number(process.env['CONCURRENCY'] || 16), CONNECTIONS)
  await inParallel(orders, width, async (order) => {
    const answer = await transfer(bank, order).then(
      () => 'committed' as const,
      (cause: unknown) => {
        if (cause instanceof TransactionError) return cause.outcome
        throw cause
      },
    )
    say({ event: 'answer', id: order.id, answer })
  })
}

async function untilStdinEnds(): Promise<void> {
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('end', resolve))
}

const pools = openPools()
const bank = await openBank(pools.accounts, pools.wallets, {
  log: setting(DECISIONS),
  seams: { failpoints: crashHere },
})
say({ event: 'open', logId: bank.logId })
const count = Number(process.env['TRANSFERS'] || 0)
if (count > 0) await work(bank, count)
else await untilStdinEnds()
await bank.close()
await pools.close()
say({ event: 'done' })
