/**
 * Retry of the whole callback, for those who asked for it.
 *
 *   - Each attempt is a new global transaction, with a gtrid and a deadline of its own.
 *   - Only what is certainly rolled back, and for a cause that may not come again, is run again:
 *     never what is in doubt, never what a decision was handed over for.
 *   - Between two attempts nothing is held. Those who collided wait for different times, so that they
 *     do not meet again at the same instant.
 */
import type { Clock, Random } from '../clock.ts'
import { TransactionError } from '../errors.ts'
import { follow } from './signals.ts'

export interface RetryOptions {
  /** How often the callback is run at most, the first time included. From 1 to 1,000. */
  readonly attempts: number
  /** The first pause, in ms; each further one is twice as long. Default: 20. */
  readonly minDelayMs?: number
  /** The longest pause, in ms. Default: 2,000. */
  readonly maxDelayMs?: number
}

export interface CheckedRetry {
  readonly attempts: number
  readonly minDelayMs: number
  readonly maxDelayMs: number
}

export const NO_RETRY: CheckedRetry = { attempts: 1, minDelayMs: 20, maxDelayMs: 2_000 }
const MAX_ATTEMPTS = 1_000
const MAX_DELAY_MS = 2_147_483_647

interface Retried {
  readonly retry: CheckedRetry
  readonly signal: AbortSignal | undefined
}

interface RetrySeams {
  readonly clock: Clock
  readonly random: Random
}

/** What is wrong with the options; `undefined` when nothing is. */
export function refusedRetry(retry: RetryOptions): string | undefined {
  if (typeof retry !== 'object' || retry === null) return 'retry is not an object'
  const { attempts, minDelayMs, maxDelayMs } = completeRetry(retry)
  if (!(Number.isInteger(attempts) && attempts >= 1 && attempts <= MAX_ATTEMPTS)) {
    return `retry.attempts cannot be ${attempts}`
  }
  if (!(minDelayMs >= 0 && minDelayMs <= MAX_DELAY_MS)) {
    return `retry.minDelayMs cannot be ${minDelayMs}`
  }
  if (!(maxDelayMs >= minDelayMs && maxDelayMs <= MAX_DELAY_MS)) {
    return `retry.maxDelayMs cannot be ${maxDelayMs}`
  }
  return undefined
}

export function completeRetry(retry: RetryOptions | undefined): CheckedRetry {
  if (retry === undefined) return NO_RETRY
  const { attempts, minDelayMs = NO_RETRY.minDelayMs } = retry
  const { maxDelayMs = Math.max(NO_RETRY.maxDelayMs, minDelayMs) } = retry
  return { attempts, minDelayMs, maxDelayMs }
}

/**
 * Runs `attempt` until it succeeds, fails for good, or was run often enough.
 *
 * @throws TransactionError of the last attempt, with the number of `attempts`; SIGNAL_ABORTED when the
 * signal fires between two
 */
export function retrying<T>(
  seams: RetrySeams,
  options: Retried,
  attempt: () => Promise<T>,
): Promise<T> {
  return options.retry.attempts === 1 ? attempt() : attemptAgain(seams, options, attempt)
}

async function attemptAgain<T>(
  seams: RetrySeams,
  { retry, signal }: Retried,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt()
    } catch (cause) {
      if (!(cause instanceof TransactionError)) throw cause
      cause.attempts = attempts
      if (attempts >= retry.attempts || !mayRunAgain(cause)) throw cause
      await pause(seams.clock, pauseMs(seams.random, retry, attempts), signal)
      if (signal?.aborted) throw stopped(cause, signal, attempts)
    }
  }
}

function mayRunAgain(error: TransactionError): boolean {
  return error.outcome === 'rolled-back' && error.retryable
}

/** Somewhere in the second half of the pause that this attempt has come to. */
function pauseMs(random: Random, retry: CheckedRetry, attempts: number): number {
  const fullMs = Math.min(retry.maxDelayMs, retry.minDelayMs * 2 ** (attempts - 1))
  const [high = 0, low = 0] = random.bytes(2)
  return (fullMs / 2) * (1 + (high * 256 + low) / 65_536)
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      timer.clear()
      unfollow?.()
      resolve()
    }
    const timer = clock.timer(delayMs, done, true)
    const unfollow = signal === undefined ? undefined : follow(signal, done)
  })
}

function stopped(last: TransactionError, signal: AbortSignal, attempts: number): TransactionError {
  const error = new TransactionError('SIGNAL_ABORTED', 'the signal ended the attempts', {
    outcome: 'rolled-back',
    gtrid: last.gtrid,
    cause: signal.reason,
    hint: `The last of ${attempts} attempt(s) was rolled back: ${last.message}`,
  })
  error.attempts = attempts
  return error
}
