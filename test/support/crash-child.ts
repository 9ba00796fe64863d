/**
 * A process that dies at a named point of the protocol.
 *
 *   SCENARIO=commit      transfers that go through, then one that meets POINT
 *   SCENARIO=abort       the same, and the callback of the last one throws
 *   SCENARIO=accounts    the same, and the last one has written in the accounts only
 *   SCENARIO=wallets     the same, and the last one has written in the wallets only
 *   SCENARIO=open        opens the coordinator and recovers: POINT is met on the way
 *   SCENARIO=many        many transfers at a time, until the one that meets POINT the ON-th time
 *   SCENARIO=roll        the same, with segments of the log that are soon full
 *   POINT=prepare:before   where it kills itself with SIGKILL
 *
 * What callers heard goes to stdout, a line of JSON each, before anything else happens.
 */
import { writeSync } from 'node:fs'
import { TransactionError } from 'unanimous'
import { openPools, setting } from '../../examples/transfer/environment.ts'
import { drawTransfer, inParallel, randomFrom } from '../../examples/transfer/orders.ts'
import { type BankCoordinator, openBank, transfer } from '../../examples/transfer/transfer.ts'

const { SCENARIO = '', POINT, RUN = 'run', ON = '1' } = process.env
/** Points on the way of opening count from the start; the others only for the last transfer. */
let armed = SCENARIO === 'open'
let left = Number(ON)

function failpoint(name: string): void {
  if (!armed || name !== POINT) return
  left -= 1
  if (left === 0) process.kill(process.pid, 'SIGKILL')
}

function say(heard: { id: string; answer: string }): void {
  writeSync(1, `${JSON.stringify(heard)}\n`)
}

async function doom(bank: BankCoordinator): Promise<void> {
  const id = `${RUN}-last`
  switch (SCENARIO) {
    case 'commit':
      await transfer(bank, { id, from: { account: 1 }, to: { wallet: 1 }, amount: 100 })
      return
    case 'abort':
      await bank
        .transaction(async (tx) => {
          await tx.accounts.query('insert into one_side values ($1)', [id])
          await tx.wallets.query('insert into one_side values (?)', [id])
          throw new Error('changed my mind')
        })
        .catch(() => undefined)
      return
    case 'accounts':
      await bank.transaction((tx) => tx.accounts.query('insert into one_side values ($1)', [id]))
      return
    case 'wallets':
      await bank.transaction((tx) => tx.wallets.query('insert into one_side values (?)', [id]))
      return
    case 'many':
    case 'roll':
      await inParallel(orders(200), 12, (order) => one(bank, order))
  }
}

function orders(count: number) {
  const random = randomFrom(7)
  return Array.from({ length: count }, (_, index) => drawTransfer(random, `${RUN}-${index}`))
}

async function one(bank: BankCoordinator, order: ReturnType<typeof drawTransfer>): Promise<void> {
  const answer = await transfer(bank, order).then(
    () => 'committed',
    (cause: unknown) => (cause instanceof TransactionError ? cause.outcome : String(cause)),
  )
  say({ id: order.id, answer })
}

/** Read by the log alone: its size is no option of a coordinator. */
const log = {
  directory: setting('DECISIONS'),
  segmentBytes: SCENARIO === 'roll' ? 256 * 1_024 : 16 * 1_024 * 1_024,
}
const pools = openPools()
const bank = await openBank(pools.accounts, pools.wallets, {
  log,
  seams: { failpoints: failpoint },
})
if (SCENARIO === 'open') {
  // The first pass may be over before the end of the commit is durable: give it time to be met.
  await new Promise((resolve) => setTimeout(resolve, 3_000))
} else {
  for (const order of orders(2)) await one(bank, { ...order, id: `before-${order.id}` })
  armed = true
  await doom(bank)
}
await bank.close()
await pools.close()
