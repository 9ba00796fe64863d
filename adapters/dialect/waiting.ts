/** What every driver is waited for, and how long: by callback, as all of them can be asked. */
import { type Clock, errorOf, LATE, within } from '../../src/adapter.ts'

/** Takes the answer, from a driver. */
export type Done<T> = (cause: unknown, answer?: T) => void

/** Waits for an answer that may take its time. */
export function answerTo<T>(send: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    send((cause, answer) => (answer === undefined ? reject(errorOf(cause)) : resolve(answer)))
  })
}

/** @throws Error when the server does not answer: a half-open connection must keep nobody for ever */
export async function inTime<T>(
  { clock, answerMs }: { readonly clock: Clock; readonly answerMs: number },
  asked: Promise<T>,
): Promise<T> {
  const answer = await within(clock, answerMs, asked)
  if (answer !== LATE) return answer
  throw new Error(`no answer within ${answerMs} ms`)
}

/** Takes a connection within the bound; one that arrives later goes straight back. */
export function takeInTime<S extends { release(): void }>(
  clock: Clock,
  boundMs: number,
  take: (done: Done<S>) => void,
): Promise<S | typeof LATE> {
  return new Promise((resolve, reject) => {
    let late = false
    const expire = (): void => {
      late = true
      resolve(LATE)
    }
    const timer = clock.timer(boundMs, expire, true)
    take((cause, session) => {
      timer.clear()
      if (session === undefined) reject(errorOf(cause))
      else if (!late) resolve(session)
      // Not here: a pool may give it to the next in its queue within this very call, and thousands may be late.
      else queueMicrotask(() => session.release())
    })
  })
}
