/** Statements given in advance, across two real databases. */
import { Readable } from 'node:stream'
import { createPool, type PoolOptions, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { wireTo } from '../../bench/transfer/wire.ts'
import { testDatabases } from '../support/databases.ts'
import { testFolders } from '../support/folder.ts'
import { refused } from '../support/refused.ts'

const databases = await testDatabases()
const folder = testFolders()
const ends: (() => Promise<unknown>)[] = []
const admin = {
  ledger: new pg.Pool({ connectionString: databases.postgres.url, max: 2 }),
  shop: createPool({ uri: databases.mysql.url, connectionLimit: 2 }),
}

beforeAll(async () => {
  await admin.ledger.query('create table account (id int primary key, v int)')
  await admin.shop.query('create table wallet (id int primary key, v int)')
})
beforeEach(async () => {
  await admin.ledger.query('delete from account')
  await admin.shop.query('delete from wallet')
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await Promise.all([admin.ledger.end(), admin.shop.end()])
})

interface Setting {
  readonly ledger?: pg.PoolConfig
  readonly shop?: PoolOptions
}

async function open(setting: Setting = {}) {
  const [ledgerWire, shopWire] = await Promise.all([
    wireTo(databases.postgres.url, 0),
    wireTo(databases.mysql.url, 0),
  ])
  const ledger = new pg.Pool({ connectionString: ledgerWire.url, max: 2, ...setting.ledger })
  const shop = createPool({
    uri: shopWire.url,
    connectionLimit: 2,
    multipleStatements: true,
    ...setting.shop,
  })
  const coordinator = await Coordinator.open({
    log: { directory: await folder(), allowUnsafeFileSystem: true },
    participants: { ledger: postgres(ledger), shop: mysql(shop) },
  })
  ends.push(
    () => Promise.all([ledgerWire.close(), shopWire.close()]),
    () => Promise.all([ledger.end(), shop.end()]),
    () => coordinator.close(),
  )
  return { coordinator, ledger, shop, wires: { ledger: ledgerWire, shop: shopWire } }
}

async function rows(): Promise<readonly [readonly number[], readonly number[]]> {
  const { rows: accounts } = await admin.ledger.query<{ id: number }>(
    'select id from account order by id',
  )
  const [wallets] = await admin.shop.query<RowDataPacket[]>('select id from wallet order by id')
  return [accounts.map(({ id }) => id), wallets.map(({ id }) => Number(id))]
}

const DEBIT = {
  on: 'ledger',
  text: 'insert into account values ($1, $2)',
  values: [1, 100],
} as const
const CREDIT = { on: 'shop', text: 'insert into wallet values (?, ?)', values: [7, 100] } as const
const TAIL = { on: 'shop', text: 'insert into wallet values (9, 1)' } as const
const PLAIN = { on: 'ledger', text: 'insert into account values (2, 200)' } as const

/** What a pool may be like; each must tell the same. */
const POOLS: readonly (readonly [string, Setting])[] = [
  ['that send several statements', {}],
  ['of the defaults', { shop: { multipleStatements: false } }],
  ['that read binary', { ledger: { binary: true } as pg.PoolConfig }],
  ['that pipeline', { ledger: { pipeline: true } }],
  ['with named placeholders', { shop: { namedPlaceholders: true } }],
  [
    'with a format of the application',
    { shop: { queryFormat: (sql: string) => sql.replace('?, ?', '7, 100') } },
  ],
  ['whose client is not built as known', { ledger: { Client: unknownClient() } }],
]

function unknownClient(): typeof pg.Client {
  class Unknown extends pg.Client {}
  return Object.assign(Unknown, { Query: undefined })
}

describe.each(POOLS)('over pools %s', (_, setting) => {
  it('commits everywhere, and answers in order, as each driver does', async () => {
    const { coordinator } = await open(setting)
    const [debit, credit, read, plain, wallets] = await coordinator.execute(
      [
        DEBIT,
        CREDIT,
        { on: 'ledger', text: 'select id, v from account' },
        PLAIN,
        { on: 'shop', text: 'select id, v from wallet' },
      ],
      { name: 'transfer' },
    )
    expect([debit.command, debit.rowCount, plain.rowCount]).toEqual(['INSERT', 1, 1])
    expect(read.rows).toEqual([{ id: 1, v: 100 }])
    expect(credit[0]).toMatchObject({ affectedRows: 1 })
    expect(wallets[0]).toEqual([{ id: 7, v: 100 }])
    expect(wallets[1].map(({ name }) => name)).toEqual(['id', 'v'])
    expect(await rows()).toEqual([[1, 2], [7]])
  })

  it('keeps nothing anywhere when one fails', async () => {
    const { coordinator } = await open(setting)
    for (const bad of [PLAIN, { on: 'shop', text: 'insert into wallet values (7, 1)' } as const]) {
      const asked = coordinator.execute([DEBIT, CREDIT, PLAIN, bad])
      await refused(asked, { code: 'STATEMENT_FAILED', outcome: 'rolled-back', hint: false })
    }
    expect(await rows()).toEqual([[], []])
    await coordinator.execute([DEBIT, CREDIT])
    expect(await rows()).toEqual([[1], [7]])
  })

  it('commits a single participant', async () => {
    const { coordinator } = await open(setting)
    const [plain, debit] = await coordinator.execute([PLAIN, DEBIT])
    const [credit] = await coordinator.execute([CREDIT])
    expect([plain.rowCount, debit.rowCount]).toEqual([1, 1])
    expect(credit[0]).toMatchObject({ affectedRows: 1 })
    expect(await rows()).toEqual([[1, 2], [7]])
  })
})

describe('trips', () => {
  it('are two for each database, and two for one alone', async () => {
    const { coordinator, wires } = await open()
    const clear = [
      { on: 'ledger', text: 'delete from account' },
      { on: 'shop', text: 'delete from wallet' },
    ] as const
    const take = (): number[] => [wires.ledger.takeTrips(), wires.shop.takeTrips()]
    const both: number[][] = []
    const alone: number[][] = []
    for (let times = 0; times < 5; times += 1) {
      take()
      await coordinator.execute([DEBIT, PLAIN, CREDIT, { on: 'shop', text: 'select 1' }])
      both.push(take())
      for (const one of clear) await coordinator.execute([one])
      alone.push(take())
    }
    // The first ones learn what the connections are, and recovery looks at times beside them.
    const least = (of: readonly number[][]): readonly number[] =>
      [0, 1].map((at) => Math.min(...of.map((each) => each[at] ?? 0)))
    expect([least(both), least(alone)]).toEqual([
      [2, 2],
      [2, 2],
    ])
  })
})

describe('execute', () => {
  it('reads from a declared reader, and the server refuses its writes', async () => {
    const { coordinator } = await open()
    await admin.shop.query('insert into wallet values (9, 9)')
    const read = { on: 'shop', text: 'select id from wallet' } as const
    const [, wallets] = await coordinator.execute([DEBIT, read], { readOnly: ['shop'] })
    expect(wallets[0]).toEqual([{ id: 9 }])
    await refused(coordinator.execute([PLAIN, CREDIT], { readOnly: ['shop'] }), {
      code: 'STATEMENT_FAILED',
      outcome: 'rolled-back',
      hint: false,
    })
    expect(await rows()).toEqual([[1], [9]])
  })

  it('runs again what may succeed another time', async () => {
    const { coordinator } = await open()
    await admin.ledger.query('create sequence tries')
    await admin.ledger.query(`create function flaky() returns int language plpgsql as $$
      begin if nextval('tries') < 3 then raise sqlstate '40001'; end if; return 3; end $$`)
    const flaky = { on: 'ledger', text: 'select flaky() as tries' } as const
    const error = await refused(coordinator.execute([CREDIT, flaky]), {
      code: 'STATEMENT_FAILED',
      outcome: 'rolled-back',
      hint: false,
    })
    expect(error.retryable).toBe(true)
    const [, told] = await coordinator.execute([CREDIT, flaky], { retry: { attempts: 2 } })
    expect(told.rows).toEqual([{ tries: 3 }])
    expect(await rows()).toEqual([[], [7]])
  })

  it('ends at its deadline while a statement waits for a lock, and leaves nothing', async () => {
    const { coordinator } = await open()
    await admin.ledger.query('insert into account values (5, 5)')
    const holder = await admin.ledger.connect()
    try {
      await holder.query('begin')
      await holder.query('update account set v = 6 where id = 5')
      const waits = { on: 'ledger', text: 'update account set v = 7 where id = 5' } as const
      const asked = coordinator.execute([CREDIT, waits], { timeoutMs: 300 })
      await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
    } finally {
      await holder.query('rollback')
      holder.release()
    }
    await expect.poll(() => coordinator.stats().transactions.running).toBe(0)
    const { rows: left } = await admin.ledger.query('select gid from pg_prepared_xacts')
    expect(left).toEqual([])
    expect(await rows()).toEqual([[5], []])
  })

  describe('what goes in trips of its own', () => {
    const defaults = { shop: { multipleStatements: false } }
    /** Each touches no table, and so runs in a branch that has ended. */
    const harmless = [
      { on: 'shop', text: 'set @id = last_insert_id()' },
      { on: 'shop', text: 'do 0' },
    ] as const

    it('is over when the other database refuses: nothing runs behind the roll-back', async () => {
      const { coordinator } = await open(defaults)
      await admin.ledger.query('insert into account values (1, 1)')
      const lines = [8, 9].map((id) => ({
        on: 'shop' as const,
        text: 'insert into wallet values (?, 1)',
        values: [id],
      }))
      for (let round = 0; round < 40; round += 1) {
        const asked = coordinator.execute([DEBIT, CREDIT, ...harmless, ...lines])
        await refused(asked, { code: 'STATEMENT_FAILED', outcome: 'rolled-back', hint: false })
      }
      expect(await rows()).toEqual([[1], []])
    })

    it('is over at its deadline, and its locks with it', async () => {
      const { coordinator } = await open(defaults)
      const slow = { on: 'shop', text: 'do sleep(1)' } as const
      const asked = coordinator.execute([DEBIT, CREDIT, slow, ...harmless, TAIL], {
        timeoutMs: 200,
      })
      await refused(asked, { code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
      const from = performance.now()
      await admin.shop.query('insert into wallet values (7, 1)')
      expect(performance.now() - from).toBeLessThan(900)
      await expect.poll(() => coordinator.stats().transactions.running).toBe(0)
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      expect(await rows()).toEqual([[], [7]])
    })

    it.each([true, false])(
      'is a procedure, whose answers are not told from others (several at once: %s)',
      async (multipleStatements) => {
        const { coordinator } = await open({ shop: { multipleStatements } })
        await admin.shop.query('drop procedure if exists one_answer')
        await admin.shop.query('create procedure one_answer() begin select 5 as five; end')
        const call = { on: 'shop', text: 'call one_answer()' } as const
        const [, , [answers], [last]] = await coordinator.execute([DEBIT, CREDIT, call, TAIL])
        expect((answers as unknown as unknown[])[0]).toEqual([{ five: 5 }])
        expect(last).toMatchObject({ affectedRows: 1 })
        expect(await rows()).toEqual([[1], [7, 9]])
      },
    )

    it('is no text that would swallow the next one', async () => {
      const { coordinator } = await open()
      for (const text of ['do 0 /* a', "select 'a", 'select `a']) {
        const asked = coordinator.execute([DEBIT, { on: 'shop', text }, CREDIT])
        await refused(asked, { code: 'INVALID_OPTION', outcome: 'rolled-back' })
      }
      expect(await rows()).toEqual([[], []])
    })
  })

  it('refuses what it cannot take before anything is sent', async () => {
    const { coordinator, ledger } = await open()
    for (const text of ['commit', 'savepoint a', 'insert into account values (3, 3); commit', '']) {
      const asked = coordinator.execute([CREDIT, DEBIT, { on: 'ledger', text }])
      await expect(asked).rejects.toMatchObject({
        code: expect.stringMatching(/^(TRANSACTION_CONTROL|INVALID_OPTION)$/),
        outcome: 'rolled-back',
      })
    }
    const elsewhere = [{ on: 'lager', text: 'select 1' }] as never
    await refused(coordinator.execute(elsewhere), {
      code: 'PARTICIPANT_UNKNOWN',
      outcome: 'rolled-back',
    })
    for (const wrong of ['select 1', [null], [{ text: 'select 1' }]]) {
      const asked = coordinator.execute(wrong as never)
      await refused(asked, { code: 'INVALID_OPTION', outcome: 'rolled-back' })
    }
    const inside = coordinator.transaction(() => coordinator.execute([DEBIT]))
    await expect(inside).rejects.toMatchObject({ cause: { code: 'INVALID_OPTION' } })
    expect(ledger.totalCount).toBe(0)
    expect(await coordinator.execute([])).toEqual([])
    expect(await rows()).toEqual([[], []])
  })
})

describe('in PostgreSQL', () => {
  it('a value that the driver cannot spell keeps every statement from being sent', async () => {
    const { coordinator } = await open()
    const toPostgres = (): never => {
      throw new Error('unspeakable')
    }
    for (const values of [[3, { toPostgres }], { id: 3 }] as const) {
      const bad = { on: 'ledger', text: 'insert into account values ($1, $2)', values } as const
      for (const statements of [[DEBIT, CREDIT, bad] as const, [DEBIT, bad] as const]) {
        await refused(coordinator.execute(statements), {
          code: 'STATEMENT_FAILED',
          outcome: 'rolled-back',
          hint: false,
        })
      }
    }
    expect(await rows()).toEqual([[], []])
  })

  it('what the application’s own parser throws is rolled back', async () => {
    const types = {
      getTypeParser: () => () => {
        throw new Error('unreadable')
      },
    } as unknown as pg.CustomTypesConfig
    const { coordinator } = await open({ ledger: { types } })
    const read = { on: 'ledger', text: 'select 1 as one' } as const
    for (const statements of [[DEBIT, CREDIT, read] as const, [DEBIT, read] as const]) {
      const asked = coordinator.execute(statements)
      await refused(asked, { code: 'STATEMENT_FAILED', outcome: 'rolled-back', hint: false })
    }
    expect(await rows()).toEqual([[], []])
  })

  it('a COPY from nowhere is refused, and nothing behind it is run', async () => {
    const { coordinator } = await open()
    const copy = { on: 'ledger', text: 'copy account from stdin' } as const
    const asked = coordinator.execute([DEBIT, copy, PLAIN, CREDIT])
    await expect(asked).rejects.toMatchObject({ outcome: 'rolled-back' })
    expect(await rows()).toEqual([[], []])
  })
})

describe('in MySQL and MariaDB', () => {
  /** What makes of one text more answers than one, or less. */
  it.each([
    ['a comment that does not end', 'insert into wallet values (8, 8) /* note'],
    [
      'a string that our reading ends later',
      `insert into wallet values (8, length("\\"")); do 1; do length("")`,
    ],
  ])('%s is rolled back', async (_, text) => {
    const { coordinator } = await open()
    const odd = { on: 'shop', text } as const
    for (const statements of [[DEBIT, CREDIT, odd] as const, [CREDIT, odd] as const]) {
      const asked = coordinator.execute(statements)
      await expect(asked).rejects.toMatchObject({ outcome: 'rolled-back' })
    }
    expect(await rows()).toEqual([[], []])
    await coordinator.execute([DEBIT, CREDIT])
  })

  it.each([true, false])(
    'a file of the application’s is loaded, and one that it does not give is not (several at once: %s)',
    async (multipleStatements) => {
      await admin.shop.query('set global local_infile = 1')
      const load = { on: 'shop', text: "load data local infile 'w' into table wallet" } as const
      const given = { infileStreamFactory: () => Readable.from([Buffer.from('7\t1\n8\t2\n')]) }
      const { coordinator } = await open({ shop: { multipleStatements, ...given } })
      const [, [loaded], [last]] = await coordinator.execute([DEBIT, load, TAIL])
      expect([loaded, last]).toMatchObject([{ affectedRows: 2 }, { affectedRows: 1 }])
      expect(await rows()).toEqual([[1], [7, 8, 9]])
      const without = await open({ shop: { multipleStatements } })
      const asked = without.coordinator.execute([PLAIN, load, TAIL])
      await expect(asked).rejects.toMatchObject({ outcome: 'rolled-back' })
      expect(await rows()).toEqual([[1], [7, 8, 9]])
    },
  )

  it('a transaction that an earlier borrower left open is rolled back, and the statements go again', async () => {
    const { coordinator, shop } = await open({ shop: { connectionLimit: 1 } })
    for (const statements of [[DEBIT, CREDIT] as const, [{ ...CREDIT, values: [8, 1] }] as const]) {
      await shop.query('set session autocommit = 0')
      await shop.query('select id from wallet')
      await coordinator.execute(statements)
    }
    expect(await rows()).toEqual([[1], [7, 8]])
  })

  it.each([true, false])(
    'what is more than the server takes is a statement that failed (several at once: %s)',
    async (multipleStatements) => {
      const [[own]] = await admin.shop.query<RowDataPacket[]>('select @@max_allowed_packet as n')
      await admin.shop.query('set global max_allowed_packet = 1024')
      try {
        const { coordinator } = await open({ shop: { multipleStatements } })
        await coordinator.execute([DEBIT, CREDIT])
        const large = { ...CREDIT, values: [8, 'x'.repeat(40_000)] }
        const { cause } = await refused(coordinator.execute([PLAIN, large]), {
          code: 'STATEMENT_FAILED',
          outcome: 'rolled-back',
          retryable: false,
          hint: false,
        })
        expect(cause).toMatchObject({ errno: 1153 })
        expect(await rows()).toEqual([[1], [7]])
        await coordinator.execute([PLAIN, TAIL])
      } finally {
        await admin.shop.query('set global max_allowed_packet = ?', [Number(own?.['n'])])
      }
    },
  )

  it('what commits by itself is not preparable', async () => {
    const { coordinator } = await open()
    const ddl = { on: 'shop', text: 'create table other (id int)' } as const
    const asked = coordinator.execute([DEBIT, CREDIT, ddl])
    await refused(asked, { code: 'NOT_PREPARABLE', outcome: 'rolled-back', hint: false })
    expect(await rows()).toEqual([[], []])
  })
})
