/**
 * One variant of the transfer, in a process of its own. Commands come on the standard input, a line each,
 * and each is answered by a line of JSON, as those of the peers are (peers/src):
 *
 *   turn CALLERS MS      transfers by so many callers for so long
 *   once ROW             one transfer
 *   profile CALLERS MS   whose code takes the time, and whose allocates
 *
 * Its words: NAME DIRECTORY LEDGER-URL SHOP-URL. Pools are as large as there are callers.
 */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Opened, VARIANTS } from './banks.ts'
import { turn } from './measure.ts'
import { profile } from './profile.ts'
import { openPools, type Pools } from './world.ts'

const [name = '', directory = '', ledger = '', shop = ''] = process.argv.slice(2)

interface Stage {
  readonly callers: number
  readonly variant: Opened
  readonly pools: Pools
}

let stage: Stage | undefined

async function main(): Promise<void> {
  console.log('{}')
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(line.split(' '))))
  }
  await strike()
}

async function answer([command, ...words]: readonly string[]): Promise<object> {
  const [first = 0, forMs = 0] = words.map(Number)
  if (command === 'once') {
    const { variant } = stage ?? (await setUp(1))
    await variant.transfer(first)
    return {}
  }
  const { variant } = stage?.callers === first ? stage : await setUp(first)
  const { transfer, files } = variant
  if (command === 'turn') return await turn(transfer, files, first, forMs)
  if (command === 'profile') return await profile(transfer, first, forMs)
  throw new Error(`"${command}" is no command`)
}

/** Connections stay open from turn to turn, and are made anew where the number of callers changes. */
async function setUp(callers: number): Promise<Stage> {
  await strike()
  const open = VARIANTS.get(name)
  if (open === undefined) throw new Error(`"${name}" is no variant`)
  const pools = openPools({ ledger, shop }, callers)
  const variant = await open(pools, join(directory, String(callers)))
  stage = { callers, variant, pools }
  return stage
}

async function strike(): Promise<void> {
  const last = stage
  stage = undefined
  await last?.variant.close()
  await last?.pools.close()
}

await main()
