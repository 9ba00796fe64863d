/** Joining, savepoints, hooks and the explicit form, over participants and a log in memory. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { TransactionVerbs } from '../../../src/commit/handles.ts'
import { joinTransaction } from '../../../src/commit/join.ts'
import { checkOptions, type TransactionOptions } from '../../../src/commit/options.ts'
import { Running } from '../../../src/commit/run.ts'
import { TransactionError } from '../../../src/errors.ts'
import { world as commitWorld } from '../../support/commit-world.ts'
import type { FakeHandle } from '../../support/fake-participant.ts'

type Tx = TransactionVerbs & { readonly ledger: FakeHandle; readonly shop: FakeHandle }

function world() {
  const { context, ...parts } = commitWorld()
  const { registry, ambient } = context
  const check = (options: TransactionOptions) =>
    checkOptions(options, new Set(['ledger', 'shop']), 5_000)
  const run = <T>(work: (tx: Tx) => Promise<T> | T, options: TransactionOptions = {}) => {
    const place = ambient.get()
    const checked = check(options)
    const asked = (handles: object) => work(handles as Tx)
    return place === undefined
      ? Running.run(context, checked, asked)
      : joinTransaction(context, place, checked, asked)
  }
  const pool = registry.get('ledger')?.ambientPool({
    current: () => ambient.get()?.tx.branch('ledger'),
    outside: (work) => ambient.run(undefined, work),
  }) as FakeHandle
  const begin = (options: TransactionOptions = {}) => Running.begin(context, check(options))
  return { ...parts, ambient, run, begin, pool }
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (cause: unknown) => cause,
  )

/** What begins in a transaction, and goes on when it is let go. */
function held() {
  let go: () => void = () => undefined
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  return { gone, go }
}

describe('the ambient branch', () => {
  it('is the one of the transaction around, and nobody outside', async () => {
    const { run, pool, trace, ledger } = world()
    await pool.work()
    await run(async (tx) => {
      await tx.shop.work()
      await pool.work()
    })
    expect(trace[0]).toBe('ledger plain')
    expect(ledger.committed.size).toBe(1)
  })

  it('refuses what escaped, in a participant that was used and in one that was not', async () => {
    for (const used of [true, false]) {
      const { run, pool, trace } = world()
      const { gone, go } = held()
      let escaped: Promise<unknown> = Promise.resolve()
      await run(async (tx) => {
        if (used) await tx.ledger.work()
        escaped = gone.then(() => failure(pool.work()))
      })
      go()
      expect(await escaped).toMatchObject({ code: 'TRANSACTION_ENDED', outcome: 'committed' })
      expect(trace).not.toContain('ledger plain')
    }
  })

  it('refuses transactions and hooks of what escaped', async () => {
    const { run } = world()
    const { gone, go } = held()
    let escaped: Promise<unknown>[] = []
    await run(async (tx) => {
      escaped = [
        gone.then(() => failure(run(async () => 'never'))),
        gone.then(() => failure(tx.savepoint(async () => 'never'))),
        gone.then(() => failure((async () => tx.afterCommit(() => undefined))())),
      ]
    })
    go()
    for (const cause of await Promise.all(escaped)) {
      expect(cause).toMatchObject({ code: 'TRANSACTION_ENDED' })
    }
  })
})

describe('what joins', () => {
  it('dooms the whole when it fails, with the error that it threw', async () => {
    const { run, ledger } = world()
    const error = await failure(
      run(async (tx) => {
        await tx.ledger.work()
        await failure(run(() => Promise.reject(new Error('inner'))))
      }),
    )
    expect(error).toMatchObject({ code: 'CALLBACK_FAILED', cause: { message: 'inner' } })
    expect(ledger.rolledBack.size).toBe(1)
    expect(ledger.committed.size).toBe(0)
  })

  it('cannot have a stronger isolation than what it joins', async () => {
    const { run } = world()
    for (const isolation of [undefined, 'read committed'] as const) {
      await run(
        async () => {
          const join = run(async (tx) => tx.ledger.work(), { isolation: 'serializable' })
          expect(await failure(join)).toMatchObject({
            code: 'INVALID_OPTION',
            message: expect.stringContaining(isolation ?? 'the default isolation'),
          })
        },
        isolation === undefined ? {} : { isolation },
      )
    }
  })

  it('is not kept when a branch does not release its savepoint', async () => {
    const { run, ledger } = world()
    const branch = ledger.branch.bind(ledger)
    const lost = new Error('connection lost')
    ledger.branch = (request) =>
      Object.assign(branch(request), { endSavepoint: () => Promise.reject(lost) })
    await run(async (tx) => {
      await tx.ledger.work()
      expect(await failure(tx.savepoint(() => 'done'))).toBe(lost)
    })
  })

  it('ends its savepoint in the branches that are enlisted, however it ended', async () => {
    const { run, trace } = world()
    await run(async (tx) => {
      await tx.ledger.work()
      await run(async () => tx.shop.work(), { propagation: 'nested' })
      await failure(run(() => Promise.reject(new Error('no')), { propagation: 'nested' }))
    })
    expect(trace.slice(0, 4).sort()).toEqual([
      'ledger release una_s1',
      'ledger rollback una_s2',
      'shop release una_s1',
      'shop rollback una_s2',
    ])
  })
})

