/**
 * The requests that were met, by the keys that their callers chose. The answer is stored in the very
 * transaction that does the work, so there is never the one without the other: a caller that heard
 * `in-doubt`, or nothing at all, asks again with the same key and gets the same answer.
 *
 * Two requests of one key at a time: the later one waits at the key's row until the earlier one has
 * ended, also while that is prepared and waits for recovery.
 */
import type { Knex } from 'knex'
import { Refusal } from './refusal.ts'

interface Request {
  readonly key: string
  readonly asked: string
  readonly answer: string
}

export class Requests {
  readonly #ledger: Knex

  constructor(ledger: Knex) {
    this.#ledger = ledger
  }

  /**
   * The answer that was stored under the key; else that of `work`, stored.
   *
   * @param asked - what the request asks for: a key stands for one thing
   * @throws Refusal when the key was used for something else, or what `work` throws
   */
  async once(key: string, asked: unknown, work: () => Promise<unknown>): Promise<string> {
    const row = { key, asked: JSON.stringify(asked) }
    const inserted = await this.#ledger<Request>('request')
      .insert(row)
      .onConflict('key')
      .ignore()
      .returning('key')
    if (inserted.length === 0) return this.#stored(row)
    const answer = JSON.stringify(await work())
    await this.#ledger<Request>('request').where({ key }).update({ answer })
    return answer
  }

  async #stored({ key, asked }: Omit<Request, 'answer'>): Promise<string> {
    const stored = await this.#ledger<Request>('request').where({ key }).first()
    // It was there a moment ago: somebody clears old keys away.
    if (stored === undefined) throw new Refusal(409, `the request ${key} is being forgotten`)
    if (stored.asked !== asked) throw new Refusal(422, `${key} was used for another request`)
    return stored.answer
  }
}
