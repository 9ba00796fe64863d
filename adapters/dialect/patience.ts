/**
 * How long a server may take to answer our verbs on the connections of branches. Those of a
 * participant all have the same time, so they are overdue in the order in which they were asked: one
 * timer, for the oldest, is enough, and is seldom set.
 */
import { type Clock, errorOf, type Timer } from '../../src/adapter.ts'
import type { Done } from './waiting.ts'

/** In the order of asking, a ring. Whoever leaves it lets go of the others: one that is old keeps no young ones. */
class Asked {
  before: Asked = this
  after: Asked = this
  readonly dueAt: number
  readonly late: () => void

  constructor(dueAt: number, late: () => void) {
    this.dueAt = dueAt
    this.late = late
  }

  enter(ring: Asked): void {
    this.before = ring.before
    this.after = ring
    ring.before.after = this
    ring.before = this
  }

  leave(): void {
    this.before.after = this.after
    this.after.before = this.before
    this.before = this
    this.after = this
  }
}

export class Patience {
  readonly #clock: Clock
  readonly #limitMs: number
  readonly #asked: Asked = new Asked(Number.POSITIVE_INFINITY, () => undefined)
  #timer: Timer | undefined

  /** @param limitMs - for one answer */
  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock
    this.#limitMs = limitMs
  }

  /** Rejects when the answer is an error, or does not come: a half-open connection keeps nobody for ever. */
  ask<T>(send: (done: Done<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const asked = this.#enter(() => reject(new Error(`no answer within ${this.#limitMs} ms`)))
      send((cause, answer) => {
        asked.leave()
        if (cause === null || cause === undefined) resolve(answer as T)
        else reject(errorOf(cause))
      })
    })
  }

  /**
   * For what may take its time. It is waited for until the server has done with it, and its answer is not
   * there: that was lost, or it never arrived.
   *
   * @param isDone - whether the server is seen to do nothing for the session
   */
  askLong<T>(isDone: () => Promise<boolean>, asked: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let isOver = false
      let idle = 0
      const looked = (isIdle: boolean): void => {
        idle = isIdle ? idle + 1 : 0
        if (!isOver) waiting = this.#enter(late)
      }
      const late = (): void => {
        // At one look the packet may still be read, and at the next its answer be on its way.
        if (idle === 2) reject(new Error('no answer, and the session is idle'))
        // It may wait for a server that is out of reach: the answer does not wait for the look.
        else isDone().then(looked, () => looked(false))
      }
      let waiting = this.#enter(late)
      const end = (): void => {
        isOver = true
        waiting.leave()
      }
      asked.then(
        (answer) => {
          end()
          resolve(answer)
        },
        (cause: unknown) => {
          end()
          reject(cause)
        },
      )
    })
  }

  #enter(late: () => void): Asked {
    const asked = new Asked(this.#clock.monotonic() + this.#limitMs, late)
    asked.enter(this.#asked)
    this.#timer ??= this.#clock.timer(this.#limitMs, this.#look)
    return asked
  }

  readonly #look = (): void => {
    this.#timer = undefined
    const now = this.#clock.monotonic()
    for (let oldest = this.#asked.after; oldest !== this.#asked; oldest = this.#asked.after) {
      const leftMs = oldest.dueAt - now
      if (leftMs > 0) {
        this.#timer = this.#clock.timer(leftMs, this.#look)
        return
      }
      oldest.leave()
      oldest.late()
    }
  }
}
