/** The public API as a compiler sees it; checked by `npm run types`. Nothing here runs. */
import type { Pool as CallbackPool } from 'mysql2'
import type { Connection, Pool as MysqlPool, PoolConnection, RowDataPacket } from 'mysql2/promise'
import type { ClientBase, Pool, PoolClient, QueryResult } from 'pg'
import { Coordinator, type TransactionError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <T extends true>(): T | undefined => undefined

export async function typed(pgPool: Pool, mysqlPool: MysqlPool): Promise<void> {
  const coordinator = await Coordinator.open({
    log: './decisions',
    participants: { ledger: postgres(pgPool), shop: mysql(mysqlPool) },
  })

  const answer = await coordinator.transaction(
    async (tx) => {
      const rows: QueryResult<{ id: number }> = await tx.ledger.query<{ id: number }>('select 1')
      const [wallets] = await tx.shop.query<RowDataPacket[]>('select ?', [1])
      const client: Pick<ClientBase, 'escapeLiteral'> = tx.ledger
      const connection: Pick<Connection, 'format' | 'escape'> = tx.shop
      const gtrid: string = tx.gtrid
      // @ts-expect-error there is no such participant
      const lager: unknown = tx.lager
      return { rows, lager, wallets, client, connection, gtrid }
    },
    { name: 'typed', isolation: { ledger: 'serializable' }, readOnly: ['shop'] },
  )
  holds<Equal<typeof answer.wallets, RowDataPacket[]>>()

  // @ts-expect-error there is no such participant
  await coordinator.transaction(async () => 1, { readOnly: ['lager'] })
  // @ts-expect-error there is no such isolation level
  await coordinator.transaction(async () => 1, { isolation: 'chaos' })

  // @ts-expect-error there is no such propagation
  await coordinator.transaction(async () => 1, { propagation: 'never' })

  // @ts-expect-error the transaction object uses the name for itself
  await Coordinator.open({ log: './decisions', participants: { commit: postgres(pgPool) } })
  // @ts-expect-error a pool is no adapter
  await Coordinator.open({ log: './decisions', participants: { ledger: pgPool } })
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

/** Drop-ins have the very types of the pools, so that code for one takes the other. */
export async function dropIns(
  pgPool: Pool,
  promises: MysqlPool,
  callbacks: CallbackPool,
): Promise<void> {
  const coordinator = await Coordinator.open({
    log: './decisions',
    participants: { ledger: postgres(pgPool), shop: mysql(promises), other: mysql(callbacks) },
  })
  const ledger: Pool = coordinator.pool('ledger')
  const shop: MysqlPool = coordinator.pool('shop')
  const other: CallbackPool = coordinator.pool('other')
  // @ts-expect-error a promise pool is no callback pool
  const wrong: CallbackPool = coordinator.pool('shop')
  // @ts-expect-error there is no such participant
  coordinator.pool('lager')

  await using tx = await coordinator.begin({ name: 'explicit' })
  const client: PoolClient = tx.ledger
  const connection: PoolConnection = tx.shop
  const three: number = await tx.savepoint(async () => 3)
  tx.afterCommit(() => undefined)
  const current: Pick<PoolClient, 'query'> | undefined = coordinator.current()?.ledger
  const outside: number = await coordinator.outside(async () => 1)
  await tx.commit()
  await coordinator.transaction(async (inner) => {
    // @ts-expect-error the callback's own end commits
    const commit: unknown = inner.commit
    return commit
  })
  void [ledger, shop, other, wrong, client, connection, three, current, outside]
}
