/**
 * Time and chance as ports. Nothing else in `src` reads a clock, sets a timer or draws a random
 * number, so that a seeded simulator can own all three.
 */
import { randomBytes } from 'node:crypto'

export interface Timer {
  /** Forgets the timer; harmless when it has fired. */
  clear(): void
}

export interface Clock {
  /** Milliseconds since the Unix epoch, for people and records; may jump. */
  now(): number
  /** Milliseconds from an arbitrary start that never go back, for durations and deadlines. */
  monotonic(): number
  /**
   * Calls `fire` once after `delayMs`.
   *
   * @param holds - whether the timer alone keeps the process running. Default: false
   */
  timer(delayMs: number, fire: () => void, holds?: boolean): Timer
}

/** Source of unpredictable bytes. */
export interface Random {
  bytes(count: number): Uint8Array
}

const MAX_DELAY_MS = 2_147_483_647

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(delayMs, fire, holds = false) {
    // A longer delay than Node's longest would fire at once.
    const handle = setTimeout(fire, Math.min(delayMs, MAX_DELAY_MS))
    if (!holds) handle.unref()
    return { clear: () => clearTimeout(handle) }
  },
}

export const systemRandom: Random = { bytes: (count) => randomBytes(count) }

/** Resolves after `delayMs`. The process runs at least until then: somebody waits. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.timer(delayMs, resolve, true)
  })
}

/**
 * Whether an answer is still to come. Told by its `then`: what an async function answers is no instance
 * of the class that a process may have put in the place of `Promise` (zone.js, Bluebird).
 */
export function isPending<T>(answer: T): answer is Extract<T, Promise<unknown>> {
  return typeof answer === 'object' && answer !== null && 'then' in answer
}

/** What {@link within} answers when the time is over first. */
export const LATE: unique symbol = Symbol('late')

/**
 * Waits for `work` at most `limitMs`, then answers {@link LATE}. The work goes on; whoever started it
 * keeps the promise and must handle its end. The process runs until one of the two: an idle socket
 * does not keep it, and `await coordinator.close()` as its last act would end it half-way (exit 13).
 */
export function within<T>(
  clock: Clock,
  limitMs: number,
  work: Promise<T>,
): Promise<T | typeof LATE> {
  return new Promise((resolve, reject) => {
    const timer = clock.timer(limitMs, () => resolve(LATE), true)
    work.then(
      (value) => {
        timer.clear()
        resolve(value)
      },
      (cause: unknown) => {
        timer.clear()
        reject(cause)
      },
    )
  })
}
