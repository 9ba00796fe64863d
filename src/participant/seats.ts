/**
 * Who may ask a pool for a connection, so that two pools cannot starve each other (rule 9).
 *
 * Transactions that hold nothing could take every connection of pool A, others every one of pool B,
 * and each would wait for the other kind to the end of its patience, again and again. So a transaction
 * without a connection takes a seat first, and a pool's last seat is free only while no other pool is
 * full of such. Then one pool at least has a connection for those who hold another; they finish, and
 * with them the rest.
 *
 *   - Who holds a connection needs no seat, and goes ahead of those who wait for one.
 *   - A seat is kept until its connection has gone back.
 *   - While only one pool is in demand, all of its connections are.
 * What application code takes by itself is not counted: `acquireMs` ends that wait.
 */
interface Pool {
  readonly size: number
  seated: number
  readonly waiting: Set<Claim>
}

export class Seats {
  readonly #pools: Map<string, Pool> = new Map()

  /**
   * @param name - of the participant
   * @param size - connections that its pool may open
   */
  claim(name: string, size: number): Claim {
    const pool = this.#pools.get(name) ?? { size, seated: 0, waiting: new Set() }
    this.#pools.set(name, pool)
    const claim = new Claim(this, pool)
    // Seldom does anybody wait: a Set that all pass through would carry what it holds into the old space.
    if (pool.waiting.size === 0 && this.#isFree(pool)) this.#seat(pool, claim)
    else pool.waiting.add(claim)
    return claim
  }

  /** Of a claim: gives up its seat in the pool, or its place in the queue. */
  leave(pool: Pool, claim: Claim): void {
    if (pool.waiting.delete(claim)) return
    pool.seated -= 1
    for (const each of this.#pools.values()) this.#admit(each)
  }

  #admit(pool: Pool): void {
    for (const claim of pool.waiting) {
      if (!this.#isFree(pool)) return
      pool.waiting.delete(claim)
      this.#seat(pool, claim)
    }
  }

  #seat(pool: Pool, claim: Claim): void {
    pool.seated += 1
    claim.admit()
  }

  #isFree(pool: Pool): boolean {
    if (pool.seated + 1 < pool.size) return true
    if (pool.seated >= pool.size) return false
    for (const other of this.#pools.values()) {
      if (other !== pool && other.seated >= other.size) return false
    }
    return true
  }
}

/** One branch's wait for a seat, and its seat. */
export class Claim {
  readonly #seats: Seats
  readonly #pool: Pool
  #admitted = false
  #over = false
  #tell: (() => void) | undefined

  constructor(seats: Seats, pool: Pool) {
    this.#seats = seats
    this.#pool = pool
  }

  get admitted(): boolean {
    return this.#admitted
  }

  /** Resolves when the branch may ask its pool. */
  whenAdmitted(): Promise<void> {
    if (this.#admitted) return Promise.resolve()
    return new Promise((resolve) => {
      this.#tell = resolve
    })
  }

  admit(): void {
    this.#admitted = true
    this.#tell?.()
  }

  /** The transaction has come by a connection elsewhere: what still waits for a seat needs none. */
  waive(): void {
    if (this.#admitted) return
    this.leave()
    this.admit()
  }

  /** Gives the seat back, or the place in the queue. */
  leave(): void {
    if (this.#over) return
    this.#over = true
    this.#seats.leave(this.#pool, this)
  }
}
