/**
 * What the ambient pools cost outside of a transaction: `npx tsx bench/ambient.ts`.
 *
 * Trivial queries through the plain pool and through its drop-in, in turns of a few hundred, so that
 * the machine's moods meet both; the CPU of this process only. Where a turn comes first changes from
 * round to round.
 *
 *   --calls <n>  through each of the two (default 200,000)
 *   --most <%>   fail when the drop-in costs more (default 3)
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { mysql } from '../adapters/mysql2/index.ts'
import { postgres } from '../adapters/pg/index.ts'
import { Coordinator } from '../src/index.ts'
import { startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'

const TURN = 500
const AT_ONCE = 10

type Call = () => Promise<unknown>

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { calls: { type: 'string' }, most: { type: 'string' } },
  })
  const calls = Number(values.calls ?? 200_000)
  const most = Number(values.most ?? 3)
  const options = { report: (line: string): void => console.error(line) }
  const [ledgerServer, shopServer] = [
    await startPostgres({}, options),
    await startMysqlFamily({}, options),
  ]
  const ledger = new pg.Pool({ connectionString: ledgerServer.url, max: AT_ONCE })
  const shop = createPool({ uri: shopServer.url, connectionLimit: AT_ONCE })
  const directory = await mkdtemp(join(tmpdir(), 'unanimous-bench-'))
  const coordinator = await Coordinator.open({
    log: { directory: join(directory, 'decisions'), allowUnsafeFileSystem: true },
    participants: { ledger: postgres(ledger), shop: mysql(shop) },
  })
  const ambient = { ledger: coordinator.pool('ledger'), shop: coordinator.pool('shop') }
  try {
    const costs = [
      await compare(
        'pg.Pool',
        calls,
        () => ledger.query('select 1'),
        () => ambient.ledger.query('select 1'),
      ),
      await compare(
        'mysql2/promise',
        calls,
        () => shop.query('select 1'),
        () => ambient.shop.query('select 1'),
      ),
    ]
    const worst = Math.max(...costs)
    const verdict = worst <= most ? 'holds' : 'BROKEN'
    console.log(
      `ambient: at most ${most} % more CPU: ${verdict} (at most ${worst.toFixed(2)} % measured)`,
    )
    if (worst > most) process.exitCode = 1
  } finally {
    await coordinator.close()
    await ledger.end()
    await shop.end()
    await ledgerServer.stop()
    await shopServer.stop()
    await rm(directory, { recursive: true })
  }
}

/** Answers what the drop-in costs more, in percent of the plain pool's CPU. */
async function compare(name: string, calls: number, plain: Call, dropIn: Call): Promise<number> {
  await turn(plain, 20 * TURN)
  await turn(dropIn, 20 * TURN)
  const used = { plain: 0, dropIn: 0 }
  const ratios: number[] = []
  for (let round = 0; round < calls / TURN; round += 1) {
    const first = round % 2 === 0
    const before = first ? await turn(plain, TURN) : await turn(dropIn, TURN)
    const after = first ? await turn(dropIn, TURN) : await turn(plain, TURN)
    const [one, other] = first ? [before, after] : [after, before]
    used.plain += one
    used.dropIn += other
    ratios.push(other / one)
  }
  const percent = (used.dropIn / used.plain - 1) * 100
  const median = ((ratios.sort((a, b) => a - b)[ratios.length >> 1] ?? 1) - 1) * 100
  const each = (micros: number): string => (micros / calls).toFixed(2)
  console.log(
    `${name}: ${calls} calls each, ${each(used.plain)} µs plain, ${each(used.dropIn)} µs through the ` +
      `ambient pool: ${percent.toFixed(2)} % more (median of ${ratios.length} rounds ${median.toFixed(2)} %)`,
  )
  return percent
}

/** Runs the calls, some at once; answers the CPU that they took, in microseconds. */
async function turn(call: Call, calls: number): Promise<number> {
  const from = process.cpuUsage()
  const lane = async (): Promise<void> => {
    for (let left = calls / AT_ONCE; left > 0; left -= 1) await call()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
  const { user, system } = process.cpuUsage(from)
  return user + system
}

await main()
