/**
 * Transactions over the public API on real servers: what the caller hears, and what the databases
 * hold afterwards, by direct SQL.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool, type ResultSetHeader } from 'mysql2/promise'
import { TransactionError } from 'unanimous'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import {
  type BankCoordinator,
  InsufficientFunds,
  openBank,
  transfer,
} from '../../examples/transfer/transfer.ts'
import { logDirectory, testBank } from '../support/bank.ts'
import { refused } from '../support/refused.ts'

const db = await testBank({ markers: true })
const { accounts, wallets } = db.pools
await accounts.query(`create table child (
  id integer primary key,
  parent integer references account deferrable initially deferred
)`)

/** The points of the protocol that were met since the last test began. */
let met: string[] = []
const bank: BankCoordinator = await openBank(accounts, wallets, {
  log: await logDirectory(),
  seams: { failpoints: (name) => void met.push(name) },
})
db.observer.only(bank.logId)
afterAll(() => bank.close())
beforeEach(() => {
  met = []
})

/** Less what the log wrote and what the loop looked at: neither may be of this transaction. */
function steps(): readonly string[] {
  return met.filter((point) => !point.startsWith('log:') && !point.startsWith('recover:'))
}

type Handles = Parameters<Parameters<BankCoordinator['transaction']>[0]>[0]

/** Moves a cent, without the service around it. */
async function moveCent(tx: Handles): Promise<void> {
  await tx.accounts.query('update account set balance = balance - 1 where id = 1')
  await tx.wallets.query('update wallet set balance = balance + 1 where id = 1')
}

/** One statement, whichever database it is for. */
async function ask(tx: Handles, name: 'accounts' | 'wallets', text: string): Promise<void> {
  await (name === 'accounts' ? tx.accounts.query(text) : tx.wallets.query(text))
}

interface Balances {
  readonly account: number
  readonly wallet: number
}

async function balances(): Promise<Balances> {
  const { rows } = await accounts.query<{ balance: string }>(
    'select balance from account where id = 1',
  )
  const [found]: readonly unknown[] = await wallets.query('select balance from wallet where id = 1')
  const [wallet] = found as readonly { balance: number | string }[]
  return { account: Number(rows[0]?.balance), wallet: Number(wallet?.balance) }
}

/** Nothing of the work is there, nothing is prepared, and no row is locked, now or a moment later. */
async function expectUntouched(before: Balances): Promise<void> {
  await expect.poll(() => db.observer.inDoubt()).toEqual([])
  await expect.poll(() => lockable()).toBe('every row')
  expect(await balances()).toEqual(before)
}

function lockable(): Promise<string> {
  return db.observer.lockAll().then(
    () => 'every row',
    (cause: unknown) => String(cause),
  )
}

