/**
 * Waits that are all as long, and so are over in the order in which they began: one timer, for the oldest,
 * is enough for all of them, and is seldom set.
 */
import { type Clock, LATE, type Timer } from './clock.ts'

/** In the order of their begin, a ring. Who leaves it lets go of the others: one that is old keeps no young ones. */
class Wait implements Timer {
  before: Wait = this
  after: Wait = this
  readonly dueAt: number
  readonly late: () => void
  readonly #onLeft: () => void

  constructor(dueAt: number, late: () => void, onLeft: () => void) {
    this.dueAt = dueAt
    this.late = late
    this.#onLeft = onLeft
  }

  enter(ring: Wait): void {
    this.before = ring.before
    this.after = ring
    ring.before.after = this
    ring.before = this
  }

  clear(): void {
    this.before.after = this.after
    this.after.before = this.before
    this.before = this
    this.after = this
    this.#onLeft()
  }
}

const noop = (): void => undefined

export class Waits {
  readonly #clock: Clock
  readonly #limitMs: number
  readonly #holds: boolean
  readonly #ring: Wait = new Wait(Number.POSITIVE_INFINITY, noop, noop)
  #timer: Timer | undefined

  /**
   * @param limitMs - of each
   * @param holds - whether a wait alone keeps the process running. Default: false
   */
  constructor(clock: Clock, limitMs: number, holds = false) {
    this.#clock = clock
    this.#limitMs = limitMs
    this.#holds = holds
  }

  /** Calls `late` once the time is over, unless it is cleared before. */
  begin(late: () => void): Timer {
    const wait = new Wait(this.#clock.monotonic() + this.#limitMs, late, this.#onLeft)
    wait.enter(this.#ring)
    if (this.#timer === undefined) this.#arm(this.#limitMs)
    return wait
  }

  /** Waits for `work` as `within` of clock.ts does. */
  within<T>(work: Promise<T>): Promise<T | typeof LATE> {
    return new Promise((resolve, reject) => {
      const wait = this.begin(() => resolve(LATE))
      work.then(
        (value) => {
          wait.clear()
          resolve(value)
        },
        (cause: unknown) => {
          wait.clear()
          reject(cause)
        },
      )
    })
  }

  #arm(delayMs: number): void {
    // Whoever was late may have begun another wait, which has more time.
    this.#timer?.clear()
    this.#timer = this.#clock.timer(delayMs, this.#look, this.#holds)
  }

  readonly #look = (): void => {
    this.#timer = undefined
    const now = this.#clock.monotonic()
    try {
      for (let oldest = this.#oldest; oldest !== undefined; oldest = this.#oldest) {
        if (oldest.dueAt > now) return
        oldest.clear()
        oldest.late()
      }
    } finally {
      // Whatever one of them threw: the others have their time all the same.
      const left = this.#oldest
      if (left !== undefined) this.#arm(Math.max(0, left.dueAt - now))
    }
  }

  get #oldest(): Wait | undefined {
    return this.#ring.after === this.#ring ? undefined : this.#ring.after
  }

  /** A timer that nobody waits for is left as it is, for those who come, unless it would keep the process. */
  readonly #onLeft = (): void => {
    if (!this.#holds || this.#oldest !== undefined) return
    this.#timer?.clear()
    this.#timer = undefined
  }
}
