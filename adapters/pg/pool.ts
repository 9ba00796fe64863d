/**
 * A connection between its leaving the user's pool and its return or end.
 *
 * Invariants:
 *  1. From check-out to release it has an error listener: without one a dying connection ends the
 *     process. The listener leaves with it.
 *  2. It goes back to the pool only outside a transaction; a connection of unknown state is closed
 *     hard and never goes back.
 *  3. After `destroy` nothing pending is awaited for the server's sake: it rejects here.
 *  4. What begins a branch goes with whatever is said first, in one packet. If that is not known to
 *     have begun it, nothing more is said: without a BEGIN a statement would commit by itself.
 */
import { type Clock, errorOf, invariant, LATE, within } from '../../src/adapter.ts'
import { AS_TEXT, type PgPool, type PgPoolClient, type PgResult } from './driver-types.ts'

export class Session {
  readonly client: PgPoolClient
  #lost: Error | undefined
  #gone = false
  #whenGone: () => void = () => undefined
  #opening: readonly string[] | undefined
  readonly #onError = (cause: Error): void => {
    this.#lost ??= cause
  }

  constructor(client: PgPoolClient) {
    this.client = client
    client.on('error', this.#onError)
  }

  /** What ended the connection, once it is known to be dead. */
  get lost(): Error | undefined {
    return this.#lost
  }

  /** Sets what must go before anything else. */
  opens(opening: readonly string[]): void {
    this.#opening = opening
  }

  /** What begins the branch, as long as it was not said. */
  get opening(): readonly string[] | undefined {
    return this.#opening
  }

  /** It is being said, by whoever took it. Not said, or said twice, it would leave statements to commit alone. */
  takeOpening(): readonly string[] {
    const opening = this.#opening
    invariant(opening !== undefined, 'what begins a branch is said once')
    this.#opening = undefined
    return opening
  }

  /** Says alone what begins the branch. */
  async begin(): Promise<readonly PgResult[]> {
    return this.#runFirst()
  }

  /** One simple query; one result a statement. */
  async run(text: string): Promise<readonly PgResult[]> {
    if (this.#gone) throw new Error('the connection has gone back to the pool')
    if (this.#opening !== undefined) return this.#runFirst(text)
    const answer = await this.client.query({ text, types: AS_TEXT })
    return Array.isArray(answer) ? answer : [answer]
  }

  async #runFirst(...texts: readonly string[]): Promise<readonly PgResult[]> {
    const opening = this.takeOpening()
    try {
      const results = await this.run([...opening, ...texts].join('; '))
      return texts.length === 0 ? results : results.slice(opening.length)
    } catch (cause) {
      this.destroy(errorOf(cause))
      throw cause
    }
  }

  /** What reads its answer by itself. */
  submit(query: object): void {
    if (this.#gone) throw new Error('the connection has gone back to the pool')
    const client: { query(query: object): unknown } = this.client
    client.query(query)
  }

  /** Called when the connection has been given back, or closed. */
  onceGone(call: () => void): void {
    this.#whenGone = call
  }

  release(): void {
    if (this.#gone) return
    this.#gone = true
    // The pool puts its own listener on before ours goes.
    this.client.release()
    this.client.removeListener('error', this.#onError)
    this.#whenGone()
  }

  /** Our listener stays on the dead client: it may report its death more than once. */
  destroy(cause: Error): void {
    this.#lost ??= cause
    if (this.#gone) return
    this.#gone = true
    // release(true) first: it marks the client as ending, so that its death is no pool error.
    this.client.release(true)
    this.client.connection?.stream.destroy()
    this.#whenGone()
  }
}

/** Takes a connection within the bound; one that arrives later goes straight back. */
export async function acquire(
  pool: PgPool,
  clock: Clock,
  boundMs: number,
): Promise<Session | typeof LATE> {
  const connecting = checkOut(pool)
  const session = await within(clock, boundMs, connecting)
  if (session === LATE) connecting.then((late) => late.release()).catch(() => undefined)
  return session
}

/**
 * By callback: the pool takes its own listener off just before, and the packet that reports the death
 * of the connection may be the next one of the same chunk, ahead of any promise.
 */
function checkOut(pool: PgPool): Promise<Session> {
  return new Promise((resolve, reject) => {
    pool.connect((cause, client) => {
      if (client === undefined) reject(cause ?? new Error('the pool gave no connection'))
      else resolve(new Session(client))
    })
  })
}