describe('savepoints', () => {
  it('side by side run one after the other, and within one another at once', async () => {
    const { run } = world()
    const order: string[] = []
    await run((tx) =>
      Promise.all(
        ['a', 'b'].map((name) =>
          tx.savepoint(async () => {
            order.push(`${name}+`)
            await tx.savepoint(() => sleep(5))
            order.push(`${name}-`)
          }),
        ),
      ),
    )
    expect(order).toEqual(['a+', 'a-', 'b+', 'b-'])
  })

  it('started by work that escaped one belong to what is around it', async () => {
    const { run } = world()
    const { gone, go } = held()
    await run(async (tx) => {
      let left: Promise<unknown> = Promise.resolve()
      await tx.savepoint(async () => {
        left = gone.then(() => tx.savepoint(async () => 'inner'))
      })
      go()
      expect(await left).toBe('inner')
    })
  })
})

describe('the explicit form', () => {
  it('ends once: commit answers as it did before, rollback is refused after it', async () => {
    const { begin, live, ledger } = world()
    const running = await begin()
    await (running.tx.handles as Tx).ledger.work()
    await running.commit()
    await running.commit()
    await running.dispose()
    expect(ledger.committed.size).toBe(1)
    expect(await failure(running.rollback())).toMatchObject({ code: 'TRANSACTION_ENDED' })
    expect(live.size).toBe(0)
  })

  it('rolls back once, and commits never after that', async () => {
    const { begin, live, ledger } = world()
    const running = await begin()
    await (running.tx.handles as Tx).ledger.work()
    await running.dispose()
    await running.rollback()
    expect(await failure(running.commit())).toMatchObject({ code: 'ROLLED_BACK' })
    expect(ledger.rolledBack.size).toBe(1)
    expect(live.size).toBe(0)
  })

  it('rolls back at its deadline although nobody waits', async () => {
    const { begin, live, ledger } = world()
    const running = await begin({ timeoutMs: 20 })
    await (running.tx.handles as Tx).ledger.work()
    await live.whenEmpty()
    expect(ledger.rolledBack.size).toBe(1)
    expect(await failure(running.commit())).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    await running.rollback()
  })
})

describe('hooks', () => {
  it('run for their outcome, in order, outside of the transaction, and are awaited', async () => {
    const { run, ambient } = world()
    const heard: string[] = []
    await run(async (tx) => {
      tx.afterCommit(async () => {
        await sleep(5)
        heard.push(`first ${ambient.get() === undefined}`)
      })
      tx.afterCommit(() => heard.push('second'))
      tx.afterRollback(() => heard.push('never'))
    })
    expect(heard).toEqual(['first true', 'second'])
  })

  it('that throw change nothing, and are told', async () => {
    const { run, events } = world()
    const failed: unknown[] = []
    events.on('transaction:hook-failed', ({ outcome }) => failed.push(outcome))
    const error = await failure(
      run(async (tx) => {
        tx.afterRollback(() => Promise.reject(new Error('hook')))
        const secret: unknown = 'what a hook throws'
        tx.afterRollback(() => {
          throw secret
        })
        throw new Error('callback')
      }),
    )
    expect(error).toBeInstanceOf(TransactionError)
    expect(error).toMatchObject({ cause: { message: 'callback' } })
    expect(failed).toEqual(['rolled-back', 'rolled-back'])
  })

  it('of a savepoint go with it', async () => {
    const { run } = world()
    const heard: string[] = []
    await run(async (tx) => {
      await tx.savepoint(() => tx.afterCommit(() => heard.push('kept')))
      await failure(
        tx.savepoint(() => {
          tx.afterCommit(() => heard.push('never'))
          tx.afterRollback(() => heard.push('taken back'))
          return Promise.reject(new Error('no'))
        }),
      )
      expect(heard).toEqual(['taken back'])
    })
    expect(heard).toEqual(['taken back', 'kept'])
  })
})