describe('commits', () => {
  it('moves money between the databases, and answers with what the callback returned', async () => {
    const before = await balances()
    const gtrid = await bank.transaction(
      async (tx) => {
        await moveCent(tx)
        return tx.gtrid
      },
      { name: 'transfer', meta: { order: 17 }, isolation: 'serializable' },
    )
    expect(gtrid.startsWith(`una1-${bank.logId}-`)).toBe(true)
    expect(await balances()).toEqual({ account: before.account - 1, wallet: before.wallet + 1 })
    expect(met).toContain('decide:after')
    await expectUntouched(await balances())
  })

  it('makes a transfer once, however often it is asked for', async () => {
    const order = { id: 'once', from: { wallet: 1 }, to: { account: 1 }, amount: 5 }
    expect(await transfer(bank, order)).toBe('done')
    const after = await balances()
    expect(await transfer(bank, order)).toBe('repeated')
    expect(await balances()).toEqual(after)
  })

  it('makes a transfer once, asked for twice at the same time', async () => {
    const order = { id: 'at-once', from: { account: 2 }, to: { wallet: 2 }, amount: 5 }
    const answers = await Promise.all([transfer(bank, order), transfer(bank, order)])
    expect(answers.sort()).toEqual(['done', 'repeated'])
  })

  it('one database alone in one phase: no prepare, no decision', async () => {
    // The ends of earlier transactions are written a second later, or more: all with the last of them.
    let last = ''
    await bank.transaction(async (tx) => {
      last = tx.gtrid
      await tx.accounts.query('update account set balance = balance where id = 3')
      await tx.wallets.query('update wallet set balance = balance where id = 3')
    })
    await expect.poll(() => bank.outcome(last)).toBe('unknown')
    met = []
    await bank.transaction((tx) =>
      tx.accounts.query('update account set balance = balance where id = 3'),
    )
    await bank.transaction((tx) =>
      tx.wallets.query('update wallet set balance = balance where id = 3'),
    )
    const pointsOfOne = ['begin:done', 'one-phase:before', 'one-phase:after']
    // Points of the log stay: it writes nothing for these.
    expect(met.filter((point) => !point.startsWith('recover:'))).toEqual([
      ...pointsOfOne,
      ...pointsOfOne,
    ])
  })

  it('PostgreSQL only read, by itself: the other commits in one phase', async () => {
    await bank.transaction(async (tx) => {
      await tx.accounts.query('select balance from account where id = 3')
      await tx.wallets.query('update wallet set balance = balance where id = 3')
    })
    expect(steps()).toEqual(['begin:done', 'one-phase:before', 'one-phase:after'])
  })

  it('MySQL only read, declared: the other commits in one phase', async () => {
    await bank.transaction(
      async (tx) => {
        await tx.wallets.query('select balance from wallet where id = 3')
        await tx.accounts.query('update account set balance = balance where id = 3')
      },
      { readOnly: ['wallets'] },
    )
    expect(steps()).toEqual(['begin:done', 'one-phase:before', 'one-phase:after'])
  })

  it('nothing at all', async () => {
    expect(await bank.transaction(() => 'idle')).toBe('idle')
    expect(steps()).toEqual(['begin:done'])
  })

  it('leaves no marker rows once the end is durable', async () => {
    await expect.poll(() => db.markers()).toBe(0)
  })
})

