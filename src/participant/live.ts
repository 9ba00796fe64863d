/**
 * The global transactions that this process is still working on.
 *
 * Rule 5 stands on this set: a transaction joins it before its first prepare, and leaves it only
 * when its own path will touch no branch any more. Recovery looks at it after it has listed
 * branches and before it reads decisions.
 */
import type { TransactionErrorCode } from '../errors.ts'
import type { TransactionState } from '../protocol/transaction-state.ts'
import { TurnoverMap } from '../turnover-map.ts'

export interface LiveTransactions {
  has(gtrid: string): boolean
  /** What is live at this moment. */
  snapshot(): ReadonlySet<string>
}

/** A live transaction, for whoever looks at it from outside. */
export interface LiveTransaction {
  readonly gtrid: string
  readonly name: string | undefined
  /** By the clock's monotonic time, in ms. */
  readonly startedAt: number
  readonly state: TransactionState
  /** Those that it has enlisted. */
  readonly participants: readonly string[]
  /** Without effect from the moment its decision is handed over (rule 10). */
  abort(code: TransactionErrorCode, message: string, cause?: unknown, hint?: string): void
}

export class LiveSet implements LiveTransactions {
  readonly #transactions = new TurnoverMap<string, LiveTransaction | undefined>()
  #empty: (() => void)[] = []

  get size(): number {
    return this.#transactions.size
  }

  join(gtrid: string, transaction?: LiveTransaction): void {
    this.#transactions.set(gtrid, transaction)
  }

  leave(gtrid: string): void {
    this.#transactions.delete(gtrid)
    if (this.#transactions.size > 0) return
    const waiting = this.#empty
    this.#empty = []
    for (const resolve of waiting) resolve()
  }

  has(gtrid: string): boolean {
    return this.#transactions.has(gtrid)
  }

  snapshot(): ReadonlySet<string> {
    return new Set(this.#transactions.keys())
  }

  /** The oldest first. */
  transactions(): readonly LiveTransaction[] {
    return [...this.#transactions.values()].filter((each) => each !== undefined)
  }

  /** Resolves when nothing is live. */
  whenEmpty(): Promise<void> {
    if (this.#transactions.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#empty.push(resolve)
    })
  }
}
