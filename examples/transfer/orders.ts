/** Transfers drawn by a seed: the same seed asks for the same money to move. */
import { createHash } from 'node:crypto'
import { PLACES } from './schema.ts'
import type { Transfer } from './transfer.ts'

/** From 0 up to, and without, 1. */
export type Random = () => number

const MAX_AMOUNT = 5_000

export function randomFrom(seed: number): Random {
  let drawn = 0
  return () => {
    drawn += 1
    return createHash('sha256').update(`${seed}:${drawn}`).digest().readUInt32BE() / 2 ** 32
  }
}

/** A transfer between any account and any wallet, either way. */
export function drawTransfer(random: Random, id: string): Transfer {
  const account = { account: 1 + Math.floor(random() * PLACES) }
  const wallet = { wallet: 1 + Math.floor(random() * PLACES) }
  const amount = 1 + Math.floor(random() * MAX_AMOUNT)
  const [from, to] = random() < 0.5 ? [account, wallet] : [wallet, account]
  return { id, from, to, amount }
}

/** Runs `each` over the items, at most `width` at a time, in order. Stops at the first failure. */
export async function inParallel<T>(
  items: readonly T[],
  width: number,
  each: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values()
  const one = async (): Promise<void> => {
    for (const item of rest) await each(item)
  }
  await Promise.all(Array.from({ length: width }, one))
}
