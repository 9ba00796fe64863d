/**
 * A process of a cluster: opens a coordinator, and obeys `work` and `close` on stdin.
 *
 *   ROOT=…                      shares this root; or DIRECTORY=… and LOCK_WAIT_MS=… for a log alone
 *   SMALL=1                     small segments, on any file system, for a log alone
 *   TRANSFERS=50 RUN=a          what `work` does, 12 at a time
 *   POINT=decide:after ON=40    SIGKILL when this point is met for the 40th time
 *
 * What happens goes to stdout at once, a line of JSON each.
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { TransactionError, UnanimousError } from 'unanimous'
import { openPools } from '../../examples/transfer/environment.ts'
import { drawTransfer, inParallel, randomFrom } from '../../examples/transfer/orders.ts'
import { type BankCoordinator, openBank, transfer } from '../../examples/transfer/transfer.ts'

const { ROOT, DIRECTORY = '', LOCK_WAIT_MS = '0', TRANSFERS = '0', RUN = 'run' } = process.env
const { POINT, ON = '1', SMALL } = process.env
let left = Number(ON)

function say(line: { readonly event: string } & Readonly<Record<string, unknown>>): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

function failpoint(name: string): void {
  if (name !== POINT) return
  left -= 1
  if (left === 0) process.kill(process.pid, 'SIGKILL')
}

async function work(bank: BankCoordinator): Promise<void> {
  const random = randomFrom(RUN.charCodeAt(0))
  const orders = Array.from({ length: Number(TRANSFERS) }, (_, index) =>
    drawTransfer(random, `${RUN}-${index}`),
  )
  await inParallel(orders, 12, async (order) => {
    const answer = await transfer(bank, order).then(
      () => 'committed',
      (cause: unknown) => (cause instanceof TransactionError ? cause.outcome : String(cause)),
    )
    say({ event: 'answer', id: order.id, answer })
  })
  say({ event: 'done' })
}

const pools = openPools()
const log =
  ROOT === undefined
    ? {
        directory: DIRECTORY,
        lockWaitMs: Number(LOCK_WAIT_MS),
        // Read by the log alone: its size is no option of a coordinator.
        ...(SMALL === undefined ? {} : { segmentBytes: 256 * 1_024, allowUnsafeFileSystem: true }),
      }
    : { root: ROOT }
try {
  const bank = await openBank(pools.accounts, pools.wallets, {
    log,
    seams: { failpoints: failpoint },
  })
  bank.on('branch:reported', ({ id, why }) => say({ event: 'reported', id, why }))
  bank.on('branch:settled', ({ gtrid, by }) => {
    if (by === 'recovery') say({ event: 'settled', gtrid })
  })
  say({ event: 'open', logId: bank.logId })
  for await (const word of createInterface({ input: process.stdin })) {
    if (word === 'close') break
    await work(bank)
  }
  await bank.close()
} catch (cause) {
  if (!(cause instanceof UnanimousError)) throw cause
  say({ event: 'refused', code: cause.code })
}
await pools.close()
process.stdin.destroy()
