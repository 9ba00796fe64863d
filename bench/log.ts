/**
 * What a decision costs: `npm run bench -- log`.
 *
 * The log against a bare loop of write and fdatasync, of as many bytes, through the same kind of
 * call (promises of the file-system port), on a preallocated file in the same directory; in turns,
 * so that the disk's moods meet both; a ratio is the median of those of the rounds. Then what opening costs after many transactions, disk use and
 * heap.
 *
 *   --seconds <n>  of each measurement (default 3)
 *   --past <n>     transactions of the larger log (default 1,000,000)
 *   --dir <path>   on the disk that is meant (default: the folder for temporary files)
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock, systemRandom } from '../src/clock.ts'
import { noFailpoints } from '../src/failpoint.ts'
import type { CommitRecord, DecisionLog } from '../src/log/decision-log.ts'
import { type OpenFile, writeAll } from '../src/log/file-system.ts'
import { nodeFileSystem } from '../src/log/node-file-system.ts'
import { type LogSeams, openFileDecisionLog } from '../src/log/open-log.ts'
import { countingFiles } from './support/counting-files.ts'

const PAGE = 4096
const BARE_BYTES = 16 * 1024 * 1024
/** Short rounds, and ratios within each of them: a busy machine's moods then meet both alike. */
const ROUNDS = 24
const FILES = countingFiles()
const SEAMS: LogSeams = {
  clock: systemClock,
  random: systemRandom,
  files: FILES,
  failpoints: noFailpoints,
  onEvent: (event) => console.log(event),
}
const STARTED_AT_MS = 1_795_000_000_000
const BRANCHES: CommitRecord['branches'] = [
  {
    participant: 'ledger',
    bqual: 'ledger',
    server: { server: '7312312312312312312', startedAtMs: STARTED_AT_MS, timeline: '00000001' },
    xid8: '1234567',
    marker: true,
  },
  {
    participant: 'shop',
    bqual: 'shop.4711',
    server: { server: '5ad8c1f0-0000-11ee-8000-000000000001', startedAtMs: STARTED_AT_MS },
    marker: true,
  },
]

interface Sample {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly perForce: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '3' },
      past: { type: 'string', default: '1000000' },
      dir: { type: 'string', default: tmpdir() },
    },
    allowPositionals: true,
  })
  const root = mkdtempSync(join(values.dir, 'unanimous-bench-'))
  try {
    await decisions(root, Number(values.seconds) * 1000)
    await openings(root, Number(values.past))
  } finally {
    rmSync(root, { recursive: true })
  }
}

async function decisions(root: string, lastMs: number): Promise<void> {
  const opened = await openFileDecisionLog({ directory: join(root, 'decisions') }, SEAMS)
  const log = await opened.start()
  const file = await preallocate(join(root, 'bare'))
  console.log('callers  what                 per s   p50 ms   p99 ms   decisions a force')
  for (const callers of [1, 16, 256]) {
    const bare: Sample[] = []
    const single: Sample[] = []
    const ours: Sample[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      bare.push(await measureBare(file, lastMs / ROUNDS, 2 * PAGE))
      single.push(await measureBare(file, lastMs / ROUNDS, PAGE))
      ours.push(await measureLog(log, callers, lastMs / ROUNDS))
    }
    const [b, s, o] = [median(bare), median(single), median(ours)]
    print(callers, 'bare loop, 8 KiB', b)
    print(callers, 'bare loop, 4 KiB', s)
    print(callers, 'decisions', o)
    console.log(
      `${''.padStart(7)}  p50 ${paired(ours, bare, 'p50')} of the bare loop, rate ${paired(ours, bare, 'perSecond')}; the second copy alone ${paired(bare, single, 'p50')}`,
    )
  }
  await log.close()
  await file.close()
}

async function openings(root: string, past: number): Promise<void> {
  const times = new Map<number, number>()
  for (const count of [1000, past]) {
    const directory = join(root, `past-${count}`)
    const log = await (await openFileDecisionLog({ directory }, SEAMS)).start()
    const before = heapMiB()
    await transact(log, count)
    const after = heapMiB()
    await log.close()
    const best = Math.min(...(await repeat(5, () => openOnce(directory))))
    times.set(count, best)
    const bytes = readdirSync(directory).map((name) => statSync(join(directory, name)).size)
    const disk = bytes.reduce((sum, size) => sum + size, 0) / 1024 / 1024
    console.log(
      `${count} past transactions: open and start ${best.toFixed(1)} ms, on disk ${disk.toFixed(1)} MiB, heap ${before.toFixed(1)} MiB before and ${after.toFixed(1)} MiB after`,
    )
  }
  console.log(`opening: ${ratio(times.get(past) ?? 0, times.get(1000) ?? 1)}`)
}

