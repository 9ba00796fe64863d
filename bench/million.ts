/**
 * Very many transactions in a row, and whether anything grows: `npm run bench -- million`.
 *
 *   --transactions <n>  (default 1,000,000)
 *   --callers <n>       (default 64, which is also the most)
 *   --steps <n>         looks at the heap (default 20)
 *   --mysql mariadb|mysql[:<version>], --postgres <version>   which servers
 *   --out <folder>      (default bench/results)
 *
 * Fails when the heap after a collection ends more than 10 MB above its start, when the log ever has more
 * than three segments, or when a transfer is not in both databases. The start is after a fiftieth of the
 * transactions (at least 2,000): pools are full and code is compiled then.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { NEXT_NAME, SPARE_NAME, segmentNumber } from '../src/log/segment-store.ts'
import { collectGarbage } from '../test/support/garbage.ts'
import { mysqlWish } from '../test/support/shared-servers.ts'
import { circumstances, RESULTS, saveResults } from './support/results.ts'
import { openOurs, plain } from './transfer/banks.ts'
import {
  MAX_CALLERS,
  openPools,
  ROWS_A_CALLER,
  startWorld,
  verifyAccounts,
} from './transfer/world.ts'

const HEAP_MB = 10
const SEGMENTS = 3
/** Between two looks at the log's directory, in ms. */
const LOOK_MS = 100

interface Step {
  readonly done: number
  readonly heapMb: number
  readonly rssMb: number
  readonly segments: number
  readonly seconds: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      transactions: { type: 'string', default: '1000000' },
      callers: { type: 'string', default: String(MAX_CALLERS) },
      steps: { type: 'string', default: '20' },
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      out: { type: 'string', default: RESULTS },
    },
  })
  const transactions = Number(values.transactions)
  const callers = Math.min(Number(values.callers), MAX_CALLERS)
  const directory = mkdtempSync(join(tmpdir(), 'unanimous-bench-'))
  const world = await startWorld({ version: values.postgres }, mysqlWish(values.mysql))
  const pools = openPools(world.urls, callers)
  const log = join(directory, 'decisions')
  const ours = await openOurs(log, pools, plain)
  try {
    console.log(`${world.title}, ${callers} callers`)
    const steps = await run({
      transfer: ours.transfer,
      log,
      transactions,
      callers,
      steps: Number(values.steps),
    })
    console.log(await verifyAccounts(world.urls))
    const { title, flavour } = world
    saveResults(values.out, `million-${flavour}`, { title, callers, ...circumstances(), steps })
    if (!verdict(steps)) process.exitCode = 1
  } finally {
    await ours.close()
    await pools.close()
    await world.stop()
    rmSync(directory, { recursive: true })
  }
}

interface Work {
  readonly transfer: (row: number) => Promise<void>
  readonly log: string
  readonly transactions: number
  readonly callers: number
  readonly steps: number
}

/** The first step is the start; each of the others ends with all callers at rest. */
async function run({ transfer, log, transactions, callers, steps }: Work): Promise<Step[]> {
  let begun = 0
  let mostSegments = 0
  const looking = setInterval(() => {
    mostSegments = Math.max(mostSegments, segmentsIn(log))
  }, LOOK_MS)
  const caller = async (until: number, index: number): Promise<void> => {
    while (begun < until) {
      begun += 1
      await transfer(index * ROWS_A_CALLER + (begun % ROWS_A_CALLER))
    }
  }
  const startedAt = performance.now()
  const done: Step[] = []
  const start = Math.min(Math.max(2_000, Math.ceil(transactions / 50)), transactions)
  try {
    for (let step = 0; step <= steps; step += 1) {
      const until = start + Math.round(((transactions - start) * step) / steps)
      await Promise.all(Array.from({ length: callers }, (_, index) => caller(until, index)))
      done.push(look(begun, Math.max(mostSegments, segmentsIn(log)), startedAt))
      mostSegments = 0
      const last = done.at(-1)
      if (last !== undefined) print(last, done[0] ?? last, transactions)
    }
  } finally {
    clearInterval(looking)
  }
  return done
}

function look(done: number, segments: number, startedAt: number): Step {
  collectGarbage()
  const { heapUsed, rss } = process.memoryUsage()
  return {
    done,
    heapMb: heapUsed / 1e6,
    rssMb: rss / 1e6,
    segments,
    seconds: (performance.now() - startedAt) / 1000,
  }
}

function segmentsIn(log: string): number {
  const isSegment = (name: string): boolean =>
    name === SPARE_NAME || name === NEXT_NAME || segmentNumber(name) !== undefined
  return readdirSync(log).filter(isSegment).length
}

function print(step: Step, start: Step, transactions: number): void {
  const pace = (step.done - start.done) / (step.seconds - start.seconds)
  const left = (transactions - step.done) / pace
  const ahead =
    Number.isFinite(left) && left > 0 ? `, about ${(left / 60).toFixed(1)} min left` : ''
  const rate = Number.isFinite(pace) ? `${pace.toFixed(0)} a second` : 'the start'
  console.log(
    `${String(step.done).padStart(9)}  heap ${step.heapMb.toFixed(1)} MB, rss ${step.rssMb.toFixed(0)} MB, at most ${step.segments} segments  ${rate}${ahead}`,
  )
}

function verdict(steps: readonly Step[]): boolean {
  const [start, last] = [steps[0], steps.at(-1)]
  if (start === undefined || last === undefined) return false
  const gained = last.heapMb - start.heapMb
  const segments = Math.max(...steps.map((step) => step.segments))
  const holds = gained <= HEAP_MB && segments <= SEGMENTS
  console.log(
    `${last.done} transactions in ${last.seconds.toFixed(0)} s: heap ${gained >= 0 ? '+' : ''}${gained.toFixed(1)} MB, at most ${HEAP_MB}; at most ${segments} segments of the log, at most ${SEGMENTS}: ${holds ? 'holds' : 'BROKEN'}`,
  )
  return holds
}

await main()
