/**
 * Existing code over the ambient pools, on real servers: inside a transaction it belongs to the
 * branch, outside it runs as ever.
 *
 * The first table is the promise: per kind of pool, what becomes of each thing that code written for
 * a plain pool does.
 */
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TransactionErrorCode } from 'unanimous'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { type Driver, openWorld } from '../support/ambient-world.ts'
import { refused } from '../support/refused.ts'

const world = await openWorld()
const { coordinator, drivers, plain } = world
afterAll(() => world.close())
beforeEach(() => world.empty())

/** Work in both databases, so that a commit is one in two phases. */
async function alsoElsewhere(driver: Driver): Promise<void> {
  const other = driver.name === 'pg.Pool' ? drivers[1] : drivers[0]
  await other?.insert(100)
}

interface Row {
  readonly does: string
  /** Runs in a transaction; 100 is in the other database by then. */
  readonly work: (driver: Driver) => Promise<unknown>
  /** What the caller hears; `undefined`: it commits. */
  readonly code: (driver: Driver) => TransactionErrorCode | undefined
  /** What the driver's own database holds afterwards. */
  readonly holds: readonly number[] | ((driver: Driver) => readonly number[])
}

const late: Promise<unknown>[] = []

const TABLE: readonly Row[] = [
  {
    does: 'sends COMMIT without a BEGIN',
    work: async (driver) => {
      await driver.insert(1)
      await driver.onConnection((connection) => connection.run('COMMIT')).catch(() => undefined)
    },
    code: () => 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'sends COMMIT in a query of the pool',
    work: async (driver) => {
      await driver.insert(1)
      await driver.query('COMMIT')
    },
    code: () => 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'commits one transaction of its own and rolls another back',
    work: async (driver) => {
      await driver.insert(1)
      await driver.onConnection(async (connection) => {
        await connection.begin()
        await connection.insert(2)
        await connection.commit()
        await connection.begin()
        await connection.insert(3)
        await connection.rollback()
      })
    },
    code: () => undefined,
    holds: [1, 2],
  },
  {
    does: 'releases a connection with its transaction open',
    work: async (driver) => {
      await driver.insert(1)
      await driver.onConnection(async (connection) => {
        await connection.begin()
        await connection.insert(2)
      })
    },
    code: () => undefined,
    holds: [1],
  },
  {
    does: 'swallows an error of SQL',
    work: async (driver) => {
      await driver.insert(1)
      await driver.insert(1).catch(() => undefined)
    },
    // PostgreSQL aborts the block; MySQL and MariaDB take the one statement back.
    code: (driver) => (driver.name === 'pg.Pool' ? 'STATEMENT_FAILED' : undefined),
    holds: (driver) => (driver.name === 'pg.Pool' ? [] : [1]),
  },
  {
    does: 'swallows an error that a transaction of its own was rolled back for',
    work: async (driver) => {
      await driver.insert(1)
      await driver.onConnection(async (connection) => {
        await connection.begin()
        await connection.insert(2)
        await connection.insert(1).catch(() => connection.rollback())
      })
    },
    code: () => undefined,
    holds: [1],
  },
  {
    does: 'sends ten queries at once',
    work: (driver) => Promise.all(Array.from({ length: 10 }, (_, id) => driver.insert(id))),
    code: () => undefined,
    holds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  },
  {
    does: 'runs transactions of two connections at once, and both commit',
    work: (driver) =>
      Promise.all(
        [1, 2].map((id) =>
          driver.onConnection(async (connection) => {
            await connection.begin()
            await connection.insert(id)
            await sleep(10 * id)
            await connection.insert(id + 10)
            await connection.commit()
          }),
        ),
      ),
    code: () => undefined,
    holds: [1, 2, 11, 12],
  },
  {
    does: 'rolls back, on one connection, above what another has done',
    work: async (driver) => {
      await driver.onConnection(async (connection) => {
        await connection.begin()
        await connection.insert(1)
        await driver.insert(2)
        await connection.rollback().catch(() => undefined)
      })
    },
    code: () => 'TRANSACTION_CONTROL',
    holds: [],
  },
  {
    does: 'reads a stream to its end',
    work: async (driver) => {
      let rows = 0
      for await (const _row of driver.stream()) rows += 1
      await driver.insert(rows)
    },
    code: () => undefined,
    holds: [1000],
  },
  {
    does: 'leaves the loop over a stream half-way',
    work: async (driver) => {
      for await (const _row of driver.stream()) break
      await driver.insert(1)
    },
    code: () => undefined,
    holds: [1],
  },
  {
    does: 'leaves the loop over a stream half-way, and returns at once',
    work: async (driver) => {
      await driver.insert(1)
      for await (const _row of driver.stream()) break
    },
    code: () => undefined,
    holds: [1],
  },
  {
    does: 'returns with a stream read to half',
    work: async (driver) => {
      await driver.insert(1)
      const stream = driver.stream()
      stream.on('error', () => undefined)
      await once(stream, 'readable')
      stream.read()
    },
    code: () => 'WORK_STILL_RUNNING',
    holds: [],
  },
  {
    does: 'returns without awaiting a query',
    work: async (driver) => {
      await driver.insert(1)
      // Whether it is still answered does not matter: it is rolled back.
      driver.insert(2).catch(() => undefined)
    },
    code: () => 'WORK_STILL_RUNNING',
    holds: [],
  },
  {
    does: 'queries after the callback has ended',
    work: async (driver) => {
      await driver.insert(1)
      late.push(
        sleep(50)
          .then(() => driver.insert(2))
          .catch((cause: unknown) => cause),
      )
    },
    code: () => undefined,
    holds: [1],
  },
  {
    does: 'queries another pool after the callback has ended',
    work: async (driver) => {
      const before = coordinator.transaction(() => driver.insert(1), { propagation: 'new' })
      await before
      late.push(
        sleep(50)
          .then(() => driver.onConnection((connection) => connection.insert(2)))
          .catch((cause: unknown) => cause),
      )
      throw new Error('no')
    },
    code: () => 'CALLBACK_FAILED',
    holds: [1],
  },
]

