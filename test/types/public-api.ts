/**
 * The public API as a compiler sees it; checked by `npm run types`. Nothing here runs.
 *
 * Equality, rather than assignment, wherever `any` would pass unseen.
 */
import type { Pool as CallbackPool } from 'mysql2'
import type {
  Connection,
  FieldPacket,
  Pool as MysqlPool,
  QueryResult as MysqlResult,
  PoolConnection,
  RowDataPacket,
} from 'mysql2/promise'
import { type ClientBase, Pool, type PoolClient, type QueryResult } from 'pg'
import {
  Coordinator,
  defineConfig,
  type ReservedName,
  type TransactionError,
  type TransactionVerbs,
} from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <T extends true>(): T | undefined => undefined

const open = (pgPool: Pool, mysqlPool: MysqlPool) =>
  Coordinator.open({
    log: './decisions',
    participants: { ledger: postgres(pgPool), shop: mysql(mysqlPool) },
  })
type Ours = Awaited<ReturnType<typeof open>>

/** In a transaction the handles are the drivers' own types, rows included. */
export async function handles(coordinator: Ours): Promise<void> {
  const answer = await coordinator.transaction(
    async (tx) => {
      holds<Equal<typeof tx.ledger, PoolClient>>()
      holds<Equal<typeof tx.shop, PoolConnection>>()
      const rows: QueryResult<{ id: number }> = await tx.ledger.query<{ id: number }>('select 1')
      const [wallets] = await tx.shop.query<RowDataPacket[]>('select ?', [1])
      const client: Pick<ClientBase, 'escapeLiteral'> = tx.ledger
      const connection: Pick<Connection, 'format' | 'escape'> = tx.shop
      holds<Equal<typeof tx.gtrid, string>>()
      // @ts-expect-error there is no such participant
      const lager: unknown = tx.lager
      // @ts-expect-error only who began it by hand ends it by hand
      const commit: unknown = tx.commit
      // @ts-expect-error a handle is not to be replaced
      tx.ledger = client
      return { rows, lager, commit, wallets, connection }
    },
    { name: 'typed', isolation: { ledger: 'serializable' }, readOnly: ['shop'] },
  )
  holds<Equal<typeof answer.wallets, RowDataPacket[]>>()
  holds<Equal<typeof answer.rows, QueryResult<{ id: number }>>>()
  const sync = await coordinator.transaction(() => 3)
  holds<Equal<typeof sync, number>>()
}

export async function options(coordinator: Ours): Promise<void> {
  const work = async (): Promise<number> => 1
  await coordinator.transaction(work, { propagation: 'new', retry: { attempts: 3 } })
  // @ts-expect-error there is no such participant
  await coordinator.transaction(work, { readOnly: ['lager'] })
  // @ts-expect-error there is no such participant
  await coordinator.transaction(work, { isolation: { lager: 'serializable' } })
  // @ts-expect-error there is no such isolation level
  await coordinator.transaction(work, { isolation: 'chaos' })
  // @ts-expect-error there is no such propagation
  await coordinator.transaction(work, { propagation: 'never' })
  // @ts-expect-error milliseconds are called so
  await coordinator.transaction(work, { timeout: 5 })
  // @ts-expect-error what is ended by hand cannot be run again
  await coordinator.begin({ retry: { attempts: 3 } })
}

/** Each answer is its driver's, in the place of its statement. */
export async function inAdvance(coordinator: Ours): Promise<void> {
  const answers = await coordinator.execute(
    [
      { on: 'ledger', text: 'select $1', values: [1] },
      { on: 'shop', text: 'select ?', values: [1] },
      { on: 'shop', text: 'select :id', values: { id: 1 } },
    ],
    { name: 'typed', readOnly: ['shop'], settle: 'behind', retry: { attempts: 3 } },
  )
  holds<Equal<(typeof answers)['length'], 3>>()
  holds<Equal<(typeof answers)[0], QueryResult>>()
  holds<Equal<(typeof answers)[1], [MysqlResult, FieldPacket[]]>>()
  const list: { on: 'ledger'; text: string }[] = []
  const results = await coordinator.execute(list)
  holds<Equal<typeof results, QueryResult[]>>()
  // @ts-expect-error there is no such participant
  await coordinator.execute([{ on: 'lager', text: 'select 1' }])
  // @ts-expect-error a statement has a text
  await coordinator.execute([{ on: 'ledger' }])
  // @ts-expect-error it is never part of another one
  await coordinator.execute([], { propagation: 'join' })
  // @ts-expect-error there is no such way to settle
  await coordinator.transaction(() => 1, { settle: 'later' })
}

