/**
 * The server's side of an XA branch: its session, cancelled or ended from the participant's own
 * connection. A thread id is used once in a server's life, so the life is compared too.
 */
import type { ServerIdentity } from '../../src/adapter.ts'
import type { Interrupted } from '../dialect/interrupt.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, NO_SUCH_THREAD } from '../dialect/mysql-errors.ts'
import type { OwnConnection } from './connections.ts'
import type { Physical } from './enlist.ts'
import { lifeOf } from './prove.ts'
import { isHidden } from './witness.ts'

/** @param known - the server behind the own connection */
export async function interrupt(
  own: OwnConnection,
  known: ServerIdentity | undefined,
  { server, threadId }: Physical,
  how: 'cancel' | 'terminate',
): Promise<Interrupted> {
  // Behind a proxy no session can be named.
  if (known === undefined || threadId === undefined) return 'unseen'
  const life = lifeOf(known, server)
  if (life !== 'same') return life === 'restarted' ? 'gone' : 'unseen'
  try {
    await own.run(how === 'cancel' ? sql.killQuery(threadId) : sql.kill(threadId))
    return 'sent'
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined) throw cause
    return error.errno === NO_SUCH_THREAD ? 'gone' : 'unseen'
  }
}

/**
 * Whether the session is seen to do nothing, or to be gone. One that may be hidden from us works.
 */
export async function isDone(
  own: Pick<OwnConnection, 'run'>,
  known: ServerIdentity | undefined,
  { server, threadId }: Physical,
): Promise<boolean> {
  if (known === undefined || threadId === undefined) return false
  const life = lifeOf(known, server)
  if (life !== 'same') return life === 'restarted'
  const [row] = await own.run(sql.command(threadId))
  return row === undefined ? !(await isHidden(own)) : row['command'] === 'Sleep'
}
