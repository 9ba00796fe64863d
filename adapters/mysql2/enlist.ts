/**
 * How a branch comes by its connection and begins on it: contact, connection, identity, XA START.
 */
import {
  type BranchRequest,
  type Capabilities,
  type Clock,
  formatBqual,
  LATE,
  messageOf,
  type ServerIdentity,
  TransactionError,
  UnanimousError,
  within,
  type Xid,
} from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, isTransient, saysTransactionOpen } from '../dialect/mysql-errors.ts'
import type { MysqlPromisePool } from './driver-types.ts'
import { acquire, type Session } from './pool.ts'

/** A physical connection: the server behind it and its id there. */
export interface Physical {
  readonly server: ServerIdentity
  /** `undefined` behind a proxy: the id would name somebody else's session. */
  readonly threadId: number | undefined
}

/** What a branch needs of its participant. */
export interface MysqlHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: MysqlPromisePool
  /** How long an answer to a verb may take before the connection is given up, in ms. */
  readonly answerMs: number
  contact(): Promise<Capabilities>
  /** The marker table's schema; `undefined` when there is no table. Known after contact. */
  markerSchema(): string | undefined
  /**
   * Which server is behind the connection; asked once a connection.
   *
   * @throws UnanimousError PARTICIPANT_UNFIT behind a proxy that was not declared
   */
  identify(session: Session): Promise<Physical>
  /** What was learned at first contact may be out of date. */
  forgetContact(): void
}

export interface Enlistment {
  /** Whether the branch still wants a connection. */
  wanted(): boolean
  took(session: Session): void
}

export interface Begun {
  readonly xid: Xid
  readonly server: ServerIdentity
}

/**
 * Begins a branch.
 *
 * @throws TransactionError ACQUIRE_TIMEOUT, ENLIST_FAILED, or the participant's own code
 */
export async function enlist(
  home: MysqlHome,
  request: BranchRequest,
  boundMs: number,
  enlistment: Enlistment,
): Promise<Begun> {
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
      hint: 'raise the connectionLimit, or acquireMs',
    })
  }
  if (!enlistment.wanted()) {
    session.release()
    return fail(new Error('the transaction has ended'))
  }
  enlistment.took(session)
  try {
    const { server, threadId } = await home.identify(session)
    const xid = { gtrid: request.gtrid, bqual: formatBqual(home.name, threadId) }
    await begin(session, sql.begin(xid, request.isolation, request.readOnly))
    return { xid, server }
  } catch (cause) {
    session.destroy(cause instanceof Error ? cause : new Error(messageOf(cause)))
    return fail(cause)
  }
}

/**
 * With autocommit off, a SELECT of an earlier borrower opened a transaction that nobody owns: it is
 * rolled back, once.
 */
async function begin(session: Session, statements: readonly string[]): Promise<void> {
  try {
    await runAll(session, statements)
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined || !saysTransactionOpen(error)) throw cause
    await session.run(sql.ROLLBACK)
    await runAll(session, statements)
  }
}

async function runAll(session: Session, statements: readonly string[]): Promise<void> {
  const texts = session.merges ? [statements.join('; ')] : statements
  for (const text of texts) await session.run(text)
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
        retryable: isTransient(asMysqlError(cause)),
        hint: known?.hint,
        cause,
      },
    )
  }
}
