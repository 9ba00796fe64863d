/** Turns of a variant, and what became of many of them. */
import type { CountingFiles } from '../support/counting-files.ts'
import type { Transfer } from './variants.ts'
import { ROWS_A_CALLER } from './world.ts'

/** Whoever takes turns. */
export interface Contender {
  readonly name: string
  turn(callers: number, forMs: number): Promise<Turn>
}

/** One turn of one contender: so many transfers, of which the last ended after `tookMs`. */
export interface Turn {
  readonly count: number
  readonly tookMs: number
  readonly p50Ms: number
  /** Of the client's process, drivers and all, in µs a transfer. */
  readonly cpuUs: number
  /** Forced writes of the decision log a transfer; 0 where there is none, absent where nobody counts. */
  readonly forces?: number
}

export interface Row {
  readonly variant: string
  readonly callers: number
  /** Of the rounds' ratios to the yardstick: median, and the quarters around it. */
  readonly throughputRatio: Spread
  readonly latencyRatio: Spread
  readonly perSecond: number
  readonly p50Ms: number
  readonly cpuUs: number
  readonly forces: number
}

export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** Each contender in turn, round by round, and each round begins with another one. */
export async function rounds(
  contenders: readonly Contender[],
  callers: number,
  count: number,
  turnMs: number,
): Promise<Map<string, Turn[]>> {
  const turns = new Map<string, Turn[]>(contenders.map(({ name }) => [name, []]))
  // Pools fill, statements are compiled, the server is met.
  for (const contender of contenders) await contender.turn(callers, turnMs)
  for (let round = 0; round < count; round += 1) {
    for (let at = 0; at < contenders.length; at += 1) {
      const contender = contenders[(at + round) % contenders.length]
      if (contender !== undefined) {
        turns.get(contender.name)?.push(await contender.turn(callers, turnMs))
      }
    }
  }
  return turns
}

/** One turn in this process. @param files - of its decision log, where it has one */
export async function turn(
  transfer: Transfer,
  files: CountingFiles | undefined,
  callers: number,
  turnMs: number,
): Promise<Turn> {
  const forcesBefore = files?.forces ?? 0
  const cpuBefore = process.cpuUsage()
  const latencies = await run(transfer, callers, turnMs)
  const cpu = process.cpuUsage(cpuBefore)
  const count = latencies.values.length
  return {
    count,
    tookMs: latencies.tookMs,
    p50Ms: median(latencies.values),
    cpuUs: (cpu.user + cpu.system) / count,
    forces: ((files?.forces ?? 0) - forcesBefore) / count,
  }
}

export async function run(
  transfer: Transfer,
  callers: number,
  forMs: number,
): Promise<{ values: number[]; tookMs: number }> {
  const values: number[] = []
  const started = performance.now()
  const caller = async (_: unknown, index: number): Promise<void> => {
    for (let n = 0; performance.now() - started < forMs; n += 1) {
      const asked = performance.now()
      await transfer(index * ROWS_A_CALLER + (n % ROWS_A_CALLER))
      values.push(performance.now() - asked)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return { values, tookMs: performance.now() - started }
}

export function rowsOf(
  turns: ReadonlyMap<string, readonly Turn[]>,
  callers: number,
  yardstick: string,
): Row[] {
  const measure = turns.get(yardstick) ?? []
  const pace = (turn: Turn | undefined): number => (turn === undefined ? 0 : perSecond(turn))
  return [...turns].map(([variant, own]) => ({
    variant,
    callers,
    throughputRatio: spread(own.map((one, at) => perSecond(one) / pace(measure[at]))),
    latencyRatio: spread(own.map((one, at) => one.p50Ms / (measure[at]?.p50Ms ?? 0))),
    perSecond: median(own.map(perSecond)),
    p50Ms: median(own.map((one) => one.p50Ms)),
    cpuUs: median(own.map((one) => one.cpuUs)),
    forces: median(own.map((one) => one.forces ?? Number.NaN)),
  }))
}

export function perSecond({ count, tookMs }: Turn): number {
  return (count / tookMs) * 1000
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function spread(values: readonly number[]): Spread {
  return {
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
  }
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN
}
