/**
 * One module over pools and four query libraries, unchanged: outside of transactions, inside one, and
 * inside one that the other database refuses.
 */
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { Database, Pools } from '../support/libraries/library.ts'
import { openModule, type Piece } from '../support/libraries/module.ts'
import { openLibraries } from '../support/libraries/world.ts'
import { refused } from '../support/refused.ts'

const world = await openLibraries()
const { coordinator, plain } = world
const pieces = await openModule(world.pools, world.type)
await plain.ledger.query(
  'create table late (id integer unique deferrable initially deferred, v integer)',
)

let cases = 0
afterAll(async () => {
  console.log(`${cases} cases of the mixed module, on ${world.servers}`)
  await world.close()
})
beforeEach(async () => {
  cases += 1
  await world.empty()
})

/** Every piece after the other, 10 rows apart. */
async function whole(): Promise<void> {
  for (const [at, { work }] of pieces.entries()) await work(at * 10)
}

const WHOLE: Readonly<Record<Database, readonly number[]>> = {
  ledger: pieces.flatMap(({ database }, at) =>
    database === 'ledger' ? [at * 10, at * 10 + 1] : [],
  ),
  shop: pieces.flatMap(({ database }, at) => (database === 'shop' ? [at * 10, at * 10 + 1] : [])),
}
const NOTHING = { ledger: [], shop: [] }

async function held(): Promise<Readonly<Record<Database, readonly number[]>>> {
  return { ledger: await world.ids('ledger'), shop: await world.ids('shop') }
}

describe('the mixed module', () => {
  it('runs outside', async () => {
    await whole()
    expect(await held()).toEqual(WHOLE)
  })

  it('runs inside, and nothing of it is seen before the end', async () => {
    await coordinator.transaction(async () => {
      await whole()
      expect(await held()).toEqual(NOTHING)
    })
    expect(await held()).toEqual(WHOLE)
  })

  it('runs in a nested one that is taken back, and once more', async () => {
    await coordinator.transaction(async () => {
      const nested = coordinator.transaction(
        async () => {
          await whole()
          throw new Error('no')
        },
        { propagation: 'nested' },
      )
      await refused(nested, { code: 'CALLBACK_FAILED' })
      await whole()
    })
    expect(await held()).toEqual(WHOLE)
  })
})

/** How a database refuses, on its branch. */
const REFUSALS: Readonly<Record<string, (database: Database) => Promise<unknown>>> = {
  'a statement': (database) => query(world.pools, database, 'insert into nowhere values (1)'),
  // The server finds it when it votes.
  'its vote': async (database) => {
    if (database === 'ledger') {
      await world.pools.ledger.query('insert into late values (1, 1), (1, 2)')
      return
    }
    await world.killShopBranch()
  },
}

function query(pools: Pools, database: Database, text: string): Promise<unknown> {
  return database === 'ledger' ? pools.ledger.query(text) : pools.shop.query(text)
}

const named = ({ name, database }: Piece): string => `${name} on ${database}`

describe.each(Object.entries(REFUSALS))('refused by %s of the other database', (by, refuse) => {
  let returned = false
  const then = async (work: () => Promise<void>, database: Database): Promise<void> => {
    returned = false
    await work()
    await refuse(database)
    returned = true
  }

  it.each(pieces.map((piece) => [named(piece), piece] as const))('%s', async (_, piece) => {
    const other = piece.database === 'ledger' ? 'shop' : 'ledger'
    const ended = coordinator.transaction(() => then(() => piece.work(0), other))
    await refused(ended, { outcome: 'rolled-back', hint: false })
    expect(returned).toBe(by === 'its vote')
    expect(await held()).toEqual(NOTHING)
  })

  it.each(['ledger', 'shop'] as const)('the whole, by %s', async (database) => {
    const ended = coordinator.transaction(() => then(whole, database))
    await refused(ended, { outcome: 'rolled-back', hint: false })
    expect(returned).toBe(by === 'its vote')
    expect(await held()).toEqual(NOTHING)
  })
})

const pairs = pieces.flatMap((piece) =>
  pieces
    .filter(({ database }) => database !== piece.database)
    .map((clashing) => [named(piece), named(clashing), piece, clashing] as const),
)

describe('refused by a row that is there', () => {
  it.each(pairs)('%s, refused to %s', async (_piece, _clashing, piece, clashing) => {
    await query(plain, clashing.database, 'insert into item values (1, 1)')
    const ended = coordinator.transaction(async () => {
      await piece.work(0)
      // Its plain row is new, the one of its own transaction is not.
      await clashing.work(0)
    })
    await refused(ended, { code: 'CALLBACK_FAILED', outcome: 'rolled-back' })
    expect(await held()).toEqual({ ...NOTHING, [clashing.database]: [1] })
  })
})
