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
import { type Clock, errorOf, invariant, type LATE, type Seat } from '../../src/adapter.ts'
import type { Patience } from '../dialect/patience.ts'
import { answerTo, type Done, takeInTime } from '../dialect/waiting.ts'
import type { PgPool, PgPoolClient, PgResult } from './driver-types.ts'
import { askOwn } from './own-query.ts'

/** Whose connections are taken, and how. */
export interface Lender {
  readonly pool: PgPool
  readonly clock: Clock
  readonly patience: Patience
}

export class Session {
  readonly client: PgPoolClient
  readonly #patience: Patience
  #lost: Error | undefined
  #gone = false
  #seat: Seat | undefined
  #isDone: (() => Promise<boolean>) | undefined
  #opening: readonly string[] | undefined
  readonly #onError = (cause: Error): void => {
    this.#lost ??= cause
  }

  constructor(client: PgPoolClient, patience: Patience) {
    this.client = client
    this.#patience = patience
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
  begin(): Promise<readonly PgResult[]> {
    return this.#first((opening) => this.#ask(opening.join('; ')))
  }

  /** A verb of ours, whose answer comes in time or not at all. One simple query; one result a statement. */
  ask(text: string): Promise<readonly PgResult[]> {
    if (this.#opening === undefined) return this.#ask(text)
    return this.#behindFirst(text, (merged) => this.#ask(merged))
  }

  /** The same for what may take its time, in the application's stead. */
  run(text: string): Promise<readonly PgResult[]> {
    if (this.#opening === undefined) return this.#run(text)
    return this.#behindFirst(text, (merged) => this.#run(merged))
  }

  #ask(text: string): Promise<readonly PgResult[]> {
    return this.#patience.ask((done) => this.#send(text, done))
  }

  #run(text: string): Promise<readonly PgResult[]> {
    return answerTo((done) => this.#send(text, done))
  }

  #send(text: string, done: Done<readonly PgResult[]>): void {
    if (this.#gone) {
      done(new Error('the connection has gone back to the pool'))
      return
    }
    const told = (cause: unknown, answer: PgResult | PgResult[] | undefined): void => {
      if (answer === undefined) done(cause)
      else done(null, Array.isArray(answer) ? answer : [answer])
    }
    askOwn(this.client, text, told)
  }

  #behindFirst(
    text: string,
    say: (merged: string) => Promise<readonly PgResult[]>,
  ): Promise<readonly PgResult[]> {
    return this.#first(async (opening) => {
      const results = await say([...opening, text].join('; '))
      return results.slice(opening.length)
    })
  }

  async #first(
    say: (opening: readonly string[]) => Promise<readonly PgResult[]>,
  ): Promise<readonly PgResult[]> {
    const opening = this.takeOpening()
    try {
      return await say(opening)
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

  /** Sets how it is seen that the server does nothing for this session. */
  watchedBy(isDone: () => Promise<boolean>): void {
    this.#isDone = isDone
  }

  /** For what takes its time, and was sent: waits for it, and not for what the server has done with. */
  long<T>(asked: Promise<T>): Promise<T> {
    return this.#isDone === undefined ? asked : this.#patience.askLong(this.#isDone, asked)
  }

  /** Leaves the seat when the connection has been given back, or closed. */
  sits(seat: Seat): void {
    this.#seat = seat
  }

  release(): void {
    if (this.#gone) return
    this.#gone = true
    // The pool puts its own listener on before ours goes.
    this.client.release()
    this.client.removeListener('error', this.#onError)
    this.#seat?.left()
  }

  /** Our listener stays on the dead client: it may report its death more than once. */
  destroy(cause: Error): void {
    this.#lost ??= cause
    if (this.#gone) return
    this.#gone = true
    // release(true) first: it marks the client as ending, so that its death is no pool error.
    this.client.release(true)
    this.client.connection?.stream.destroy()
    this.#seat?.left()
  }
}

/**
 * By callback: the pool takes its own listener off just before, and the packet that reports the death
 * of the connection may be the next one of the same chunk, ahead of any promise.
 */
export function acquire(
  { pool, clock, patience }: Lender,
  boundMs: number,
  seat: Seat,
): Promise<Session | typeof LATE> {
  return takeInTime(clock, boundMs, seat, (done) => {
    pool.connect((cause, client) => {
      if (client === undefined) done(cause ?? new Error('the pool gave no connection'))
      else done(null, new Session(client, patience))
    })
  })
}