export async function participants(pgPool: Pool): Promise<void> {
  // @ts-expect-error the transaction object uses the name for itself
  await Coordinator.open({ log: './decisions', participants: { commit: postgres(pgPool) } })
  // @ts-expect-error a pool is no adapter
  await Coordinator.open({ log: './decisions', participants: { ledger: pgPool } })
  // @ts-expect-error a log has a place
  await Coordinator.open({ participants: { ledger: postgres(pgPool) } })
  // Whatever `tx` has for itself, no participant may be called.
  holds<Equal<Exclude<keyof TransactionVerbs, ReservedName>, never>>()
  // @ts-expect-error it is no server's pool
  postgres({ query: () => undefined })
  // @ts-expect-error an unsafe setting is allowed by its code
  postgres(pgPool, { allow: ['everything'] })
  defineConfig({ log: './decisions', participants: { ledger: postgres(pgPool) } })
  // @ts-expect-error the command line needs the participants too
  defineConfig({ log: './decisions' })
}

export function outcomes(error: TransactionError): string {
  switch (error.outcome) {
    case 'committed':
    case 'rolled-back':
    case 'in-doubt':
    case 'heuristic':
      return error.outcome
  }
}

class Measured extends Pool {
  readonly waits: readonly number[] = []
}

/** Drop-ins have the very types of the pools, so that code for one takes the other. */
export async function dropIns(promises: MysqlPool, callbacks: CallbackPool): Promise<void> {
  const coordinator = await Coordinator.open({
    log: './decisions',
    participants: {
      ledger: postgres(new Pool()),
      measured: postgres(new Measured()),
      shop: mysql(promises),
      other: mysql(callbacks),
    },
  })
  const [ledger, shop, other] = [
    coordinator.pool('ledger'),
    coordinator.pool('shop'),
    coordinator.pool('other'),
  ]
  holds<Equal<typeof ledger, Pool>>()
  holds<Equal<typeof shop, MysqlPool>>()
  holds<Equal<typeof other, CallbackPool>>()
  const taken: [Pool, MysqlPool, CallbackPool] = [ledger, shop, other]
  const measured = coordinator.pool('measured')
  holds<Equal<typeof measured, Measured>>()
  // @ts-expect-error a promise pool is no callback pool
  const wrong: CallbackPool = shop
  // @ts-expect-error there is no such participant
  coordinator.pool('lager')
  void [taken, wrong]
}

export async function explicit(coordinator: Ours): Promise<void> {
  await using tx = await coordinator.begin({ name: 'explicit' })
  holds<Equal<typeof tx.ledger, PoolClient>>()
  const three = await tx.savepoint(async () => 3)
  holds<Equal<typeof three, number>>()
  tx.afterCommit(() => undefined)
  tx.afterRollback(async () => undefined)
  // @ts-expect-error a hook is called with nothing
  tx.afterCommit((gtrid: string) => gtrid)
  const current = coordinator.current()?.ledger
  holds<Equal<typeof current, PoolClient | undefined>>()
  const outside = coordinator.outside(() => 1)
  holds<Equal<typeof outside, number>>()
  const ran = tx.run(async () => 'ran')
  holds<Equal<typeof ran, Promise<string>>>()
  await tx.commit()
  // @ts-expect-error there is no such participant
  const lager: unknown = tx.lager
  void [await ran, lager]
}
