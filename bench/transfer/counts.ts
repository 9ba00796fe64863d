/** What is counted, not timed: trips through a wire, and the latency that they cost. */
import { openContenders } from './contenders.ts'
import { median, rounds } from './measure.ts'
import { type Wire, wireTo } from './wire.ts'
import type { Urls } from './world.ts'

export interface Counts {
  readonly variant: string
  /** Trips a transfer to each database, by one caller. */
  readonly trips: { readonly ledger: number; readonly shop: number }
  /** p50 with the delay in each direction, of the yardstick's. */
  readonly latencyRatio: number
  readonly p50Ms: number
}

/** How long, in ms. */
interface Lengths {
  /** For the compiler, without a delay. */
  readonly warmMs: number
  readonly turnMs: number
  readonly delayMs: number
}

/** One caller, behind wires that add the delay to each direction. */
export async function count(
  urls: Urls,
  directory: string,
  { warmMs, turnMs, delayMs }: Lengths,
  yardstick: string,
): Promise<Counts[]> {
  const wires = { ledger: await wireTo(urls.ledger), shop: await wireTo(urls.shop) }
  const through = { ledger: wires.ledger.url, shop: wires.shop.url }
  const contenders = await openContenders(through, directory, warmMs)
  try {
    wires.ledger.slow(delayMs)
    wires.shop.slow(delayMs)
    const turns = await rounds(contenders.all, 1, 5, turnMs)
    const p50 = (name: string): number => median((turns.get(name) ?? []).map(({ p50Ms }) => p50Ms))
    const counts: Counts[] = []
    for (const one of contenders.all) {
      counts.push({
        variant: one.name,
        trips: await tripsOf((row) => one.once(row), wires),
        latencyRatio: p50(one.name) / p50(yardstick),
        p50Ms: p50(one.name),
      })
    }
    return counts
  } finally {
    await contenders.close()
    await wires.ledger.close()
    await wires.shop.close()
  }
}

/** The fewest of some transfers: recovery passes speak through the same wires now and then. */
async function tripsOf(
  transfer: (row: number) => Promise<void>,
  wires: { readonly ledger: Wire; readonly shop: Wire },
): Promise<{ ledger: number; shop: number }> {
  const least = { ledger: Number.POSITIVE_INFINITY, shop: Number.POSITIVE_INFINITY }
  for (let n = 0; n < 20; n += 1) {
    wires.ledger.takeTrips()
    wires.shop.takeTrips()
    await transfer(n % 8)
    least.ledger = Math.min(least.ledger, wires.ledger.takeTrips())
    least.shop = Math.min(least.shop, wires.shop.takeTrips())
  }
  return least
}
