/**
 * Deletes marker rows of transactions whose end is durable, many at a time.
 *
 * Only called after every branch answered and that is durable: a marker that goes earlier turns
 * "committed" into "unproven". What is missed (a participant that is down, a crash) is found by the
 * sweep, so nothing here is retried.
 */
import type { Clock, Timer } from '../clock.ts'
import type { Registry } from './registry.ts'

/** A batch leaves at this size, or after {@link DELAY_MS}. */
const BATCH = 200
const DELAY_MS = 1_000

export class MarkerCollector {
  readonly #registry: Registry
  readonly #clock: Clock
  readonly #waiting: Map<string, string[]> = new Map()
  #timer: Timer | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry
    this.#clock = clock
  }

  collect(gtrid: string, participants: readonly string[]): void {
    for (const name of participants) {
      const waiting = this.#waiting.get(name) ?? []
      waiting.push(gtrid)
      this.#waiting.set(name, waiting)
      if (waiting.length >= BATCH) this.#send(name)
    }
    if (this.#waiting.size > 0) {
      this.#timer ??= this.#clock.timer(DELAY_MS, () => {
        this.#timer = undefined
        this.flush().catch(() => undefined)
      })
    }
  }

  /** Sends what waits, and resolves when it was tried. */
  async flush(): Promise<void> {
    this.#timer?.clear()
    this.#timer = undefined
    for (const name of this.#waiting.keys()) this.#send(name)
    await this.#running
  }

  #send(name: string): void {
    const gtrids = this.#waiting.get(name)
    this.#waiting.delete(name)
    const participant = this.#registry.get(name)
    if (gtrids === undefined || participant === undefined) return
    const sent = participant.collectMarkers(gtrids).catch(() => undefined)
    this.#running = Promise.all([this.#running, sent]).then(() => undefined)
  }
}