describe('rolls every database back', () => {
  let before: Balances
  beforeEach(async () => {
    before = await balances()
  })

  it.each([
    ['PostgreSQL', 'update account set balance = -1 where id = 1', 'select 1'],
    ['MySQL', 'select 1', 'update wallet set balance = -1 where id = 1'],
  ])('when a constraint of %s refuses a statement', async (_, first, second) => {
    const error = await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        await tx.accounts.query(first)
        await tx.wallets.query(second)
      }),
      { code: 'CALLBACK_FAILED', outcome: 'rolled-back', retryable: false },
    )
    expect(String(error.cause)).toMatch(/constraint/i)
    await expectUntouched(before)
  })

  it('when PostgreSQL refuses to prepare: a deferred constraint', async () => {
    const error = await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        await tx.accounts.query('insert into child values (1, 999999)')
      }),
      { code: 'PREPARE_REFUSED', outcome: 'rolled-back', retryable: false, hint: false },
    )
    expect(error.message).toMatch(/foreign key/)
    expect(error.branches).toEqual([
      expect.objectContaining({ participant: 'accounts', outcome: 'rolled-back' }),
      { participant: 'wallets', outcome: 'rolled-back' },
    ])
    await expectUntouched(before)
  })

  it('when PostgreSQL cannot prepare what was done: a temporary table', async () => {
    await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        await tx.accounts.query('create temporary table scratch (id integer) on commit drop')
      }),
      { code: 'NOT_PREPARABLE', outcome: 'rolled-back', retryable: false, hint: false },
    )
    await expectUntouched(before)
  })

  it('when the callback throws', async () => {
    const cause = new Error('changed my mind')
    const error = await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        throw cause
      }),
      { code: 'CALLBACK_FAILED', outcome: 'rolled-back', retryable: false },
    )
    expect(error.cause).toBe(cause)
    expect(error.gtrid).not.toBe('')
    await expectUntouched(before)
  })

  it('when the callback throws before it has used anything', async () => {
    await refused(
      bank.transaction(() => {
        throw new Error('at once')
      }),
      { code: 'CALLBACK_FAILED', outcome: 'rolled-back', retryable: false },
    )
    await expectUntouched(before)
  })

  it.each([
    [{ account: 1 }, { wallet: 1 }],
    [{ wallet: 1 }, { account: 1 }],
  ])('when there is not enough money in %o', async (from, to) => {
    const asked = transfer(bank, { id: 'too-much', from, to, amount: 100 * START_BALANCE })
    const error = await refused(asked, { code: 'CALLBACK_FAILED', outcome: 'rolled-back' })
    expect(error.cause).toBeInstanceOf(InsufficientFunds)
    await expectUntouched(before)
  })

  it('when the callback swallows an SQL error that aborted PostgreSQL', async () => {
    const error = await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        await tx.accounts.query('select no_such_column from account').catch(() => undefined)
      }),
      { code: 'STATEMENT_FAILED', outcome: 'rolled-back', retryable: false },
    )
    expect(String(error.cause)).toMatch(/no_such_column/)
    await expectUntouched(before)
  })

  it('when the callback swallows a deadlock that rolled MySQL back', async () => {
    const error = await refused(deadlocked(), { code: 'STATEMENT_FAILED', outcome: 'rolled-back' })
    expect(error.retryable).toBe(true)
    await expectUntouched(before)
  })

  it.each(['commit', 'COMMIT WORK', '/* end */ rollback', 'commit and chain', 'begin; select 1'])(
    'when the callback sends %s',
    async (verb) => {
      for (const name of ['accounts', 'wallets'] as const) {
        await refused(
          bank.transaction(async (tx) => {
            await moveCent(tx)
            await ask(tx, name, verb)
          }),
          { code: 'TRANSACTION_CONTROL', outcome: 'rolled-back' },
        )
      }
      await expectUntouched(before)
    },
  )

  it('when the callback sends COMMIT and swallows the refusal', async () => {
    for (const name of ['accounts', 'wallets'] as const) {
      await refused(
        bank.transaction(async (tx) => {
          await moveCent(tx)
          await ask(tx, name, 'commit').catch(() => undefined)
        }),
        { code: 'TRANSACTION_CONTROL', outcome: 'rolled-back' },
      )
    }
    await expectUntouched(before)
  })

  it.each(['accounts', 'wallets'] as const)(
    'when a statement of %s is still running at the return of the callback',
    async (name) => {
      let left: Promise<unknown> = Promise.resolve()
      const sleeping = name === 'accounts' ? 'select pg_sleep(0.3)' : 'select sleep(0.3)'
      await refused(
        bank.transaction(async (tx) => {
          await moveCent(tx)
          left = Promise.allSettled([ask(tx, name, sleeping)])
        }),
        { code: 'WORK_STILL_RUNNING', outcome: 'rolled-back', retryable: false },
      )
      await left
      await expectUntouched(before)
    },
  )

  it('refuses a statement that comes after the end', async () => {
    let late: Handles | undefined
    await bank.transaction((tx) => {
      late = tx
    })
    const asked = Promise.resolve().then(() => late?.accounts.query('select 1'))
    await refused(asked, { code: 'TRANSACTION_ENDED' })
  })

  it('when a branch declared read-only is written', async () => {
    await refused(bank.transaction(moveCent, { readOnly: ['wallets'] }), {
      code: 'CALLBACK_FAILED',
      outcome: 'rolled-back',
    })
    await expectUntouched(before)
  })
})

/** Two transactions that lock two wallets crosswise; answers the one that was the victim. */
async function deadlocked(): Promise<unknown> {
  let arrived = 0
  const crosswise = (first: number, second: number) =>
    bank.transaction(async (tx) => {
      await tx.accounts.query('select 1')
      await tx.wallets.query('update wallet set balance = balance + 1 where id = ?', [first])
      arrived += 1
      while (arrived < 2) await sleep(5)
      let lost = false
      await tx.wallets
        .query('update wallet set balance = balance + 1 where id = ?', [second])
        .catch(() => {
          lost = true
        })
      if (!lost) throw new Error('the survivor steps back too')
    })
  const [one, other] = await Promise.allSettled([crosswise(4, 5), crosswise(5, 4)])
  for (const { reason } of [one, other].filter((each) => each.status === 'rejected')) {
    if (reason instanceof TransactionError && reason.code !== 'CALLBACK_FAILED') throw reason
  }
  return undefined
}

