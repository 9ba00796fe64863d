/**
 * The global transactions that this process is still working on.
 *
 * Rule 5 stands on this set: a transaction joins it before its first prepare, and leaves it only
 * when its own path will touch no branch any more. Recovery looks at it after it has listed
 * branches and before it reads decisions.
 */
export interface LiveTransactions {
  has(gtrid: string): boolean
  /** What is live at this moment. */
  snapshot(): ReadonlySet<string>
}

export class LiveSet implements LiveTransactions {
  readonly #gtrids: Set<string> = new Set()
  #empty: (() => void)[] = []

  get size(): number {
    return this.#gtrids.size
  }

  join(gtrid: string): void {
    this.#gtrids.add(gtrid)
  }

  leave(gtrid: string): void {
    this.#gtrids.delete(gtrid)
    if (this.#gtrids.size > 0) return
    const waiting = this.#empty
    this.#empty = []
    for (const resolve of waiting) resolve()
  }

  has(gtrid: string): boolean {
    return this.#gtrids.has(gtrid)
  }

  snapshot(): ReadonlySet<string> {
    return new Set(this.#gtrids)
  }

  /** Resolves when nothing is live. */
  whenEmpty(): Promise<void> {
    if (this.#gtrids.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#empty.push(resolve)
    })
  }
}
