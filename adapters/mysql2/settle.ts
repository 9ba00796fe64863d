/**
 * Ending branches: a plain rollback on the branch's own connection, phase two there, and phase two
 * from the participant's own connection when the branch's is not ours any more.
 */
import {
  type Clock,
  type Decision,
  parseBqual,
  type Settlement,
  sleep,
  UnanimousError,
  type Xid,
} from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import {
  asMysqlError,
  type MysqlError,
  NO_SUCH_THREAD,
  NOTA,
  saysRolledBack,
} from '../dialect/mysql-errors.ts'
import type { Presence } from './departures.ts'
import type { Row } from './pool.ts'

/** A connection that gives an answer in time, or none. */
interface Asked {
  ask(text: string): Promise<readonly Row[]>
}

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

interface Bound {
  readonly name: string
  readonly clock: Clock
  readonly answerMs: number
}

/**
 * Rolls an unprepared branch back; answers whether the connection is known to be free. XA END may
 * fail (idle already, or doomed); MySQL needs it all the same before XA ROLLBACK of a doomed branch.
 */
export async function quietRollback(session: Asked, xid: Xid): Promise<boolean> {
  try {
    await session.ask(sql.end(xid))
  } catch (cause) {
    if (asMysqlError(cause) === undefined) return false
  }
  try {
    await session.ask(sql.rollback(xid))
    return true
  } catch {
    return false
  }
}

/** Phase two on the branch's own connection, where 1397 does mean that the branch is gone. */
export function finishPrepared(
  session: Asked,
  xid: Xid,
  verb: 'commit' | 'rollback',
): Promise<Settlement> {
  return session.ask(verb === 'commit' ? sql.commit(xid) : sql.rollback(xid)).then(
    () => ({ kind: 'answered' }),
    (cause: unknown) => {
      const error = asMysqlError(cause)
      if (error?.errno === NOTA) return { kind: 'absent', cause }
      return rolledBack(error, verb, cause) ?? { kind: 'unknown', cause }
    },
  )
}

const PAUSE_MS = 25
const TRIES = 20
/** After a session's end MariaDB answers 1397 for some milliseconds more: first wait, then KILL. */
const PATIENCE = 3

interface Settler extends Runner {
  listed(xid: Xid): Promise<boolean>
  /** Whether another session runs a statement that names the branch. */
  named(xid: Xid): Promise<boolean>
  threadId(): Promise<number>
  /** What is known of a session of this id; `gone` where a session that ends does no harm. */
  presence(threadId: number): Promise<Presence>
}

/**
 * Phase two from another connection (T3). A session that is ending is waited for (T11). MariaDB answers 1397 both for a branch that it does not
 * know and for one whose session still lives; only the list tells them apart. The session is ended
 * when the branch is still listed after a pause, and its bqual names it.
 *
 * @param own - throws out of here whatever is not an answer
 */
export async function settleFrom(
  own: Settler,
  bound: Bound,
  xid: Xid,
  decision: Decision,
): Promise<Settlement> {
  const verb = decision === 'commit' ? 'commit' : 'rollback'
  const { threadId } = parseBqual(xid.bqual)
  let attached: unknown = new Error('the session that prepared the branch is about to end')
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const session = threadId === undefined ? 'gone' : await own.presence(threadId)
    // One that stays and does not end holds the branch (1397), or is another of the same id, after a restart:
    // it is asked once. Told to end, it is waited for.
    if (session === 'gone' || (session === 'there' && tries === PATIENCE)) {
      try {
        await own.run(verb === 'commit' ? sql.commit(xid) : sql.rollback(xid))
        return { kind: 'answered' }
      } catch (cause) {
        const error = asMysqlError(cause)
        const ended = rolledBack(error, verb, cause)
        if (ended !== undefined) return ended
        if (error?.errno !== NOTA) throw cause
        if (!(await own.listed(xid))) return { kind: 'absent', cause }
        attached = cause
      }
    }
    if (session !== 'ending' && tries === PATIENCE) {
      const hindrance = await endSession(own, bound, xid)
      if (hindrance !== undefined) return { kind: 'later', cause: hindrance }
    }
    await sleep(bound.clock, PAUSE_MS)
  }
  return { kind: 'later', cause: attached }
}

/** Answers why the session that holds the branch could not be ended. */
async function endSession(own: Settler, bound: Bound, xid: Xid): Promise<unknown> {
  // MariaDB answers 1397 as well while another session carries a verb out on the branch. The one in its name
  // may be over by then, and its id given out again to somebody else in another life of the server.
  if (await own.named(xid)) return new Error('another session is finishing the branch')
  const { threadId } = parseBqual(xid.bqual)
  // An id that is now our own was the branch's in an earlier life of the server.
  if (threadId === undefined || threadId === (await own.threadId())) {
    return new UnanimousError('PARTICIPANT_UNFIT', `${bound.name}: a session holds the branch`, {
      hint: 'end the session that prepared it: SHOW PROCESSLIST, then KILL',
    })
  }
  try {
    await own.run(sql.kill(threadId))
    return undefined
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined) throw cause
    if (error.errno === NO_SUCH_THREAD) return undefined
    return new UnanimousError('PARTICIPANT_UNFIT', `${bound.name}: ${error.message}`, {
      hint: `GRANT CONNECTION_ADMIN (MariaDB: CONNECTION ADMIN) ON *.* to the user, or KILL ${threadId}`,
      cause,
    })
  }
}

/**
 * XA_RB* is the answer that a rollback wants. To a commit it is none: MariaDB gives it for a branch
 * that changed nothing (T7), where it is harmless, and that is for proof to tell.
 */
function rolledBack(
  error: MysqlError | undefined,
  verb: 'commit' | 'rollback',
  cause: unknown,
): Settlement | undefined {
  if (error === undefined || !saysRolledBack(error)) return undefined
  return verb === 'rollback' ? { kind: 'answered' } : { kind: 'absent', cause }
}
