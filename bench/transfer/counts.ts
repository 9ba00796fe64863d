/** What is counted, not timed: trips through a wire, and the latency that they cost. */
import { openVariants } from './banks.ts'
import { inThisProcess, median, rounds } from './measure.ts'
import { type Wire, wireTo } from './wire.ts'
import { openPools, type Urls } from './world.ts'

export interface Counts {
  readonly variant: string
  /** Trips a transfer to each database, by one caller. */
  readonly trips: { readonly ledger: number; readonly shop: number }
  /** p50 with the delay in each direction, of the yardstick's. */
  readonly latencyRatio: number
  readonly p50Ms: number
}

/** One caller, behind wires that add the delay to each direction. */
export async function count(
  urls: Urls,
  directory: string,
  delayMs: number,
  turnMs: number,
  yardstick: string,
): Promise<Counts[]> {
  const wires = {
    ledger: await wireTo(urls.ledger, delayMs),
    shop: await wireTo(urls.shop, delayMs),
  }
  const pools = openPools({ ledger: wires.ledger.url, shop: wires.shop.url }, 2)
  const variants = await openVariants(pools, directory)
  try {
    const turns = await rounds(variants.all.map(inThisProcess), 1, 5, turnMs)
    const p50 = (name: string): number => median((turns.get(name) ?? []).map(({ p50Ms }) => p50Ms))
    const counts: Counts[] = []
    for (const { name, transfer } of variants.all) {
      counts.push({
        variant: name,
        trips: await tripsOf(transfer, wires),
        latencyRatio: p50(name) / p50(yardstick),
        p50Ms: p50(name),
      })
    }
    return counts
  } finally {
    await variants.close()
    await pools.close()
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
