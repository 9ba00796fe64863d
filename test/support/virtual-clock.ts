/** A clock that moves only when a test says so. */
import type { Clock, Timer } from '../../src/clock.ts'

export class VirtualClock implements Clock {
  #nowMs = 1_000_000
  #timers: { readonly at: number; readonly fire: () => void }[] = []

  now(): number {
    return this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  timer(delayMs: number, fire: () => void): Timer {
    const timer = { at: this.#nowMs + delayMs, fire }
    this.#timers.push(timer)
    return {
      clear: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.length
  }

  /** Lets the time pass, timer by timer, and what each one starts run on. */
  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms
    await settle()
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#nowMs = Math.max(this.#nowMs, next.at)
      next.fire()
      await settle()
    }
    this.#nowMs = end
  }
}

/** Lets every promise that can go on go on. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
