/**
 * How a branch comes by its connection and begins on it: contact, connection, identity, BEGIN.
 */
import {
  type BranchRequest,
  type Capabilities,
  type Clock,
  LATE,
  messageOf,
  type ServerIdentity,
  TransactionError,
  UnanimousError,
  within,
  type Xid,
} from '../../src/adapter.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, isTransient } from '../dialect/postgres-errors.ts'
import type { PgPool } from './driver-types.ts'
import { acquire, type Session } from './pool.ts'

/** What a branch needs of its participant. */
export interface PgHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: PgPool
  /** How long an answer to a verb may take before the connection is given up, in ms. */
  readonly answerMs: number
  contact(): Promise<Capabilities>
  /** The marker table's schema; `undefined` when there is no table. Known after contact. */
  markerSchema(): string | undefined
  /** Which server, and which life of it, is behind the connection; asked once a connection. */
  identify(session: Session): Promise<ServerIdentity>
  /** What was learned at first contact may be out of date. */
  forgetContact(): void
}

export interface Enlistment {
  /** Whether the branch still wants a connection. */
  wanted(): boolean
  took(session: Session): void
}

/**
 * Begins a branch.
 *
 * @throws TransactionError ACQUIRE_TIMEOUT, ENLIST_FAILED, or the participant's own code
 */
export async function enlist(
  home: PgHome,
  request: BranchRequest,
  xid: Xid,
  boundMs: number,
  enlistment: Enlistment,
): Promise<ServerIdentity> {
  const startedAt = home.clock.monotonic()
  const limitMs = Math.min(boundMs, 2 ** 31 - 1)
  const fail = failure(home.name, request.gtrid)
  const met = await within(home.clock, limitMs, home.contact()).catch(fail)
  const leftMs = limitMs - (home.clock.monotonic() - startedAt)
  const session = met === LATE ? LATE : await acquire(home.pool, home.clock, leftMs).catch(fail)
  if (session === LATE) {
    throw new TransactionError('ACQUIRE_TIMEOUT', `${home.name}: no connection in time`, {
      outcome: 'rolled-back',
      gtrid: request.gtrid,
      retryable: true,
      hint: 'raise the pool size, or acquireMs',
    })
  }
  if (!enlistment.wanted()) {
    session.release()
    return fail(new Error('the transaction has ended'))
  }
  enlistment.took(session)
  try {
    refuseOpenBlock(session)
    const server = await home.identify(session)
    await session.run(sql.begin(xid, request.isolation, request.readOnly))
    return server
  } catch (cause) {
    session.destroy(cause instanceof Error ? cause : new Error(messageOf(cause)))
    return fail(cause)
  }
}

/** A block that an earlier borrower left open would be prepared together with ours. */
function refuseOpenBlock(session: Session): void {
  const status = session.client.getTransactionStatus?.() ?? 'I'
  if (status !== 'I') throw new Error('the pool handed out a connection inside a transaction')
}

function failure(participant: string, gtrid: string): (cause: unknown) => never {
  return (cause) => {
    const known = cause instanceof UnanimousError ? cause : undefined
    throw new TransactionError(
      known?.code ?? 'ENLIST_FAILED',
      known?.message ?? `${participant}: ${messageOf(cause)}`,
      {
        outcome: 'rolled-back',
        gtrid,
        retryable: isTransient(asPostgresError(cause)),
        hint: known?.hint,
        cause,
      },
    )
  }
}
