/**
 * The peers: transaction managers of the JVM that do what this library does, each with a durable log on
 * the same disk, and SQLAlchemy's two-phase session, which has none. bench/README.md has their settings.
 *
 * What a peer reports is believed only after `prove`: its transfers are in both databases, those that it
 * rolled back are in neither, and the server saw the two phases.
 */
import { join } from 'node:path'
import { LineProcess } from '../support/line-process.ts'
import { contender, WARM_CALLERS } from '../transfer/contenders.ts'
import type { Contender } from '../transfer/measure.ts'
import { MAX_CALLERS, openPools, ROWS_A_CALLER, type World } from '../transfer/world.ts'
import { type Built, buildJvm, buildPython } from './build.ts'

/** Whose program is built how, and which word comes first among those that it takes. */
const PEERS: readonly {
  readonly build: () => Built
  readonly names: Readonly<Record<string, readonly string[]>>
}[] = [
  {
    build: buildJvm,
    names: {
      Narayana: ['narayana'],
      'Narayana, journal': ['narayana-journal'],
      Atomikos: ['atomikos'],
    },
  },
  { build: buildPython, names: { SQLAlchemy: [] } },
]

const PROOFS = 60

export interface Peers {
  readonly all: readonly Contender[]
  close(): Promise<void>
}

/**
 * Builds, starts, warms and proves the peers.
 *
 * @param warmMs - how long each runs before it is measured, for the compiler of the JVM
 * @returns without those for which a tool is missing, after a line that says so
 */
export async function openPeers(
  world: World,
  directory: string,
  warmMs: number,
  report: (line: string) => void,
): Promise<Peers> {
  const { ledger, shop } = world.urls
  const sizes = [String(MAX_CALLERS), String(ROWS_A_CALLER)]
  const started = new Map<string, LineProcess>()
  const close = async (): Promise<void> => {
    await Promise.all([...started.values()].map((process) => process.stop()))
  }
  try {
    for (const { build, names } of PEERS) {
      report(`peers: making ${Object.keys(names).join('; ')}`)
      const built = build()
      if ('missing' in built) {
        report(`peers: left out: ${built.missing}`)
        continue
      }
      for (const [name, kind] of Object.entries(names)) {
        const log = join(directory, name.replaceAll(/\W+/g, '-'))
        const words = [...kind, log, ledger, shop, world.flavour, ...sizes]
        started.set(name, await LineProcess.start([...built.program, ...words]))
      }
    }
    for (const [name, process] of started) {
      await process.ask('turn', WARM_CALLERS, warmMs)
      report(`peers: ${name}: ${await prove(world, process)}`)
    }
  } catch (cause) {
    await close()
    throw cause
  }
  return { all: [...started].map(([name, process]) => contender(name, process)), close }
}

/** @throws when the databases do not hold what the peer says */
async function prove(world: World, process: LineProcess): Promise<string> {
  const pools = openPools(world.urls, 1)
  const { ledger, shop } = pools
  const number = (rows: unknown): number =>
    Number(Object.values((rows as object[])[0] ?? {}).at(-1))
  const look = async (): Promise<Readonly<Record<'ledger' | 'shop' | 'prepares', number>>> => ({
    ledger: number((await ledger.query('select sum(balance) from bench_account')).rows),
    shop: number((await shop.query('select sum(balance) from bench_account'))[0]),
    prepares: number((await shop.query(`show global status like 'Com_xa_prepare'`))[0]),
  })
  try {
    const before = await look()
    const { committed = 0 } = await process.ask<{ committed?: number }>('proof', PROOFS)
    const { count = 0 } = await process.ask<{ count?: number }>('turn', WARM_CALLERS, 200)
    const after = await look()
    const moved = committed + count
    const notes = 'select number from bench_proof order by number'
    const here = (await ledger.query<{ number: number }>(notes)).rows.map((row) => row.number)
    const there = ((await shop.query(notes))[0] as { number: number }[]).map((row) => row.number)
    const wrong = [
      here.length === committed && here.join() === there.join() ? '' : 'ids differ',
      before.ledger - after.ledger === moved && after.shop - before.shop === moved ? '' : 'sums',
      after.prepares - before.prepares >= moved ? '' : 'not all were prepared',
    ].filter(Boolean)
    if (wrong.length > 0) throw new Error(`what it says is not in the databases: ${wrong.join()}`)
    await ledger.query('delete from bench_proof')
    await shop.query('delete from bench_proof')
    return `${moved} transfers proven: ids on both sides, sums, ${after.prepares - before.prepares} prepares; ${PROOFS - committed} rolled back on both`
  } finally {
    await pools.close()
  }
}
