/**
 * The server's side of a branch: which backend it is on, and how that is cancelled or ended from the
 * participant's own connection.
 *
 * A direct connection is one backend for life, and nobody but the branch has it until the branch has
 * ended: its pid and its start, asked once a connection, name it. (Its transaction's start would cost
 * every branch 0.03 to 0.06 ms for a SELECT in the begin text, and could not tell more.) Behind a
 * pooler backends change hands at every block, so each block asks, and its own start is compared too.
 */
import type { Interrupted } from '../dialect/interrupt.ts'
import * as sql from '../dialect/postgres.ts'
import type { OwnConnection } from './connections.ts'
import type { Backend, Physical } from './enlist.ts'
import type { Session } from './pool.ts'
import { identityIn } from './prove.ts'

/** Reads what `SESSION` answered. A greeting's pid that is not the backend's came from a pooler. */
export function physicalIn(
  row: Readonly<Record<string, unknown>> | undefined,
  session: Session,
  heardMs: number,
): Physical {
  const { pid, backend_at: backendAt, lock_timeout: lockTimeout } = row ?? {}
  const greeted = session.client.processID
  const direct =
    typeof pid === 'string' && typeof backendAt === 'string' && pid === String(greeted ?? '')
  return {
    server: identityIn(row),
    backend: direct ? { pid, backendAt } : undefined,
    lockTimeoutMs: Number(lockTimeout),
    heardMs,
  }
}

export async function interrupt(
  own: OwnConnection,
  backend: Backend,
  how: 'cancel' | 'terminate',
): Promise<Interrupted> {
  const [row] = await own.rows(sql.interrupt(backend, how))
  if (row === undefined) return 'gone'
  switch (row['answer']) {
    case 'true':
      return 'sent'
    // The process went between the look and the signal: the next look tells.
    case 'false':
      return 'sent'
    case 'other':
      return 'gone'
    default:
      return 'unseen'
  }
}

/** Whether the backend is seen to do nothing for the session, or to be gone. */
export async function isDone(own: OwnConnection, backend: Backend): Promise<boolean> {
  const [row] = await own.rows(sql.activity(backend))
  return row === undefined || /^(?:idle|other)/.test(String(row['answer']))
}
