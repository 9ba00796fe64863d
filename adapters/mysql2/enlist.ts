/**
 * How a branch comes by its connection, and gives it back: contact, connection, identity; and what is to
 * be said to begin on it.
 */
import {
  type BranchRequest,
  type Capabilities,
  type Clock,
  type Decision,
  errorOf,
  formatBqual,
  isPending,
  LATE,
  type ServerIdentity,
  type Settlement,
  type TransactionError,
  within,
  type Xid,
} from '../../src/adapter.ts'
import type { Interrupted } from '../dialect/interrupt.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, COMES_BACK, isTransient } from '../dialect/mysql-errors.ts'
import type { Patience } from '../dialect/patience.ts'
import { acquireTimeout, enlistFailed, isOutOfReach } from '../dialect/reach.ts'
import { inTime } from '../dialect/waiting.ts'
import type { MysqlPromisePool } from './driver-types.ts'
import type { Kept } from './kept.ts'
import { acquire, type Session } from './pool.ts'

/** A physical connection: the server behind it and its id there. */
export interface Physical {
  readonly server: ServerIdentity
  /** `undefined` behind a proxy: the id would name somebody else's session. */
  readonly threadId: number | undefined
  /** What shortens its lock waits, and gives them back; `undefined` when they are short enough. */
  readonly limit: sql.WaitLimit | undefined
  readonly flavour: sql.Flavour
  /** When it was last known to be open at both ends, by the monotonic clock. */
  heardMs: number
}

/** What a branch needs of its participant. */
export interface MysqlHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: MysqlPromisePool
  readonly patience: Patience
  readonly kept: Kept
  /** Connections that the pool may open. */
  readonly poolSize: number
  /** How long an answer to a verb may take before the connection is given up, in ms. */
  readonly answerMs: number
  contact(): Promise<Capabilities>
  /** Whether {@link contact} was made, and would say nothing new. */
  readonly isFit: boolean
  /** The marker table's schema; `undefined` when there is no table. Known after contact. */
  markerSchema(): string | undefined
  /** What was asked of the connection before; `undefined`: it is to be asked. */
  known(session: Session): Physical | undefined
  /**
   * Which server is behind the connection.
   *
   * @throws UnanimousError PARTICIPANT_UNFIT behind a proxy that was not declared
   */
  identify(session: Session): Promise<Physical>
  /** Cancels what a branch's session runs, or ends it, from the participant's own connection. */
  interrupt(physical: Physical, how: 'cancel' | 'terminate'): Promise<Interrupted>
  /** Whether a branch's session is seen, from there, to do nothing for it. */
  isDone(physical: Physical): Promise<boolean>
  settle(xid: Xid, decision: Decision): Promise<Settlement>
  /** What was learned at first contact may be out of date. */
  forgetContact(): void
}

/** The branch, as enlisting needs it. */
export interface Enlistment {
  readonly request: BranchRequest
  /** `false`: it does not want a connection any more. */
  took(session: Session): boolean
  /** Whoever speaks on it now speaks in the branch. */
  ready(begun: Begun): void
}

export interface Begun {
  readonly xid: Xid
  /** As statements spell it. */
  readonly id: string
  readonly physical: Physical
}

/**
 * Takes a connection and leaves with it what begins the branch, for whoever speaks first.
 *
 * @throws TransactionError ACQUIRE_TIMEOUT, ENLIST_FAILED, or the participant's own code
 */
export async function enlist(home: MysqlHome, boundMs: number, branch: Enlistment): Promise<void> {
  const { clock } = home
  const { request } = branch
  const limitMs = Math.min(boundMs, 2 ** 31 - 1)
  const until = clock.monotonic() + limitMs
  let session: Session | typeof LATE = LATE
  try {
    const met = home.isFit || (await within(clock, limitMs, home.contact()))
    const asked = met === LATE ? undefined : request.seat(home.poolSize, until - clock.monotonic())
    const seat = isPending(asked) ? await asked : asked
    if (seat !== undefined) session = await acquire(home, until - clock.monotonic(), seat)
    if (session === LATE) throw acquireTimeout(home.name, request.gtrid, 'the connectionLimit')
    if (!branch.took(session)) {
      session.release()
      throw new Error('the transaction has ended')
    }
    const physical = home.known(session) ?? (await inTime(home, home.identify(session)))
    const xid = { gtrid: request.gtrid, bqual: formatBqual(home.name, physical.threadId) }
    const id = sql.idOf(xid)
    openWith(home, session, physical, sql.begin(id, request.isolation, request.readOnly))
    session.watchedBy(() => home.isDone(physical))
    // It may be open at one end only by now, and a statement of the application may take its time.
    if (clock.monotonic() - physical.heardMs > home.answerMs) await session.begin()
    branch.ready({ xid, id, physical })
  } catch (cause) {
    if (session !== LATE) session.destroy(errorOf(cause))
    throw notEnlisted(home.name, request.gtrid, cause)
  }
}

function openWith(
  { kept }: MysqlHome,
  session: Session,
  { limit, flavour, threadId }: Physical,
  statements: readonly string[],
): void {
  session.opens(statements, flavour)
  // Behind a proxy the session may be another one the next time.
  if (limit !== undefined) session.limits(limit, threadId !== undefined && kept.admitsNext())
}

export function giveBack({ clock }: MysqlHome, session: Session, physical?: Physical): void {
  // Nothing was said on it, and so nothing was heard, if its opening is still to be said.
  if (physical !== undefined && session.opening === undefined) physical.heardMs = clock.monotonic()
  session.release()
}

/** Nothing was begun, or nothing is left of it. */
export function notEnlisted(participant: string, gtrid: string, cause: unknown): TransactionError {
  const retryable = isTransient(asMysqlError(cause)) || isOutOfReach(cause, COMES_BACK)
  return enlistFailed(participant, gtrid, cause, retryable)
}
