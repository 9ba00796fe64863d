/** How long a server may take to answer our verbs on the connections of branches. */
import { type Clock, errorOf, Waits } from '../../src/adapter.ts'
import type { Done } from './waiting.ts'

export class Patience {
  readonly #limitMs: number
  readonly #waits: Waits

  /** @param limitMs - for one answer */
  constructor(clock: Clock, limitMs: number) {
    this.#limitMs = limitMs
    this.#waits = new Waits(clock, limitMs)
  }

  /** Rejects when the answer is an error, or does not come: a half-open connection keeps nobody for ever. */
  ask<T>(send: (done: Done<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const wait = this.#waits.begin(() =>
        reject(new Error(`no answer within ${this.#limitMs} ms`)),
      )
      send((cause, answer) => {
        wait.clear()
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
        if (!isOver) waiting = this.#waits.begin(late)
      }
      const late = (): void => {
        // At one look the packet may still be read, and at the next its answer be on its way.
        if (idle === 2) reject(new Error('no answer, and the session is idle'))
        // It may wait for a server that is out of reach: the answer does not wait for the look.
        else isDone().then(looked, () => looked(false))
      }
      let waiting = this.#waits.begin(late)
      const end = (): void => {
        isOver = true
        waiting.clear()
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
}
