/**
 * Sessions that stay as branches need them. To limit a session's lock waits, and to give it back its own,
 * are two statements a branch, and on MySQL, where the pool takes no several in one packet, two trips; in
 * one packet they still cost MySQL a tenth of the transfers. So a session keeps its limits while it lies in
 * the pool, and has its own waits again ahead of what the next borrower says, unless that is a branch. On
 * MySQL that branch does not say them again; what may have changed them is looked for in the application's
 * texts (`Session.runs`).
 *
 *   - A pool tells of everybody who takes a free connection, before they have it. What it hands to those in
 *     its queue it does not tell of: while somebody is there, nothing is kept.
 *   - What else listens to the pool may speak on a connection before we do: then nothing is kept either.
 *   - A pool that resets what it gets back gives the session its own waits by itself.
 *   - Where a pool has other borrowers in turn with branches, each of them would wait for a trip of ours:
 *     after one did, the next branches give back what they take, in their own packets.
 */
import { corePool, type MysqlPoolCore, type MysqlPromisePool } from './driver-types.ts'

/** For so many branches after somebody else took a session with our limits. */
const BRANCHES_APART = 100

/** When so many are kept, those that have died since are let go of. */
const LOOK_AT = 64

export class Kept {
  readonly #pool: ReturnType<typeof corePool>
  readonly #giveBack: (connection: MysqlPoolCore, restore: string) => void
  /** In the pool, each with what gives it its own waits. */
  readonly #sessions = new Map<MysqlPoolCore, string>()
  #lookAt = LOOK_AT
  #apart = 0
  #isTaking = false
  #listens = false
  #isClosed = false

  /** @param giveBack - says it on a connection, ahead of all that follows */
  constructor(
    pool: MysqlPromisePool,
    giveBack: (connection: MysqlPoolCore, restore: string) => void,
  ) {
    this.#pool = corePool(pool)
    this.#giveBack = giveBack
  }

  /** Whether the next branch may leave its limits behind; counts those that may not. */
  admitsNext(): boolean {
    if (this.#apart === 0) return this.#isAlone()
    this.#apart -= 1
    return false
  }

  /** Asks the pool for the participant itself: what is kept stays as it is. */
  taking(ask: () => void): void {
    this.#isTaking = true
    try {
      ask()
    } finally {
      this.#isTaking = false
    }
  }

  /** It is the participant's now. Answers what gives it its own waits, if it has limits. */
  took(connection: MysqlPoolCore): string | undefined {
    const restore = this.#sessions.get(connection)
    if (restore !== undefined) this.#sessions.delete(connection)
    return restore
  }

  /** It is about to go back to the pool with its limits; `false`: it may not. */
  keep(connection: MysqlPoolCore, restore: string): boolean {
    if (!this.#isAlone()) {
      this.#giveAllBack()
      return false
    }
    if (!this.#listens) {
      this.#pool.on('acquire', this.#onAcquire)
      this.#listens = true
    }
    if (this.#sessions.size >= this.#lookAt) this.#forgetDead()
    this.#sessions.set(connection, restore)
    return true
  }

  /** Gives every session its own waits. Branches that end later keep nothing. */
  close(): void {
    this.#isClosed = true
    this.#pool.removeListener('acquire', this.#onAcquire)
    this.#giveAllBack()
  }

  /** Whether nobody is in the pool's queue, or hears of its connections; a pool of another build does not tell. */
  #isAlone(): boolean {
    const { _connectionQueue: queue, config } = this.#pool
    if (this.#isClosed || queue?.length !== 0 || config.resetOnRelease === true) return false
    const others = this.#pool.listenerCount('acquire') - (this.#listens ? 1 : 0)
    return others === 0 && this.#pool.listenerCount('release') === 0
  }

  #giveAllBack(): void {
    this.#forgetDead()
    for (const [connection, restore] of this.#sessions) this.#giveBack(connection, restore)
    this.#sessions.clear()
  }

  #forgetDead(): void {
    for (const connection of this.#sessions.keys()) {
      if (connection.stream.destroyed === true) this.#sessions.delete(connection)
    }
    this.#lookAt = Math.max(LOOK_AT, 2 * this.#sessions.size)
  }

  readonly #onAcquire = (connection: MysqlPoolCore): void => {
    if (this.#isTaking) return
    const restore = this.took(connection)
    if (restore === undefined) return
    this.#apart = BRANCHES_APART
    this.#giveBack(connection, restore)
  }
}