describe.each(drivers.map((driver) => [driver.name, driver] as const))(
  'code over %s',
  (_, driver) => {
    it.each(TABLE.map((row) => [row.does, row] as const))('%s', async (_, row) => {
      const code = row.code(driver)
      const ended = coordinator.transaction(async () => {
        await alsoElsewhere(driver)
        await row.work(driver)
      })
      if (code === undefined) await ended
      else await refused(ended, { code, outcome: 'rolled-back' })
      for (const cause of await Promise.all(late.splice(0))) {
        expect(cause).toMatchObject({ code: 'TRANSACTION_ENDED' })
      }
      const { holds } = row
      expect(await driver.ids()).toEqual(typeof holds === 'function' ? holds(driver) : holds)
      expect(await world.elsewhere(driver)).toEqual(code === undefined ? [100] : [])
    })
  },
)

describe('what a server says', () => {
  it('that it cannot prepare is the reason of the refusal', async () => {
    const refusal = coordinator.transaction(async () => {
      await drivers[1]?.insert(1)
      await drivers[0]?.insert(1)
      await drivers[0]?.query('listen something')
    })
    const error = await refused(refusal, { code: 'NOT_PREPARABLE', hint: false })
    expect(error.message).toContain('LISTEN')
    expect(await world.ids()).toEqual([[], []])
  })

  it('to SET and to advisory locks is what it always says', async () => {
    await coordinator.transaction(async () => {
      await drivers[0]?.query("set application_name = 'ambient'")
      await drivers[0]?.query('select pg_advisory_xact_lock(1)')
      await drivers[1]?.query('set @mine = 1')
      for (const driver of drivers.slice(0, 2)) await driver.insert(1)
    })
    expect(await world.ids()).toEqual([[1], [1]])
  })

  it('in one database takes back what code did in the other, nested transactions and all', async () => {
    const [ledger, shop] = drivers
    if (ledger === undefined || shop === undefined) throw new Error('no drivers')
    let cases = 0
    for (const [refusing, other] of [
      [ledger, shop],
      [shop, ledger],
    ] as const) {
      for (const way of ['plain', 'nested', 'savepoint', 'stream', 'joined'] as const) {
        const work = async (): Promise<void> => {
          await WAYS[way](other)
          await refusing.insert(1)
          await refusing.insert(1)
        }
        await refused(coordinator.transaction(work), { code: 'CALLBACK_FAILED' })
        expect(await world.ids(), way).toEqual([[], []])
        cases += 1
      }
    }
    console.log(`${cases} cases of a refusal by the other database`)
  })
})

const WAYS = {
  plain: (driver: Driver) => driver.insert(7),
  nested: (driver: Driver) =>
    driver.onConnection(async (connection) => {
      await connection.begin()
      await connection.insert(7)
      await connection.commit()
    }),
  savepoint: (driver: Driver) => coordinator.current()?.savepoint(() => driver.insert(7)),
  stream: async (driver: Driver) => {
    let rows = 0
    for await (const _row of driver.stream()) if (++rows === 200) break
    await driver.insert(7)
  },
  joined: (driver: Driver) => coordinator.transaction(() => driver.insert(7)),
}

