/**
 * How long a branch waits for a lock. No server sees a deadlock that spans databases: it ends because
 * one of the waits does.
 */
import { UnanimousError } from '../../src/adapter.ts'

/** Less than a transaction's default deadline, so that who is refused may still be run again. */
const DEFAULT_MS = 5_000
/** PostgreSQL's largest; InnoDB's is larger. */
const MAX_MS = 2_147_483_647

/**
 * What one branch waits where milliseconds count: 70 to 90 % of what was asked, by its gtrid. Two that
 * wait for each other began to wait at the same moment; let go at the same moment, both would have
 * failed. InnoDB counts whole seconds from the whole of it, so it lets go after PostgreSQL.
 */
export function spreadLockTimeout(lockTimeoutMs: number, gtrid: string): number {
  let hash = 0
  for (let at = 0; at < gtrid.length; at += 1) {
    hash = (Math.imul(hash, 31) + gtrid.charCodeAt(at)) >>> 0
  }
  // The last digits of a gtrid count up: neighbours must not be near each other.
  const part = (Math.imul(hash, 0x9e37_79b1) >>> 0) / 2 ** 32
  return Math.max(1, Math.round(lockTimeoutMs * (0.9 - 0.2 * part)))
}

/** @throws UnanimousError INVALID_OPTION */
export function checkLockTimeout(lockTimeoutMs: number = DEFAULT_MS): number {
  if (Number.isInteger(lockTimeoutMs) && lockTimeoutMs >= 0 && lockTimeoutMs <= MAX_MS) {
    return lockTimeoutMs
  }
  throw new UnanimousError('INVALID_OPTION', `lockTimeoutMs cannot be ${lockTimeoutMs}`, {
    hint: `give whole milliseconds from 1 to ${MAX_MS}, or 0 for what the session has`,
  })
}