describe('says that a database may be ahead', () => {
  it.each(['select 1; commit', 'select 1; commit; begin'])(
    'when the callback hides a COMMIT in a text for PostgreSQL: %s',
    async (text) => {
      const before = await balances()
      const error = await refused(
        bank.transaction(async (tx) => {
          await moveCent(tx)
          await tx.accounts.query(text)
        }),
        { code: 'ENDED_BY_APPLICATION', outcome: 'heuristic' },
      )
      expect(error.branches).toContainEqual(
        expect.objectContaining({ participant: 'accounts', outcome: 'heuristic' }),
      )
      // What the application committed by itself is there; nothing else is.
      await expectUntouched({ ...before, account: before.account - 1 })
      await accounts.query('update account set balance = balance + 1 where id = 1')
    },
  )
})

it('is not told that nothing happened, when the callback hides a COMMIT and throws', async () => {
  const before = await balances()
  await refused(
    bank.transaction(async (tx) => {
      await moveCent(tx)
      await tx.accounts.query('select 1; commit')
      throw new Error('afterwards')
    }),
    { code: 'ENDED_BY_APPLICATION', outcome: 'heuristic' },
  )
  await expectUntouched({ ...before, account: before.account - 1 })
  await accounts.query('update account set balance = balance + 1 where id = 1')
})

it('rolls back when the callback hides a COMMIT in a text for MySQL, which refuses it', async () => {
  const before = await balances()
  const uri = new URL(db.mysql.url)
  uri.searchParams.set('multipleStatements', 'true')
  const pool = createPool(uri.href)
  const merging = await openBank(accounts, pool, { log: await logDirectory() })
  for (const text of ['select 1; commit', 'select 1; rollback', 'select 1; begin']) {
    await refused(
      merging.transaction(async (tx) => {
        await moveCent(tx)
        await tx.wallets.query(text)
      }),
      { code: 'NOT_PREPARABLE', outcome: 'rolled-back' },
    )
    await expectUntouched(before)
  }
  await merging.transaction(moveCent)
  await merging.close()
  await pool.end()
  expect((await balances()).wallet).toBe(before.wallet + 1)
})

