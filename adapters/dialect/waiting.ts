/** What every driver is waited for, and how long: by callback, as all of them can be asked. */
import { type Clock, errorOf, LATE, type Seat, within } from '../../src/adapter.ts'

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

/** A connection that was taken, and will go. */
interface Taken {
  release(): void
  /** Leaves the seat when it has gone back, or was closed. */
  sits(seat: Seat): void
}

/**
 * Takes a connection within the bound, or what is left of it once the transaction holds another; one
 * that arrives later goes straight back. The seat is left when the connection has gone back, or when
 * none came.
 */
export function takeInTime<S extends Taken>(
  clock: Clock,
  boundMs: number,
  seat: Seat,
  take: (done: Done<S>) => void,
): Promise<S | typeof LATE> {
  return new Promise((resolve, reject) => {
    let waits = true
    const expire = (): void => {
      waits = false
      seat.left()
      resolve(LATE)
    }
    let timer = clock.timer(boundMs, expire, true)
    const dueAt = clock.monotonic() + boundMs
    seat.onceHeld((leftMs) => {
      if (!waits || clock.monotonic() + leftMs >= dueAt) return
      timer.clear()
      timer = clock.timer(leftMs, expire, true)
    })
    const took: Done<S> = (cause, session) => {
      const isLate = !waits
      waits = false
      timer.clear()
      if (session === undefined) {
        if (!isLate) seat.left()
        reject(errorOf(cause))
        return
      }
      // Not here: a pool may give it to the next in its queue within this very call, and thousands may be late.
      if (isLate) return queueMicrotask(() => session.release())
      session.sits(seat)
      seat.taken()
      resolve(session)
    }
    try {
      take(took)
    } catch (cause) {
      took(cause)
    }
  })
}
