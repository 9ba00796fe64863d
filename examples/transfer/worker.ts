/**
 * A process that does transfers, and can be told to kill itself in the middle of one.
 *
 *   TRANSFERS=200     how many; 0: open the coordinator, which recovers, and wait for the end of stdin
 *   CONCURRENCY=16    how many at a time
 *   SEED=1            which transfers
 *   RUN=a             begins the id of each transfer, which must be new
 *   CRASH_AT=decide:after   CRASH_ON=30    SIGKILL when this point of the protocol is met the 30th time
 *
 * SIGTERM ends it in good order: nothing begins any more, what runs has DRAIN_MS (5,000) to end and is
 * rolled back then, what can be settled is. It exits with 0, or with 1 if something is left for the next
 * process on this log.
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
  /** `left`: transactions that the next process on this log will settle. */
  | { readonly event: 'done'; readonly left: number; readonly aborted: number }

/** What the caller of a transfer heard. */
export type Answer = 'committed' | 'rolled-back' | 'in-doubt' | 'heuristic'

function say(line: WorkerLine): void {
  let bytes = Buffer.from(`${JSON.stringify(line)}\n`)
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes))
    } catch (cause) {
      // The reader is behind, and the pipe does not block: nothing may happen before it has the line.
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'EAGAIN')) throw cause
    }
  }
}

/** After a SIGTERM: what has not begun need not be refused one by one. */
let closing = false
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
    if (closing) return
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
  // At its end, or at a SIGTERM, which closes it; an end that is no pipe's closes nothing.
  await new Promise((resolve) => process.stdin.once('end', resolve).once('close', resolve))
}

const pools = openPools()
const bank = await openBank(pools.accounts, pools.wallets, {
  log: setting(DECISIONS),
  seams: { failpoints: crashHere },
})
process.once('SIGTERM', () => {
  closing = true
  process.stdin.destroy()
  // What comes of it the last lines tell.
  bank.close({ drainMs: Number(process.env['DRAIN_MS'] || 5_000) }).catch(() => undefined)
})
say({ event: 'open', logId: bank.logId })
const count = Number(process.env['TRANSFERS'] || 0)
if (count > 0) await work(bank, count)
else await untilStdinEnds()
const { left, aborted } = await bank.close()
say({ event: 'done', left, aborted })
await pools.close()
process.exitCode = left === 0 ? 0 : 1
