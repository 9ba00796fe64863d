/**
 * A participant's own connection, for contact, listing, settling and proving (rule 9): made apart
 * from the user's pool, so that application code can neither take it nor make it wait.
 *
 * Invariants:
 *  1. One piece of work at a time.
 *  2. After anything but a server's proper answer the connection is destroyed, and the next work gets
 *     a new one (rule 3).
 *  3. No work outlives its limit: the connection is destroyed under it, and its fate is unknown.
 *  4. An idle connection does not keep the process running.
 */
import { type Clock, LATE, messageOf, UnanimousError, within } from '../../src/adapter.ts'

/** What a lane must be told about a driver's connections. */
export interface LaneDriver<C> {
  /** Opens a connection that has listeners for its errors. */
  open(): Promise<C>
  alive(connection: C): boolean
  /** Whether the error is a server's answer after which the connection is sound. */
  isAnswer(cause: unknown): boolean
  /** Closes the socket at once; what was pending rejects. */
  destroy(connection: C): void
  /** Takes leave of the server; never throws. */
  end(connection: C): Promise<void>
  /** Whether the connection alone keeps the process running. */
  hold(connection: C, held: boolean): void
}

const CLOSE_MS = 1_000

export class Lane<C> {
  readonly #name: string
  readonly #clock: Clock
  readonly #driver: LaneDriver<C>
  readonly #limitMs: number
  #connection: C | undefined
  #tail: Promise<unknown> = Promise.resolve()
  #closed = false

  /** @param limitMs - how long a connect, and how long one piece of work, may take */
  constructor(name: string, clock: Clock, limitMs: number, driver: LaneDriver<C>) {
    this.#name = name
    this.#clock = clock
    this.#limitMs = limitMs
    this.#driver = driver
  }

  /**
   * Runs work on the connection, after what was asked before.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE, or what the work throws
   */
  use<T>(work: (connection: C) => Promise<T>): Promise<T> {
    const run = this.#tail.then(() => this.#run(work))
    this.#tail = run.catch(() => undefined)
    return run
  }

  /** The next work gets a new connection, which may lead to another server. */
  renew(): void {
    this.#tail = this.#tail.then(() => {
      if (this.#connection !== undefined) this.#drop(this.#connection)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    const idle = await within(this.#clock, CLOSE_MS, this.#tail)
    const connection = this.#connection
    this.#connection = undefined
    if (connection === undefined) return
    if (idle !== LATE && this.#driver.alive(connection)) {
      await within(this.#clock, CLOSE_MS, this.#driver.end(connection))
    }
    this.#driver.destroy(connection)
  }

  async #run<T>(work: (connection: C) => Promise<T>): Promise<T> {
    const connection = await this.#connected()
    this.#driver.hold(connection, true)
    try {
      const answer = await within(this.#clock, this.#limitMs, work(connection))
      if (answer !== LATE) return answer
      throw this.#unreachable(`no answer within ${this.#limitMs} ms`)
    } catch (cause) {
      if (!this.#driver.isAnswer(cause)) this.#drop(connection)
      throw cause
    } finally {
      if (this.#connection !== undefined) this.#driver.hold(connection, false)
    }
  }

  async #connected(): Promise<C> {
    if (this.#closed) throw this.#unreachable('closed')
    if (this.#connection !== undefined) {
      if (this.#driver.alive(this.#connection)) return this.#connection
      this.#drop(this.#connection)
    }
    const opening = this.#driver.open()
    let opened: C | typeof LATE
    try {
      opened = await within(this.#clock, this.#limitMs, opening)
    } catch (cause) {
      throw this.#unreachable(messageOf(cause), cause)
    }
    if (opened === LATE) {
      opening.then((late) => this.#driver.destroy(late)).catch(() => undefined)
      throw this.#unreachable(`no connection within ${this.#limitMs} ms`)
    }
    if (this.#closed) {
      this.#driver.destroy(opened)
      throw this.#unreachable('closed')
    }
    this.#connection = opened
    return opened
  }

  #drop(connection: C): void {
    if (this.#connection === connection) this.#connection = undefined
    this.#driver.destroy(connection)
  }

  #unreachable(why: string, cause?: unknown): UnanimousError {
    return new UnanimousError('PARTICIPANT_UNREACHABLE', `${this.#name}: ${why}`, {
      hint: "check that the server runs, and the pool's host, port and login",
      cause,
    })
  }
}
