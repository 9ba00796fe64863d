/** The public API as a compiler sees it; checked by `npm run types`. Nothing here runs. */
import type { Connection, Pool as MysqlPool, RowDataPacket } from 'mysql2/promise'
import type { ClientBase, Pool, QueryResult } from 'pg'
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
      tx.lager.query('select 1')
      return { rows, wallets, client, connection, gtrid }
    },
    { name: 'typed', isolation: { ledger: 'serializable' }, readOnly: ['shop'] },
  )
  holds<Equal<typeof answer.wallets, RowDataPacket[]>>()

  // @ts-expect-error there is no such participant
  await coordinator.transaction(async () => 1, { readOnly: ['lager'] })
  // @ts-expect-error there is no such isolation level
  await coordinator.transaction(async () => 1, { isolation: 'chaos' })

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