describe('context', () => {
  const emitter = new EventEmitter()

  const ways: readonly (readonly [string, (work: () => Promise<unknown>) => Promise<unknown>])[] = [
    ['promises', async (work) => Promise.resolve().then(() => Promise.all([work()]))],
    ['timers', (work) => sleep(5).then(work)],
    ['setImmediate', (work) => new Promise((done) => setImmediate(() => done(work())))],
    ['nextTick', (work) => new Promise((done) => process.nextTick(() => done(work())))],
    [
      'event emitters',
      (work) =>
        new Promise((done) => {
          emitter.once('go', () => done(work()))
          emitter.emit('go')
        }),
    ],
    [
      'async iterators',
      async (work) => {
        async function* numbers() {
          for (const n of [1, 2]) {
            await sleep(1)
            yield n
          }
        }
        for await (const n of numbers()) if (n === 2) await work()
      },
    ],
  ]

  it.each(ways)('travels through %s', async (_, way) => {
    const insertAll = () => way(() => Promise.all([drivers[0]?.insert(1), drivers[1]?.insert(1)]))
    await refused(
      coordinator.transaction(async () => {
        await insertAll()
        throw new Error('no')
      }),
      { code: 'CALLBACK_FAILED' },
    )
    expect(await world.ids()).toEqual([[], []])
    await coordinator.transaction(insertAll)
    expect(await world.ids()).toEqual([[1], [1]])
  })

  it.each(drivers.map((driver) => [driver.name, driver] as const))(
    'reaches the listeners of a stream, and the callbacks of %s',
    async (_, driver) => {
      const work = async () => {
        const stream = driver.stream()
        const inserted: Promise<unknown>[] = []
        stream.on('data', (row: { v: number }) => {
          if (row.v === 500) inserted.push(driver.insert(500))
        })
        await once(stream, 'end')
        await Promise.all(inserted)
        await driver.byCallback(501, () => driver.insert(502))
      }
      await refused(
        coordinator.transaction(async () => {
          await work()
          throw new Error('no')
        }),
        { code: 'CALLBACK_FAILED' },
      )
      expect(await driver.ids()).toEqual([])
      await work()
      expect(await driver.ids()).toEqual([500, 501, 502])
    },
  )

  it('belongs to no transaction on connections that a transaction made', async () => {
    for (const driver of drivers) {
      await coordinator.transaction(() => driver.insert(1))
      // Its callback comes from a socket that was made in the transaction above.
      await driver.byCallback(2, () => driver.insert(3))
      await driver.empty()
    }
  })

  it('is left by outside(), also for the pools', async () => {
    for (const driver of drivers) {
      await refused(
        coordinator.transaction(async () => {
          expect(coordinator.current()).toBeDefined()
          await driver.insert(1)
          await coordinator.outside(async () => {
            expect(coordinator.current()).toBeUndefined()
            await driver.insert(2)
          })
          throw new Error('no')
        }),
        { code: 'CALLBACK_FAILED' },
      )
      expect(await driver.ids()).toEqual([2])
      await driver.empty()
    }
    expect(coordinator.current()).toBeUndefined()
  })
})

