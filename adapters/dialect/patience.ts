/**
 * How long a server may take to answer our verbs on the connections of branches. Those of a
 * participant all have the same time, so they are overdue in the order in which they were asked: one
 * timer, for the oldest, is enough, and is seldom set.
 */
import { type Clock, errorOf, LATE, type Timer, within } from '../../src/adapter.ts'
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

const no = (): boolean => false

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
      const asked = new Asked(this.#clock.monotonic() + this.#limitMs, () =>
        reject(new Error(`no answer within ${this.#limitMs} ms`)),
      )
      asked.enter(this.#asked)
      this.#timer ??= this.#clock.timer(this.#limitMs, this.#look)
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
  async askLong<T>(isDone: () => Promise<boolean>, asked: Promise<T>): Promise<T> {
    for (let idle = 0; ; ) {
      const answer = await within(this.#clock, this.#limitMs, asked)
      if (answer !== LATE) return answer
      // At one look the packet may still be read, and at the next its answer be on its way.
      if (idle === 2) throw new Error('no answer, and the session is idle')
      // The look may wait for a server that is out of reach: the answer does not wait for the look.
      const isIdle = await Promise.race([isDone().catch(no), asked.then(no, no)])
      idle = isIdle ? idle + 1 : 0
    }
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
