/**
 * What code over a query library may do inside a transaction, and what becomes of it: the same table
 * for each library, over PostgreSQL and over MySQL or MariaDB. Work is in the other database too, so
 * that a commit is one in two phases.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TransactionErrorCode } from 'unanimous'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { Held, Library } from '../support/libraries/library.ts'
import { openLibraries } from '../support/libraries/world.ts'
import { refused } from '../support/refused.ts'

const world = await openLibraries()
const { coordinator } = world
afterAll(() => world.close())
beforeEach(() => world.empty())

interface Row {
  readonly does: string
  readonly only?: (library: Library) => boolean
  readonly before?: (library: Library) => Promise<unknown>
  readonly work: (library: Library) => Promise<unknown>
  /** What the caller hears; `undefined`: it commits. */
  readonly code?: TransactionErrorCode | ((library: Library) => TransactionErrorCode | undefined)
  /** Once it has ended, wherever the caller runs. */
  readonly after?: () => Promise<unknown>
  readonly holds: readonly number[] | ((library: Library) => readonly number[])
}

const late: Promise<unknown>[] = []
let held: Held | undefined

const onPostgres = (library: Library): boolean => library.database === 'ledger'

const TABLE: readonly Row[] = [
  {
    does: 'sends COMMIT',
    work: async (library) => {
      await library.insert(1)
      await library.run('COMMIT').catch(() => undefined)
    },
    code: 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'commits a transaction of its own, and rolls another back',
    work: async (library) => {
      await library.insert(1)
      await library.nested((inner) => inner.insert(2))
      await library
        .nested(async (inner) => {
          await inner.insert(3)
          throw new Error('no')
        })
        .catch(() => undefined)
    },
    holds: [1, 2],
  },
  {
    does: 'rolls back one inside one, and commits that',
    work: (library) =>
      library.nested(async (inner) => {
        await inner.insert(1)
        await inner.deeper((deep) => deep.insert(2))
        await inner
          .deeper(async (deep) => {
            await deep.insert(3)
            throw new Error('no')
          })
          .catch(() => undefined)
        await inner.insert(4)
      }),
    holds: [1, 2, 4],
  },
  {
    does: 'sends COMMIT in a transaction of its own',
    work: (library) =>
      library
        .nested(async (inner) => {
          await inner.insert(1)
          await inner.run('COMMIT')
          await inner.insert(2)
        })
        .catch(() => undefined),
    code: 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'swallows an error of SQL',
    work: async (library) => {
      await library.insert(1)
      await library.insert(1).catch(() => undefined)
    },
    // PostgreSQL aborts the block; MySQL and MariaDB take the one statement back.
    code: (library) => (onPostgres(library) ? 'STATEMENT_FAILED' : undefined),
    holds: (library) => (onPostgres(library) ? [] : [1]),
  },
  {
    does: 'swallows an error that rolled a transaction of its own back',
    work: async (library) => {
      await library.insert(1)
      await library
        .nested(async (inner) => {
          await inner.insert(2)
          await inner.insert(1)
        })
        .catch(() => undefined)
    },
    holds: [1],
  },
  {
    does: 'sends ten queries at once',
    work: (library) => Promise.all(Array.from({ length: 10 }, (_, id) => library.insert(id))),
    holds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  },
  {
    does: 'runs transactions of its own at once, one inside each, and all commit',
    work: (library) =>
      Promise.all(
        [1, 2, 3].map((id) =>
          library.nested(async (inner) => {
            await inner.insert(id)
            await sleep(5)
            await inner.deeper((deep) => deep.insert(id + 10))
          }),
        ),
      ),
    holds: [1, 2, 3, 11, 12, 13],
  },
  {
    does: 'asks for an isolation that the branch has',
    work: (library) => library.nested((inner) => inner.insert(1), 'read committed'),
    holds: [1],
  },
  {
    does: 'asks for an isolation that the branch has not',
    work: (library) =>
      library.nested((inner) => inner.insert(1), 'serializable').catch(() => undefined),
    code: 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'reads a stream to its end',
    only: ({ stream }) => stream !== undefined,
    work: async (library) => {
      let rows = 0
      for await (const _row of (await library.stream?.()) ?? []) rows += 1
      await library.insert(rows)
    },
    holds: [1000],
  },
  {
    does: 'reads a stream to half, and goes on',
    only: ({ stream }) => stream !== undefined,
    work: async (library) => {
      let rows = 0
      for await (const _row of (await library.stream?.()) ?? []) if (++rows === 500) break
      await library.insert(rows)
    },
    holds: [500],
  },
  {
    does: 'reads a stream to half, and returns',
    only: ({ stream }) => stream !== undefined,
    work: async (library) => {
      await library.insert(1)
      let rows = 0
      for await (const _row of (await library.stream?.()) ?? []) if (++rows === 500) break
    },
    // knex closes what it reads from a few ticks after the loop was left.
    code: ({ name }) => (name === 'knex' ? 'WORK_STILL_RUNNING' : undefined),
    holds: ({ name }) => (name === 'knex' ? [] : [1]),
  },
  {
    does: 'returns without awaiting a query',
    work: async (library) => {
      await library.insert(1)
      library
        .run(onPostgres(library) ? 'select pg_sleep(1)' : 'select sleep(1)')
        .catch(() => undefined)
      // Until then the library has not asked for a connection: its query would be refused.
      await sleep(50)
    },
    code: 'WORK_STILL_RUNNING',
    holds: [],
  },
  {
    does: 'returns with a transaction of its own open',
    work: async (library) => {
      held = await library.hold()
      await held.insert(1)
    },
    code: 'WORK_STILL_RUNNING',
    after: async () => {
      await expect(held?.insert(2)).rejects.toSatisfy(saying('TRANSACTION_ENDED'))
      await coordinator.transaction(async () => {
        await expect(held?.insert(3)).rejects.toSatisfy(saying('TRANSACTION_ENDED'))
      })
      await expect(held?.commit()).rejects.toSatisfy(saying('TRANSACTION_ENDED'))
    },
    holds: [],
  },
  {
    does: 'queries after the callback has ended',
    work: async (library) => {
      await library.insert(1)
      const queries = [() => library.insert(2), () => library.nested((inner) => inner.insert(3))]
      // Caught at once: one may be refused before the transaction has ended.
      late.push(
        ...queries.map((query) =>
          sleep(50)
            .then(query)
            .catch((cause: unknown) => cause),
        ),
      )
    },
    holds: [1],
  },
  {
    does: 'uses a transaction of its own that was begun before',
    before: async (library) => {
      held = await library.hold()
    },
    work: async (library) => {
      await library.insert(1)
      await expect(held?.insert(2)).rejects.toSatisfy(saying('NOT_ENLISTED'))
    },
    holds: [1],
  },
  {
    does: 'steps out of a transaction that fails',
    work: async (library) => {
      await library.insert(1)
      await coordinator.outside(() => library.nested((inner) => inner.insert(2)))
      throw new Error('no')
    },
    code: 'CALLBACK_FAILED',
    holds: [2],
  },
  {
    does: 'writes in a hook, after the commit',
    work: async (library) => {
      await library.insert(1)
      coordinator.current()?.afterCommit(async () => {
        expect(await world.ids(library.database)).toEqual([1])
        await library.nested((inner) => inner.insert(2))
      })
    },
    holds: [1, 2],
  },
  {
    does: 'closes an instance of the library',
    work: async (library) => {
      await library.useAndClose()
      await library.insert(1)
    },
    holds: [1],
  },
]

