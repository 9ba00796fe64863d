/**
 * Entry: a record on its way to the disk, and how whoever waits for it is told.
 */
import type { LogRecord } from './record.ts'

/** A record on its way to the disk. */
export abstract class Entry {
  abstract readonly record: LogRecord
  state: 'queued' | 'taken' | 'superseded' = 'queued'
  /** Of its encoded form, once it is taken. */
  bytes = 0

  /** Called once the record is durable. */
  abstract onDurable(): void
  /** Called with the reason why it will not be, or may not be. */
  abstract onFailed(cause: unknown): void
}

/**
 * One promise for all lazy records that arrived between two batches, and that nobody may await: it
 * resolves once every one of them is durable. A promise for each would be most of what a decision
 * allocates.
 */
export class Ride {
  readonly durable: Promise<void>
  #aboard = 0
  #resolve: (() => void) | undefined
  #reject: ((cause: unknown) => void) | undefined

  constructor() {
    this.durable = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.durable.catch(() => undefined)
  }

  board(): void {
    this.#aboard += 1
  }

  onDurable(): void {
    this.#aboard -= 1
    if (this.#aboard === 0) this.#resolve?.()
  }

  onFailed(cause: unknown): void {
    this.#reject?.(cause)
  }
}
