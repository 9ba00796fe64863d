/** What there is to buy, and what was bought: a repository on Kysely, like any other. */
import type { Kysely } from 'kysely'
import { Refusal } from './refusal.ts'

export interface Purchase {
  readonly id: string
  readonly customer: number
  readonly item: number
  readonly quantity: number
  readonly cents: number
}

export interface Tables {
  readonly item: { readonly id: number; readonly price: number; readonly stock: number }
  readonly purchase: Purchase
}

export class Items {
  readonly #shop: Kysely<Tables>

  constructor(shop: Kysely<Tables>) {
    this.#shop = shop
  }

  /** @returns the price of it all. @throws Refusal when there is not that much of it */
  async take(item: number, quantity: number): Promise<number> {
    const { numUpdatedRows } = await this.#shop
      .updateTable('item')
      .set(({ eb }) => ({ stock: eb('stock', '-', quantity) }))
      .where('id', '=', item)
      .where('stock', '>=', quantity)
      .executeTakeFirst()
    if (numUpdatedRows !== 1n) throw new Refusal(409, `there are no ${quantity} of item ${item}`)
    const { price } = await this.#shop
      .selectFrom('item')
      .select('price')
      .where('id', '=', item)
      .executeTakeFirstOrThrow()
    return quantity * price
  }

  async record(purchase: Purchase): Promise<void> {
    await this.#shop.insertInto('purchase').values(purchase).execute()
  }

  async find(id: string): Promise<Purchase | undefined> {
    return this.#shop.selectFrom('purchase').selectAll().where('id', '=', id).executeTakeFirst()
  }
}