/** The code stands on the error, or on one that a library has wrapped. */
function saying(code: string) {
  return (error: unknown): boolean => {
    for (let at = error; at instanceof Error; at = causeOf(at)) {
      if ('code' in at && at.code === code) return true
    }
    return false
  }
}

function causeOf(error: Error): unknown {
  return 'driverError' in error ? error.driverError : error.cause
}

describe.each(
  world.libraries.map((library) => [`${library.name} on ${library.database}`, library] as const),
)('%s', (_, library) => {
  const other = onPostgres(library) ? 'shop' : 'ledger'
  const neighbour = world.libraries.find(({ database }) => database === other)
  const rows = TABLE.filter(({ only }) => only?.(library) ?? true)

  it.each(rows.map((row) => [row.does, row] as const))('%s', async (_, row) => {
    await row.before?.(library)
    const code = typeof row.code === 'function' ? row.code(library) : row.code
    const ended = coordinator.transaction(
      async () => {
        await neighbour?.insert(100)
        await row.work(library)
      },
      { timeoutMs: 10_000 },
    )
    if (code === undefined) await ended
    else await refused(ended, { code, outcome: 'rolled-back' })
    for (const cause of await Promise.all(late.splice(0))) {
      expect(cause).toSatisfy(saying('TRANSACTION_ENDED'))
    }
    await row.after?.()
    const { holds } = row
    expect(await world.ids(library.database)).toEqual(
      typeof holds === 'function' ? holds(library) : holds,
    )
    expect(await world.ids(other)).toEqual(code === undefined ? [100] : [])
    await held?.rollback().catch(() => undefined)
    held = undefined
  })
})
