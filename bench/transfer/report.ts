/** Results of the transfer as lines for people. */
import type { Counts } from './counts.ts'
import type { Row } from './measure.ts'
import type { Profile } from './profile.ts'

export function printRows(rows: readonly Row[]): void {
  console.log(
    'callers  variant                 throughput          latency  per s   p50 ms  CPU µs  forces',
  )
  for (const row of rows) {
    const { median, low, high } = row.throughputRatio
    const cells = [
      String(row.callers).padStart(7),
      ` ${row.variant.padEnd(22)}`,
      `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`.padEnd(18),
      row.latencyRatio.median.toFixed(2).padStart(8),
      row.perSecond.toFixed(0).padStart(6),
      row.p50Ms.toFixed(2).padStart(8),
      row.cpuUs.toFixed(0).padStart(7),
      (Number.isNaN(row.forces) ? '–' : row.forces.toFixed(2)).padStart(7),
    ]
    console.log(cells.join(' '))
  }
  console.log()
}

export function printCounts(counts: readonly Counts[], delayMs: number): void {
  console.log(
    `1 caller, ${delayMs} ms each way: latency ratio, p50, and trips to PostgreSQL and MySQL`,
  )
  for (const { variant, latencyRatio, p50Ms, trips } of counts) {
    console.log(
      `         ${variant.padEnd(22)} ${latencyRatio.toFixed(2)} ${p50Ms.toFixed(1).padStart(8)} ms   ${trips.ledger} ${trips.shop}`,
    )
  }
  console.log()
}

export function printProfile({ timePercent, allocatedKiB }: Profile, of: string): void {
  console.log(`${of}: % of the main thread, KiB allocated a transfer`)
  for (const [owner, percent] of Object.entries(timePercent).toSorted(([, a], [, b]) => b - a)) {
    const kib = allocatedKiB[owner] ?? 0
    console.log(
      `         ${owner.padEnd(20)} ${percent.toFixed(1).padStart(5)} % ${kib.toFixed(1).padStart(7)}`,
    )
  }
}
