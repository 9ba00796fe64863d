/** Retry of the whole callback: what is run again, when, and what its caller hears. */
import { describe, expect, it } from 'vitest'
import type { Random } from '../../../src/clock.ts'
import { type CheckedRetry, NO_RETRY, retrying } from '../../../src/commit/retry.ts'
import { TransactionError, type TransactionErrorDetails } from '../../../src/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const RETRY: CheckedRetry = { attempts: 4, minDelayMs: 100, maxDelayMs: 250 }
const NEVER_EARLY: Random = { bytes: () => new Uint8Array([255, 255]) }
const AT_ONCE: Random = { bytes: () => new Uint8Array([0, 0]) }

function refusal(details: Partial<TransactionErrorDetails> = {}): TransactionError {
  const given = { outcome: 'rolled-back', gtrid: 'g', retryable: true, ...details } as const
  return new TransactionError('PREPARE_REFUSED', 'no', given)
}

/** Attempts that fail with these, one after the other, and then succeed. */
function world(failures: readonly Error[], options: Partial<CheckedRetry> = {}, random = AT_ONCE) {
  const clock = new VirtualClock()
  const startedAt = clock.monotonic()
  const controller = new AbortController()
  const ranAt: number[] = []
  const run = retrying(
    { clock, random },
    { retry: { ...RETRY, ...options }, signal: controller.signal },
    async () => {
      ranAt.push(clock.monotonic() - startedAt)
      const failure = failures[ranAt.length - 1]
      if (failure !== undefined) throw failure
      return 'done'
    },
  )
  const ended = run.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  return { clock, controller, ranAt, ended }
}

describe('retry', () => {
  it('runs again what was rolled back for a transient cause, after a pause', async () => {
    const { clock, ranAt, ended } = world([refusal(), refusal()])
    await clock.advance(10_000)
    expect(await ended).toEqual({ value: 'done' })
    expect(ranAt).toEqual([0, 50, 150])
    expect(clock.waiting).toBe(0)
  })

  it('doubles the pauses up to the longest, and spreads each over its second half', async () => {
    const early = world([refusal(), refusal(), refusal()])
    const late = world([refusal(), refusal(), refusal()], {}, NEVER_EARLY)
    for (const { clock } of [early, late]) await clock.advance(10_000)
    expect(early.ranAt).toEqual([0, 50, 150, 275])
    expect(late.ranAt.map(Math.round)).toEqual([0, 100, 300, 550])
  })

  it('ends with the last refusal, and says how often it was tried', async () => {
    const last = refusal()
    const { clock, ranAt, ended } = world([refusal(), refusal(), refusal(), last, refusal()])
    await clock.advance(10_000)
    expect(await ended).toEqual({ error: last })
    expect(last.attempts).toBe(4)
    expect(ranAt).toHaveLength(4)
  })

  it.each([
    ['what is not transient', refusal({ retryable: false })],
    ['what is in doubt', refusal({ outcome: 'in-doubt' })],
    ['a heuristic', refusal({ outcome: 'heuristic' })],
    ['an error of ours', new Error('a fault')],
  ])('never runs again: %s', async (_, failure) => {
    const { clock, ranAt, ended } = world([failure])
    await clock.advance(10_000)
    expect(await ended).toEqual({ error: failure })
    expect(ranAt).toHaveLength(1)
  })

  it('tries once where nobody asked for more', async () => {
    const failure = refusal()
    const { ranAt, ended } = world([failure], NO_RETRY)
    expect(await ended).toEqual({ error: failure })
    expect(ranAt).toHaveLength(1)
    expect(failure.attempts).toBe(1)
  })

  it('does not pause when the signal came during the attempt', async () => {
    const clock = new VirtualClock()
    const controller = new AbortController()
    const run = retrying(
      { clock, random: AT_ONCE },
      { retry: RETRY, signal: controller.signal },
      async () => {
        controller.abort(new Error('the user left'))
        throw refusal()
      },
    )
    await expect(run).rejects.toMatchObject({ code: 'SIGNAL_ABORTED', attempts: 1 })
    expect(clock.waiting).toBe(0)
  })

  it('hears the signal between two attempts, and leaves neither timer nor listener', async () => {
    const { clock, controller, ranAt, ended } = world([refusal(), refusal()])
    await clock.advance(10)
    controller.abort(new Error('the user left'))
    expect(await ended).toMatchObject({
      error: {
        code: 'SIGNAL_ABORTED',
        outcome: 'rolled-back',
        attempts: 1,
        cause: { message: 'the user left' },
      },
    })
    expect([ranAt.length, clock.waiting]).toEqual([1, 0])
  })
})
