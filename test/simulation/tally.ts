/** What many seeds add up to. */
import type { SeedResult } from './run.ts'

export interface Failure {
  readonly seed: number
  readonly violation: string
}

export interface Tally {
  seeds: number
  events: number
  virtualMs: number
  /** Of the processors, in ms: on a machine with other work the only fair measure. */
  cpuMs: number
  /** Seeds that were run twice, with equal hashes. */
  repeated: number
  readonly failures: Failure[]
  readonly faults: Record<string, number>
  readonly answers: Record<string, number>
  /** Crashes by the tenth of their run. */
  readonly tenths: number[]
}

const KEPT_FAILURES = 20

export function newTally(): Tally {
  const none = { seeds: 0, events: 0, virtualMs: 0, cpuMs: 0, repeated: 0 }
  return { ...none, failures: [], faults: {}, answers: {}, tenths: new Array(10).fill(0) }
}

export function addResult(tally: Tally, result: SeedResult): void {
  tally.seeds += 1
  tally.events += result.events
  tally.virtualMs += result.virtualMs
  addCounts(tally.faults, result.faults)
  addCounts(tally.answers, result.answers)
  addTenths(tally, result.tenths)
  if (result.violation !== undefined) addFailure(tally, result.seed, result.violation)
}

export function addTally(tally: Tally, other: Tally): void {
  tally.seeds += other.seeds
  tally.events += other.events
  tally.virtualMs += other.virtualMs
  tally.cpuMs += other.cpuMs
  tally.repeated += other.repeated
  addCounts(tally.faults, Object.entries(other.faults))
  addCounts(tally.answers, Object.entries(other.answers))
  addTenths(tally, other.tenths)
  for (const { seed, violation } of other.failures) addFailure(tally, seed, violation)
}

export function addFailure(tally: Tally, seed: number, violation: string): void {
  if (tally.failures.length < KEPT_FAILURES) tally.failures.push({ seed, violation })
}

function addCounts(
  counts: Record<string, number>,
  more: Iterable<readonly [string, number]>,
): void {
  for (const [kind, count] of more) counts[kind] = (counts[kind] ?? 0) + count
}

function addTenths(tally: Tally, tenths: readonly number[]): void {
  for (const [at, count] of tenths.entries()) tally.tenths[at] = (tally.tenths[at] ?? 0) + count
}
