/**
 * What the shop does. Each use case is one transaction over both databases; the repositories that it
 * calls know of none, and would work in an application without one.
 */
import { randomUUID } from 'node:crypto'
import knex from 'knex'
import { Kysely, MysqlDialect } from 'kysely'
import { Coordinator } from 'unanimous'
import { knexOver } from 'unanimous/knex'
import { kyselyOver } from 'unanimous/kysely'
import { Credits } from './credits.ts'
import { decisions, participants } from './databases.ts'
import { Items, type Purchase, type Tables } from './items.ts'
import { Requests } from './requests.ts'

export interface Order {
  readonly customer: number
  readonly item: number
  readonly quantity: number
}

export interface Shop {
  /** Of the decision log: every transaction's id begins with it. */
  readonly logId: string
  /**
   * Sells, once per key.
   *
   * @returns the purchase as JSON, the same for the same key
   * @throws TransactionError as the transaction ended; its cause is a Refusal where we refused
   */
  buy(key: string, order: Order): Promise<string>
  find(id: string): Promise<Purchase | undefined>
  /** Ends what is running, then the log. The pools stay open. */
  close(): Promise<void>
}

/** Opens the coordinator, which settles what a killed process left behind, and the shop over it. */
export async function openShop(): Promise<Shop> {
  // After a restart the process before may still be closing: wait for its lock.
  const log = { directory: decisions, lockWaitMs: 30_000 }
  const coordinator = await Coordinator.open({ log, participants })
  // The builders get the drop-ins: inside a transaction their work joins it.
  const ledger = knex({ client: 'pg', connectionPool: knexOver(coordinator.pool('ledger')) })
  const shop = new Kysely<Tables>({
    dialect: new MysqlDialect({ pool: kyselyOver(coordinator.pool('shop')) }),
  })
  const [credits, items, requests] = [new Credits(ledger), new Items(shop), new Requests(ledger)]

  async function sell({ customer, item, quantity }: Order): Promise<Purchase> {
    const cents = await items.take(item, quantity)
    const purchase = { id: randomUUID(), customer, item, quantity, cents }
    await credits.pay(purchase.id, customer, cents)
    await items.record(purchase)
    return purchase
  }

  return {
    logId: coordinator.logId,
    buy: (key, order) =>
      coordinator.transaction(() => requests.once(key, order, () => sell(order)), {
        name: 'buy',
        meta: { key },
        retry: { attempts: 3 },
      }),
    find: (id) => items.find(id),
    async close() {
      await coordinator.close()
    },
  }
}
