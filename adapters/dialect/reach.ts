/**
 * Why no connection came, or is there no more: whether the server may answer in a moment, so that the same work is worth
 * another try. A wrong login or a database that is not there does not mend itself.
 */
import { messageOf, type Refusal, TransactionError, UnanimousError } from '../../src/adapter.ts'

/** Of the socket, by Node's names. A Unix socket is missing (ENOENT) while its server is down. */
const SOCKET =
  'ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH EHOSTDOWN ENETDOWN EAI_AGAIN ENOENT PROTOCOL_CONNECTION_LOST'.split(
    ' ',
  )

/** @param codes - of servers that are shutting down, starting, or out of connections */
export function isOutOfReach(cause: unknown, codes: readonly (string | number)[]): boolean {
  // Our own word for it may have no cause: a server that was silent for too long.
  if (cause instanceof UnanimousError) {
    if (cause.code !== 'PARTICIPANT_UNREACHABLE') return false
    return cause.cause === undefined || isOutOfReach(cause.cause, codes)
  }
  if (typeof cause !== 'object' || cause === null) return false
  const { code, errno } = cause as Partial<Record<string, unknown>>
  return [...SOCKET, ...codes].some((known) => known === code || known === errno)
}

/** A branch that did not come to be: in its own words where they are ours, with the server's otherwise. */
export function enlistFailed(
  participant: string,
  gtrid: string,
  cause: unknown,
  retryable: boolean,
): TransactionError {
  // The pool's connect may have used a coordinator of its own: what became of that is no word about ours.
  if (cause instanceof TransactionError && cause.gtrid === gtrid) return cause
  const known = cause instanceof UnanimousError ? cause : undefined
  return new TransactionError(
    known?.code ?? 'ENLIST_FAILED',
    known?.message ?? `${participant}: ${messageOf(cause)}`,
    { outcome: 'rolled-back', gtrid, retryable, hint: known?.hint, cause },
  )
}

/** @param setting - what lets the pool hand out more connections */
export function acquireTimeout(
  participant: string,
  gtrid: string,
  setting: string,
): TransactionError {
  return new TransactionError('ACQUIRE_TIMEOUT', `${participant}: no connection in time`, {
    outcome: 'rolled-back',
    gtrid,
    retryable: true,
    hint: `raise ${setting}, or acquireMs`,
  })
}

/** What a statement hears that comes before its branch is there, or after it has ended. */
export function takesNoMore(): Error {
  return new Error('the branch has ended, or takes no further statement')
}

/** Why a branch whose connection is gone cannot be committed. */
export function connectionLost(cause: unknown): Refusal {
  const reason = `the connection was lost: ${messageOf(cause)}`
  return { code: 'CONNECTION_LOST', reason, retryable: true, cause }
}