describe('nesting', () => {
  const both = async (id: number): Promise<void> => {
    for (const driver of drivers.slice(0, 2)) await driver.insert(id)
  }

  it('a transaction inside another joins it', async () => {
    await coordinator.transaction(async (outer) => {
      await both(1)
      await coordinator.transaction(async (inner) => {
        expect(inner.gtrid).toBe(outer.gtrid)
        await both(2)
      })
      expect(await world.ids()).toEqual([[], []])
    })
    expect(await world.ids()).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('what joined and failed takes the whole back, also where its error is swallowed', async () => {
    const error = await refused(
      coordinator.transaction(async () => {
        await both(1)
        await coordinator
          .transaction(async () => {
            await both(2)
            throw new Error('inner')
          })
          .catch(() => undefined)
      }),
      { code: 'CALLBACK_FAILED', outcome: 'rolled-back' },
    )
    expect(error.cause).toMatchObject({ message: 'inner' })
    expect(await world.ids()).toEqual([[], []])
  })

  it('a nested one is taken back by itself, in a branch that was enlisted within it too', async () => {
    await coordinator.transaction(async () => {
      await drivers[0]?.insert(1)
      await refused(
        coordinator.transaction(
          async () => {
            await both(2)
            throw new Error('inner')
          },
          { propagation: 'nested' },
        ),
        { code: 'CALLBACK_FAILED' },
      )
      await coordinator.transaction(() => both(3), { propagation: 'nested' })
    })
    expect(await world.ids()).toEqual([[1, 3], [3]])
  })

  it('savepoints take an error of SQL back, one within another, and side by side', async () => {
    await coordinator.transaction(async (tx) => {
      await both(1)
      const clash = tx.savepoint(async () => {
        await both(2)
        await tx.savepoint(() => both(3))
        await both(1)
      })
      await expect(clash).rejects.toThrow(/duplicate/i)
      await tx.savepoint(async () => {
        await both(4)
        await expect(tx.savepoint(() => both(1))).rejects.toThrow(/duplicate/i)
      })
      const outcomes = await Promise.allSettled([
        tx.savepoint(async () => {
          await both(5)
          throw new Error('no')
        }),
        tx.savepoint(() => both(6)),
      ])
      expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
    })
    expect(await world.ids()).toEqual([
      [1, 4, 6],
      [1, 4, 6],
    ])
  })

  it('a new one commits whatever becomes of the one around it', async () => {
    await refused(
      coordinator.transaction(async () => {
        await both(1)
        await coordinator.transaction(() => both(2), { propagation: 'new' })
        throw new Error('outer')
      }),
      { code: 'CALLBACK_FAILED' },
    )
    expect(await world.ids()).toEqual([[2], [2]])
  })

  it('refuses to join at a stronger isolation', async () => {
    await coordinator.transaction(
      async () => {
        await coordinator.transaction(() => both(1), { isolation: 'read committed' })
        const stronger = coordinator.transaction(() => both(2), { isolation: 'serializable' })
        await refused(stronger, { code: 'INVALID_OPTION' })
      },
      { isolation: 'repeatable read' },
    )
    expect(await world.ids()).toEqual([[1], [1]])
  })

  it('takes the isolation that a nested BEGIN asks for when the branch has it', async () => {
    const asking = async (level: string) => {
      for (const driver of drivers) {
        await driver.onConnection(async (connection) => {
          if (driver.name === 'pg.Pool') await connection.run(`begin isolation level ${level}`)
          else {
            await connection.run(`set transaction isolation level ${level}`)
            await connection.run('start transaction')
          }
          await connection.run('commit')
        })
      }
    }
    await coordinator.transaction(() => asking('serializable'), { isolation: 'serializable' })
    await coordinator.transaction(() => asking('read committed'))
    const error = await refused(
      coordinator.transaction(() => asking('serializable')),
      { code: 'TRANSACTION_CONTROL' },
    )
    expect(error.hint).toContain("'serializable'")
  })
})

describe('the explicit form', () => {
  it('commits, and joins ambient code in run()', async () => {
    await using tx = await coordinator.begin({ name: 'explicit' })
    await tx.ledger.query('insert into item values (1, 1)')
    await tx.run(() => drivers[1]?.insert(1))
    await drivers[1]?.insert(2)
    expect(await world.ids()).toEqual([[], [2]])
    await tx.commit()
    expect(await world.ids()).toEqual([[1], [1, 2]])
    await refused(tx.rollback(), { code: 'TRANSACTION_ENDED', outcome: 'committed' })
  })

  it('rolls back when it is disposed of', async () => {
    const left = async () => {
      await using tx = await coordinator.begin()
      await tx.ledger.query('insert into item values (1, 1)')
      await tx.shop.query('insert into item values (1, 1)')
      throw new Error('on the way')
    }
    await expect(left()).rejects.toThrow('on the way')
    expect(await world.ids()).toEqual([[], []])
  })

  it('frees its locks at its deadline, although nobody waits', async () => {
    await using tx = await coordinator.begin({ timeoutMs: 100 })
    await tx.ledger.query('insert into item values (1, 1)')
    await expect
      .poll(() => plain.ledger.query('insert into item values (1, 2)').then(() => 'free'))
      .toBe('free')
    await refused(tx.commit(), { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
  })
})

describe('hooks', () => {
  it('run after the outcome, outside of the transaction, and change nothing', async () => {
    const heard: string[] = []
    const failed: unknown[] = []
    coordinator.on('transaction:hook-failed', ({ cause }) => failed.push(cause))
    await coordinator.transaction(async (tx) => {
      await drivers[0]?.insert(1)
      tx.afterRollback(() => heard.push('never'))
      tx.afterCommit(async () => {
        await drivers[0]?.insert(2)
        heard.push(`committed ${String(await drivers[0]?.ids())}`)
      })
      tx.afterCommit(() => {
        throw new Error('hook')
      })
      await tx
        .savepoint(async () => {
          tx.afterCommit(() => heard.push('of a savepoint that is gone'))
          tx.afterRollback(() => heard.push('savepoint rolled back'))
          throw new Error('no')
        })
        .catch(() => undefined)
    })
    expect(heard).toEqual(['savepoint rolled back', 'committed 1,2'])
    expect(failed).toMatchObject([{ message: 'hook' }])
    await refused(
      coordinator.transaction(async (tx) => {
        tx.afterRollback(() => heard.push('rolled back'))
        throw new Error('no')
      }),
      { code: 'CALLBACK_FAILED' },
    )
    expect(heard.at(-1)).toBe('rolled back')
  })
})
