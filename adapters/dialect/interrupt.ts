/**
 * Ends on the server what a branch is still doing there, so that its locks go now and not when the
 * server misses its client: MySQL and MariaDB notice a dead one only when the statement has ended,
 * PostgreSQL after about a second (T4).
 *
 *   quiesce   the running statement is cancelled; the connection is sound afterwards
 *   fence     the session is ended; nothing that was sent on it takes effect from then on
 *
 * Invariants:
 *  1. Only the branch's own session is hit: by what identifies it on its server, and while no other
 *     borrower can have its connection.
 *  2. A connection goes back to its pool only when no cancel is under way any more: it would hit the
 *     next borrower's statement.
 *  3. Neither takes longer than its patience; what was not reached by then is left to the sweep.
 */
import {
  type Clock,
  type Decision,
  LATE,
  type Settlement,
  sleep,
  within,
  type Xid,
} from '../../src/adapter.ts'

/**
 * - `sent`: the server passed it on
 * - `gone`: the session, or the transaction in it, is over
 * - `unseen`: the server does not show the session to us, or is another one
 */
export type Interrupted = 'sent' | 'gone' | 'unseen'

/** Cancels or ends a branch's own session from outside of it; `undefined` while it is not known. */
export type Reach = ((how: 'cancel' | 'terminate') => Promise<Interrupted>) | undefined

/** How long a cancelled statement, or an ended session, may take to be over, in ms. */
export const PATIENCE_MS = 1_000
/** A cancel that overtook its statement on the way to the server hits nothing: it is sent again. */
const AGAIN_MS = 50
const LONGEST_PAUSE_MS = 16

/**
 * Cancels until nothing runs any more.
 *
 * @param cancel - `undefined` while the session is not known yet: then what runs is waited for
 * @returns whether nothing runs, and no cancel is under way
 */
export async function quiesce(
  clock: Clock,
  busy: () => boolean,
  cancel: (() => Promise<Interrupted>) | undefined,
): Promise<boolean> {
  const until = clock.monotonic() + PATIENCE_MS
  while (busy()) {
    const leftMs = until - clock.monotonic()
    if (leftMs <= 0) return false
    if (cancel !== undefined && (await answerOf(clock, leftMs, cancel())) !== 'sent') return false
    await idle(clock, busy, Math.min(clock.monotonic() + AGAIN_MS, until))
  }
  return true
}

/**
 * Ends a session, and waits until it is over.
 *
 * @returns whether it is certain that the session does nothing more
 */
export async function fence(clock: Clock, end: () => Promise<Interrupted>): Promise<boolean> {
  const until = clock.monotonic() + PATIENCE_MS
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const leftMs = until - clock.monotonic()
    if (leftMs <= 0) return false
    const answer = await answerOf(clock, leftMs, end())
    if (answer !== 'sent') return answer === 'gone'
    await sleep(clock, pauseMs)
  }
}

/** Whether nothing of a branch runs any more, on a connection that lives. */
export async function fallsQuiet(
  clock: Clock,
  gate: { readonly busy: boolean },
  session: { readonly lost: unknown },
  reach: Reach,
): Promise<boolean> {
  const running = (): boolean => gate.busy && session.lost === undefined
  const cancel = reach === undefined ? undefined : () => reach('cancel')
  return (await quiesce(clock, running, cancel)) && session.lost === undefined
}

/** Whether it is certain that the server does nothing more for a branch. */
export async function endSession(clock: Clock, reach: Reach): Promise<boolean> {
  return reach !== undefined && fence(clock, () => reach('terminate'))
}

/** Whether nothing is left of a branch whose session is over. */
export async function isGone(
  home: { readonly clock: Clock; settle(xid: Xid, decision: Decision): Promise<Settlement> },
  xid: Xid,
): Promise<boolean> {
  const settled = await within(home.clock, PATIENCE_MS, home.settle(xid, 'abort'))
  // Absent: the session that could have prepared it is over, so it never will be there.
  return settled !== LATE && (settled.kind === 'answered' || settled.kind === 'absent')
}

async function idle(clock: Clock, busy: () => boolean, until: number): Promise<void> {
  for (let pauseMs = 1; busy(); pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    if (clock.monotonic() >= until) return
    await sleep(clock, pauseMs)
  }
}

/** What cannot be asked in time is not known. */
async function answerOf(
  clock: Clock,
  limitMs: number,
  asked: Promise<Interrupted>,
): Promise<Interrupted> {
  const answer = await within(clock, limitMs, asked).catch((): typeof LATE => LATE)
  return answer === LATE ? 'unseen' : answer
}
