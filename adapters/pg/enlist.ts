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
  isPending,
  LATE,
  type ServerIdentity,
  type Settlement,
  type TransactionError,
  within,
  type Xid,
} from '../../src/adapter.ts'
import type { Interrupted } from '../dialect/interrupt.ts'
import { spreadLockTimeout } from '../dialect/lock-timeout.ts'
import type { Patience } from '../dialect/patience.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, COMES_BACK, isTransient } from '../dialect/postgres-errors.ts'
import { acquireTimeout, enlistFailed, isOutOfReach } from '../dialect/reach.ts'
import { inTime } from '../dialect/waiting.ts'
import type { PgPool } from './driver-types.ts'
import { acquire, type Session } from './pool.ts'

/** The server's side of a connection, as `pg_stat_activity` shows it; times in microseconds. */
export interface Backend {
  readonly pid: string
  readonly backendAt: string
  /** Start of the branch's own transaction; only behind a pooler, where backends change hands. */
  readonly transactionAt?: string
}

/** A physical connection: the server behind it, and the session there. */
export interface Physical {
  readonly server: ServerIdentity
  /** `undefined` behind a pooler: each block asks which backend it is on. */
  readonly backend: Backend | undefined
  /** The session's own setting, in ms; 0 is for ever. */
  readonly lockTimeoutMs: number
  /** When it was last known to be open at both ends, by the monotonic clock. */
  heardMs: number
}

/** What a branch needs of its participant. */
export interface PgHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: PgPool
  readonly patience: Patience
  /** Connections that the pool may open. */
  readonly poolSize: number
  /** How long an answer to a verb may take before the connection is given up, in ms. */
  readonly answerMs: number
  /** How long a branch waits for a lock, in ms; 0: as its session does. */
  readonly lockTimeoutMs: number
  contact(): Promise<Capabilities>
  /** Whether {@link contact} was made, and would say nothing new. */
  readonly isFit: boolean
  /** The marker table's schema; `undefined` when there is no table. Known after contact. */
  markerSchema(): string | undefined
  /** What was asked of the connection before; `undefined`: it is to be asked. */
  known(session: Session): Physical | undefined
  /** Which server, and which life of it, is behind the connection. */
  identify(session: Session): Promise<Physical>
  /** Cancels what a branch's backend runs, or ends it, from the participant's own connection. */
  interrupt(backend: Backend, how: 'cancel' | 'terminate'): Promise<Interrupted>
  /** Whether a branch's backend is seen, from there, to do nothing for it. */
  isDone(backend: Backend): Promise<boolean>
  settle(xid: Xid, decision: Decision): Promise<Settlement>
  /** Whether the participant's own connection is one of the server itself. */
  leadsPastPooler(): boolean
  /** What was learned at first contact may be out of date. */
  forgetContact(): void
}

export interface Begun {
  readonly physical: Physical
  /** A pooler stands in between: each packet of the branch waits for a server connection. */
  readonly pooled: boolean
  /** `undefined` when the server does not show it: then nothing can be cancelled there. */
  readonly backend: Backend | undefined
}

/** The branch, as enlisting needs it. */
export interface Enlistment {
  readonly request: BranchRequest
  /** `false`: it does not want a connection any more. */
  took(session: Session): boolean
  /** Whoever speaks on it now speaks in the branch. */
  ready(begun: Begun): void
}

/**
 * Takes a connection and leaves with it what begins the branch, for whoever speaks first.
 *
 * @throws TransactionError ACQUIRE_TIMEOUT, ENLIST_FAILED, or the participant's own code
 */
export async function enlist(
  home: PgHome,
  id: string,
  boundMs: number,
  branch: Enlistment,
): Promise<void> {
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
    if (session === LATE) throw acquireTimeout(home.name, request.gtrid, 'the pool size')
    if (!branch.took(session)) {
      session.release()
      throw new Error('the transaction has ended')
    }
    refuseOpenBlock(session)
    const physical = home.known(session) ?? (await inTime(home, home.identify(session)))
    openWith(home, session, physical, request, id)
    const { backend, heardMs } = physical
    if (backend === undefined) branch.ready(await beginPooled(session, physical))
    else {
      session.watchedBy(() => home.isDone(backend))
      // It may be open at one end only by now, and a statement of the application may take its time.
      if (clock.monotonic() - heardMs > home.answerMs) await session.begin()
      branch.ready({ physical, pooled: false, backend })
    }
  } catch (cause) {
    if (session !== LATE) session.destroy(errorOf(cause))
    throw notEnlisted(home.name, request.gtrid, cause)
  }
}

function openWith(
  home: PgHome,
  session: Session,
  { backend, lockTimeoutMs: own }: Physical,
  request: BranchRequest,
  id: string,
): void {
  const limited = home.lockTimeoutMs > 0 && !(own > 0 && own <= home.lockTimeoutMs)
  session.opens(
    sql.begin(id, request.isolation, request.readOnly, {
      lockTimeoutMs: limited ? spreadLockTimeout(home.lockTimeoutMs, request.gtrid) : undefined,
      asksBackend: backend === undefined,
    }),
  )
}

/** Behind a pooler only the block's own backend can be cancelled: it must be known from the start. */
async function beginPooled(session: Session, physical: Physical): Promise<Begun> {
  const results = await session.begin()
  return { physical, pooled: true, backend: backendIn(results.at(-1)?.rows[0]) }
}

function backendIn(row: Readonly<Record<string, unknown>> | undefined): Backend | undefined {
  const { pid, backend_at: backendAt, transaction_at: transactionAt } = row ?? {}
  if (typeof pid !== 'string' || typeof backendAt !== 'string') return undefined
  return typeof transactionAt === 'string' ? { pid, backendAt, transactionAt } : undefined
}

/** A block that an earlier borrower left open would be prepared together with ours. */
function refuseOpenBlock({ client }: Session): void {
  if (client.getTransactionStatus === undefined) {
    throw new Error('pg before 8.21 does not tell whether a connection is inside a transaction')
  }
  const status = client.getTransactionStatus() ?? 'I'
  if (status !== 'I') throw new Error('the pool handed out a connection inside a transaction')
}

export function giveBack({ clock }: PgHome, session: Session, physical?: Physical): void {
  // Nothing was said on it, and so nothing was heard, if its opening is still to be said.
  if (physical !== undefined && session.opening === undefined) physical.heardMs = clock.monotonic()
  session.release()
}

/** Nothing was begun, or nothing is left of it. */
export function notEnlisted(participant: string, gtrid: string, cause: unknown): TransactionError {
  const retryable = isTransient(asPostgresError(cause)) || isOutOfReach(cause, COMES_BACK)
  return enlistFailed(participant, gtrid, cause, retryable)
}