async function openOnce(directory: string): Promise<number> {
  const started = performance.now()
  const log = await (await openFileDecisionLog({ directory }, SEAMS)).start()
  const took = performance.now() - started
  await log.close()
  return took
}

async function transact(log: DecisionLog, count: number): Promise<void> {
  let left = count
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1
      const gtrid = log.begin()
      await log.decide(transfer(gtrid))
      settle(log, gtrid)
    }
  }
  await Promise.all(Array.from({ length: Math.min(256, count) }, worker))
}

async function measureLog(log: DecisionLog, callers: number, forMs: number): Promise<Sample> {
  const latencies: number[] = []
  const forcesBefore = FILES.forces
  const started = performance.now()
  const caller = async (): Promise<void> => {
    while (performance.now() - started < forMs) {
      const gtrid = log.begin()
      const record = transfer(gtrid)
      const asked = performance.now()
      await log.decide(record)
      latencies.push(performance.now() - asked)
      settle(log, gtrid)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return sample(
    latencies,
    performance.now() - started,
    latencies.length / (FILES.forces - forcesBefore),
  )
}

async function measureBare(file: OpenFile, forMs: number, size: number): Promise<Sample> {
  const bytes = Buffer.alloc(size, 1)
  const latencies: number[] = []
  const started = performance.now()
  let at = 0
  while (performance.now() - started < forMs) {
    const asked = performance.now()
    await writeAll(file, [bytes], at)
    await file.sync()
    latencies.push(performance.now() - asked)
    at = (at + size) % BARE_BYTES
  }
  return sample(latencies, performance.now() - started, 1)
}

function settle(log: DecisionLog, gtrid: string): void {
  log.release(gtrid)
  unawaited(log.answered(gtrid, 'ledger', 'committed'))
  unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
  unawaited(log.end(gtrid))
}

/** These ride on the next force. */
function unawaited(promise: Promise<void>): void {
  promise.catch(() => undefined)
}

async function preallocate(path: string): Promise<OpenFile> {
  const file = await nodeFileSystem.open(path, 'write')
  await writeAll(file, [Buffer.alloc(BARE_BYTES)], 0)
  await file.sync()
  return file
}

function transfer(gtrid: string): CommitRecord {
  return { gtrid, decidedAtMs: Date.now(), name: 'transfer', branches: BRANCHES }
}

function sample(latencies: number[], tookMs: number, perForce: number): Sample {
  const sorted = latencies.toSorted((a, b) => a - b)
  const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? 0
  return { perSecond: (latencies.length / tookMs) * 1000, p50: at(0.5), p99: at(0.99), perForce }
}

function median(samples: readonly Sample[]): Sample {
  const of = (pick: (one: Sample) => number): number =>
    samples.map(pick).toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? 0
  return {
    perSecond: of((one) => one.perSecond),
    p50: of((one) => one.p50),
    p99: of((one) => one.p99),
    perForce: of((one) => one.perForce),
  }
}

/** The median of the rounds' ratios. */
function paired(a: readonly Sample[], b: readonly Sample[], what: 'p50' | 'perSecond'): string {
  const ratios = a.map((one, round) => one[what] / (b[round]?.[what] ?? Number.NaN))
  return `${(ratios.toSorted((x, y) => x - y)[Math.floor(ratios.length / 2)] ?? 0).toFixed(2)}×`
}

async function repeat<T>(times: number, run: () => Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let n = 0; n < times; n += 1) results.push(await run())
  return results
}

function print(callers: number, what: string, one: Sample): void {
  console.log(
    `${String(callers).padStart(7)}  ${what.padEnd(18)} ${one.perSecond.toFixed(0).padStart(8)} ${one.p50.toFixed(3).padStart(8)} ${one.p99.toFixed(3).padStart(8)} ${one.perForce.toFixed(1).padStart(8)}`,
  )
}

function ratio(a: number, b: number): string {
  return `${(a / b).toFixed(2)}×`
}

function heapMiB(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed / 1024 / 1024
}

mkdirSync(tmpdir(), { recursive: true })
await main()
