/** Forms of the drivers that are easily forgotten, in a transaction and outside: COPY, notices, events. */
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PoolConnection, RowDataPacket } from 'mysql2'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { openWorld } from '../support/ambient-world.ts'
import { refused } from '../support/refused.ts'

const world = await openWorld()
const { coordinator } = world
const ledger = coordinator.pool('ledger')
const shop = coordinator.pool('shop')
const callbacks = coordinator.pool('callbacks')
afterAll(() => world.close())
beforeEach(() => world.empty())

/** Runs the same code outside of a transaction and inside one. */
async function bothWays(work: () => Promise<void>): Promise<void> {
  await work()
  await world.empty()
  await coordinator.transaction(work)
}

describe('COPY through pg-copy-streams', () => {
  const copyIn = async (rows: Iterable<string> | AsyncIterable<string>): Promise<void> => {
    const client = await ledger.connect()
    try {
      await client.query('begin')
      await pipeline(Readable.from(rows), client.query(copyFrom('copy item from stdin')))
      await client.query('commit')
    } catch (cause) {
      await client.query('rollback')
      throw cause
    } finally {
      client.release()
    }
  }

  it('belongs to the branch, both ways', async () => {
    await bothWays(async () => {
      await copyIn(['1\t1\n', '2\t1\n'])
      const client = await ledger.connect()
      let text = ''
      for await (const chunk of client.query(copyTo('copy item to stdout'))) text += String(chunk)
      client.release()
      expect(text).toBe('1\t1\n2\t1\n')
    })
    await refused(
      coordinator.transaction(async () => {
        await copyIn(['3\t1\n'])
        await shop.query('insert into item values (3, 1)')
        throw new Error('no')
      }),
      { code: 'CALLBACK_FAILED' },
    )
    expect(await world.ids()).toEqual([[1, 2], []])
  })

  it.each([
    ['the server refuses a row', ['2\t1\n', '1\t1\n'], /duplicate/],
    [
      'its source fails',
      async function* () {
        yield '2\t1\n'
        await sleep(20)
        throw new Error('the source failed')
      },
      /the source failed/,
    ],
  ])('is taken back alone when %s', async (_, rows, reason) => {
    await coordinator.transaction(async () => {
      await ledger.query('insert into item values (1, 1)')
      const source = typeof rows === 'function' ? rows() : rows
      await expect(copyIn(source)).rejects.toThrow(reason)
      await shop.query('insert into item values (1, 1)')
    })
    expect(await world.ids()).toEqual([[1], [1]])
  })

  it('left open, leaves nothing', async () => {
    const work = coordinator.transaction(async () => {
      const client = await ledger.connect()
      const stream = client.query(copyFrom('copy item from stdin'))
      stream.on('error', () => undefined)
      stream.write('1\t1\n')
      client.release()
      await shop.query('insert into item values (1, 1)')
    })
    await refused(work, { code: 'WORK_STILL_RUNNING' })
    expect(await world.ids()).toEqual([[], []])
  })
})

it('pg: notices reach the client whose statement they are of, in its context', async () => {
  await bothWays(async () => {
    const [client, other] = [await ledger.connect(), await ledger.connect()]
    const seen: unknown[] = []
    client.on('notice', ({ message }) => {
      seen.push([message, coordinator.current()?.gtrid])
    })
    await client.query("do $$ begin raise notice 'first'; end $$")
    await other.query("do $$ begin raise notice 'of the other'; end $$")
    client.release()
    other.release()
    expect(seen).toEqual([['first', coordinator.current()?.gtrid]])
  })
})

describe('mysql2: execute on a connection, without a callback', () => {
  const connected = async (work: (connection: PoolConnection) => Promise<void>): Promise<void> => {
    const connection = await new Promise<PoolConnection>((resolve, reject) => {
      callbacks.getConnection((cause, got) => (cause ? reject(cause) : resolve(got)))
    })
    try {
      await work(connection)
    } finally {
      connection.release()
    }
  }

  it('reports by events', async () => {
    await bothWays(() =>
      connected(async (connection) => {
        const rows: unknown[] = []
        const command = connection.execute('select ? as n union all select ?', ['a', 'b'])
        command.on('result', (row) => rows.push(row))
        await once(command, 'end')
        expect(rows).toEqual([{ n: 'a' }, { n: 'b' }])
        await once(connection.execute('insert into item values (?, 1)', [1]), 'end')
        expect((await callbacks.promise().query('select id from item'))[0]).toEqual([{ id: 1 }])
      }),
    )
  })

  it('streams', async () => {
    await bothWays(() =>
      connected(async (connection) => {
        const rows: unknown[] = []
        for await (const row of connection.execute('select ? as n', ['a']).stream()) rows.push(row)
        expect(rows).toEqual([{ n: 'a' }])
      }),
    )
  })

  it('tells its failure, and leaves the branch as it is', async () => {
    await bothWays(() =>
      connected(async (connection) => {
        const heard = await once(connection.execute('select nothing'), 'error').catch(
          (cause: unknown) => [cause],
        )
        expect(heard).toMatchObject([{ errno: 1054 }])
        await shop.query('insert into item values (1, 1)')
      }),
    )
    expect((await world.ids())[1]).toEqual([1])
  })

  it.each(['query', 'execute'] as const)(
    'hears that its connection was lost, by %s, and so does what waits behind it',
    async (form) => {
      const asked = coordinator.transaction(() =>
        connected(async (connection) => {
          const [[self]] = await connection
            .promise()
            .query<RowDataPacket[]>('select connection_id() as id')
          const command = connection[form]('select sleep(20)')
          const lost = once(command, 'end').catch((cause: unknown) => cause)
          const behind = connection
            .promise()
            .query('select 1')
            .catch(() => undefined)
          await sleep(100)
          await world.plain.shop.query('kill ?', [self?.['id']])
          const told = Promise.all([lost, behind]).then(([cause]) => cause)
          throw await Promise.race([told, sleep(5_000, new Error('nobody was told'))])
        }),
      )
      const { cause } = await refused(asked, { code: 'CALLBACK_FAILED', hint: false })
      expect(cause).toMatchObject({ code: 'PROTOCOL_CONNECTION_LOST' })
    },
  )

  it('is refused after the end, as an event', async () => {
    let late: PoolConnection | undefined
    await coordinator.transaction(async () => {
      callbacks.getConnection((_, connection) => {
        late = connection
      })
      await shop.query('insert into item values (1, 1)')
    })
    const command = late?.execute('insert into item values (2, 1)')
    const [cause] = (await new Promise((resolve) => {
      command?.on('error', (heard) => resolve([heard]))
    })) as [unknown]
    expect(cause).toMatchObject({ code: 'TRANSACTION_ENDED' })
    expect((await world.ids())[1]).toEqual([1])
  })
})

it('mysql2: a connection is given back by `await using`, and what it left open is rolled back', async () => {
  await coordinator.transaction(async () => {
    await shop.query('insert into item values (1, 1)')
    {
      await using connection = await shop.getConnection()
      await connection.beginTransaction()
      await connection.query('insert into item values (2, 1)')
    }
  })
  expect((await world.ids())[1]).toEqual([1])
})
