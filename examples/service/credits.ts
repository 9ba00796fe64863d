/** What customers can spend, and what they have paid: a repository on knex, like any other. */
import type { Knex } from 'knex'
import { Refusal } from './refusal.ts'

export class Credits {
  readonly #ledger: Knex

  constructor(ledger: Knex) {
    this.#ledger = ledger
  }

  /** @throws Refusal when the customer cannot afford it */
  async pay(purchase: string, customer: number, cents: number): Promise<void> {
    const paid = await this.#ledger('credit')
      .where({ customer })
      .where('cents', '>=', cents)
      .decrement('cents', cents)
    if (paid !== 1) throw new Refusal(409, `customer ${customer} cannot pay ${cents}`)
    await this.#ledger('payment').insert({ purchase, customer, cents })
  }
}
