/** The part without crashes: many transfers at a time, and one for more than there is. */

import { TransactionError } from 'unanimous'
import { messageOf } from '../../../test/support/servers/server.ts'
import { drawTransfer, inParallel, randomFrom } from '../orders.ts'
import { START_BALANCE } from '../schema.ts'
import { openBank, transfer } from '../transfer.ts'
import type { Answer } from '../worker.ts'
import type { DemoOptions } from './options.ts'
import { line, number, Progress, seconds } from './screen.ts'
import { atEnd, type Stage } from './stage.ts'

export const CONCURRENCY = 16

/** @throws when a transfer does anything unexpected */
export async function load(
  stage: Stage,
  options: DemoOptions,
  answers: Map<string, Answer>,
): Promise<void> {
  const bank = await openBank(stage.pools.accounts, stage.pools.wallets, { log: stage.decisions })
  stage.observer.only(bank.logId)
  atEnd(() => bank.close())
  try {
    const random = randomFrom(options.seed)
    const orders = Array.from({ length: options.transfers }, (_, index) =>
      drawTransfer(random, `load-${index + 1}`),
    )
    const progress = new Progress(orders.length, 'transfers')
    const begin = performance.now()
    await inParallel(orders, CONCURRENCY, async (order) => {
      await transfer(bank, order)
      answers.set(order.id, 'committed')
      progress.tick()
    })
    const ms = performance.now() - begin
    const rate = number(Math.round((orders.length / ms) * 1_000))
    line(
      `committed ${number(orders.length)}, ${CONCURRENCY} at a time: ${seconds(ms)}, ${rate} a second`,
    )
    const tooMuch = { id: 'too-much', from: { account: 1 }, to: { wallet: 1 } }
    const refused = await refusal(transfer(bank, { ...tooMuch, amount: 100 * START_BALANCE }))
    answers.set(tooMuch.id, 'rolled-back')
    line('one for a hundred times what the account has:')
    for (const [word, value] of Object.entries(refused)) line(`  ${word.padEnd(8)} ${value}`)
  } finally {
    await bank.close()
  }
}

/** What the caller of a refused transfer hears. @throws when it is not refused in order */
async function refusal(asked: Promise<unknown>): Promise<Readonly<Record<string, string>>> {
  const cause = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(cause instanceof TransactionError) || cause.outcome !== 'rolled-back') {
    throw new Error('a transfer without funds was not refused', { cause })
  }
  const { code, outcome, hint = '' } = cause
  return { code, outcome, hint, cause: messageOf(cause.cause) }
}