describe('ends in time', () => {
  /** PostgreSQL would wait for the lock for ever, InnoDB for 50 s. */
  const WITHOUT_LOCK_MS = 10_000
  let before: Balances
  beforeEach(async () => {
    before = await balances()
  })

  it('at the deadline, while PostgreSQL waits for a lock', async () => {
    const holder = await accounts.connect()
    await holder.query('begin; select * from account where id = 1 for update')
    const begin = performance.now()
    await refused(bank.transaction(moveCent, { timeoutMs: 300 }), {
      code: 'DEADLINE_EXCEEDED',
      outcome: 'rolled-back',
    })
    expect(performance.now() - begin).toBeLessThan(WITHOUT_LOCK_MS)
    await holder.query('rollback')
    holder.release()
    await expectUntouched(before)
  })

  it('at the deadline, while MySQL waits for a lock', async () => {
    const holder = await wallets.getConnection()
    await holder.query('begin')
    await holder.query('select * from wallet where id = 1 for update')
    const begin = performance.now()
    await refused(bank.transaction(moveCent, { timeoutMs: 300 }), {
      code: 'DEADLINE_EXCEEDED',
      outcome: 'rolled-back',
    })
    expect(performance.now() - begin).toBeLessThan(WITHOUT_LOCK_MS)
    await holder.query('rollback')
    holder.release()
    await expectUntouched(before)
  })

  it('at the deadline, while the callback waits for something else', async () => {
    await refused(
      bank.transaction(
        async (tx) => {
          await moveCent(tx)
          await new Promise(() => undefined)
        },
        { timeoutMs: 200 },
      ),
      { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' },
    )
    await expectUntouched(before)
  })

  it('when its signal aborts, with the reason', async () => {
    const stop = new AbortController()
    const reason = new Error('the request was closed')
    const error = await refused(
      bank.transaction(
        async (tx) => {
          await moveCent(tx)
          stop.abort(reason)
          await sleep(50)
        },
        { signal: stop.signal },
      ),
      { code: 'SIGNAL_ABORTED', outcome: 'rolled-back', hint: false },
    )
    expect(error.cause).toBe(reason)
    await expectUntouched(before)
  })

  it('before it begins, when its signal has aborted already', async () => {
    let called = false
    await refused(
      bank.transaction(
        () => {
          called = true
        },
        { signal: AbortSignal.abort() },
      ),
      { code: 'SIGNAL_ABORTED', outcome: 'rolled-back', hint: false },
    )
    expect(called).toBe(false)
  })

  it('without a place in the pool, as retryable, when it holds another connection', async () => {
    const impatient = await openBank(accounts, wallets, {
      log: await logDirectory(),
      acquireMs: 200,
    })
    const held = await Promise.all(Array.from({ length: 20 }, () => wallets.getConnection()))
    const error = await refused(impatient.transaction(moveCent), {
      code: 'ACQUIRE_TIMEOUT',
      outcome: 'rolled-back',
    })
    expect(error.retryable).toBe(true)
    for (const connection of held) connection.release()
    await impatient.close()
    await expectUntouched(before)
  })
})

describe('refuses options that it cannot keep', () => {
  // A name that no type would let through, as plain JavaScript would pass it.
  const unknown = 'nowhere' as 'accounts'
  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic

  it.each([
    ['an unknown participant', { readOnly: [unknown] }, 'PARTICIPANT_UNKNOWN'],
    [
      'the isolation of an unknown participant',
      { isolation: { [unknown]: 'serializable' } },
      'PARTICIPANT_UNKNOWN',
    ],
    ['a name that is too long', { name: 'n'.repeat(129) }, 'INVALID_OPTION'],
    ['meta that is too long', { meta: { text: 'm'.repeat(1025) } }, 'INVALID_OPTION'],
    ['meta that is no JSON', { meta: cyclic }, 'INVALID_OPTION'],
    ['a deadline of nothing', { timeoutMs: 0 }, 'INVALID_OPTION'],
    ['a deadline that is no number', { timeoutMs: Number.NaN }, 'INVALID_OPTION'],
  ])('%s', async (_, options, code) => {
    let called = false
    const error = await refused(
      bank.transaction(
        () => {
          called = true
        },
        options as Parameters<BankCoordinator['transaction']>[1],
      ),
      { code, outcome: 'rolled-back' },
    )
    expect(error.gtrid).toBe('')
    expect(called).toBe(false)
  })

  it('the longest name and meta that are allowed, in the log and on the servers', async () => {
    const options = { name: 'n'.repeat(128), meta: { m: 'x'.repeat(1024 - '{"m":""}'.length) } }
    await bank.transaction(moveCent, options)
  })

  it('a participant that is not configured, inside the callback', async () => {
    const before = await balances()
    await refused(
      bank.transaction(async (tx) => {
        await moveCent(tx)
        await tx[unknown].query('select 1')
      }),
      { code: 'PARTICIPANT_UNKNOWN', outcome: 'rolled-back' },
    )
    await expectUntouched(before)
  })
})

it('money is neither made nor lost by any of these', async () => {
  const [left, right] = [await db.observer.accounts(), await db.observer.wallets()]
  expect(left.money + right.money).toBe(2 * PLACES * START_BALANCE)
  expect([...left.transfers].sort()).toEqual([...right.transfers].sort())
})

it('a driver error of the application keeps its type', async () => {
  const [result] = await bank.transaction((tx) =>
    tx.wallets.query<ResultSetHeader>('update wallet set balance = balance where id = 1'),
  )
  expect(result.affectedRows).toBe(1)
})
