/**
 * Ending branches: a plain rollback on the branch's own connection, phase two there, and phase two
 * from the participant's own connection when the branch's is not ours any more.
 */
import {
  type Clock,
  type Decision,
  parseBqual,
  type ServerLife,
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
export async function quietRollback(session: Asked, id: string): Promise<boolean> {
  try {
    await session.ask(sql.end(id))
  } catch (cause) {
    if (asMysqlError(cause) === undefined) return false
  }
  try {
    await session.ask(sql.rollback(id))
    return true
  } catch {
    return false
  }
}

/** Phase two failed on the branch's own connection, where 1397 does mean that the branch is gone. */
export function refusedEnd(cause: unknown, verb: 'commit' | 'rollback'): Settlement {
  const error = asMysqlError(cause)
  if (error?.errno === NOTA) return { kind: 'absent', cause }
  return rolledBack(error, verb, cause) ?? { kind: 'unknown', cause }
}

const PAUSE_MS = 25
const TRIES = 20
/** First a session is waited for: its client may have gone. Then it is told to end. */
const PATIENCE = 3
/** One that is ending, or may be and we are not shown it, needs as long as this at most. */
const PATIENCE_ENDING = 12

/** The participant's own connection, as settling needs it. */
export interface Settler extends Runner {
  listed(xid: Xid): Promise<boolean>
  /** Whether another session runs a statement that names the branch. */
  named(xid: Xid): Promise<boolean>
  threadId(): Promise<number>
  /** What is known of a session of this id. */
  presence(threadId: number | undefined): Promise<Presence>
}

/**
 * What is known of the session that the bqual names: `preparer`, in the life of the server that the
 * record names; `stranger`, in any other; `unknown` without a record.
 */
export type Who = 'preparer' | 'stranger' | 'unknown'

/** @param life - `undefined` without a record */
export function whoIs(life: ServerLife | undefined): Who {
  if (life === undefined) return 'unknown'
  return life === 'same' ? 'preparer' : 'stranger'
}

/** What one try found; `wait`: nothing was decided, and another try may. `left`: the session has. */
export type Step =
  | Settlement
  | {
      readonly kind: 'wait'
      readonly forMs: number
      readonly left: boolean
      readonly cause: unknown
    }

/**
 * Phase two from another connection. The connection is free for other branches between the tries (rule 8).
 *
 * T11: while the preparer is there the verb is not sent, and not before what it does as it ends is over.
 * T3: what stays is told to end, and then waited for: MariaDB answers 1397 both for a branch that it does
 * not know and for one whose session still lives; only the list tells them apart.
 *
 * Where nothing tells whether the session of that id is the preparer, it is no reason to wait for ever: the
 * verb is sent. 1397 says that the branch is attached. OK is believed if the session was not ending behind
 * it, unless its connection was reset, which leaves a branch as an end does and shows nowhere (T2).
 *
 * @param reach - runs one try on the own connection; throws out of here whatever is not an answer
 */
export async function settleFrom(
  reach: (attempt: (own: Settler, who: Who) => Promise<Step>) => Promise<Step>,
  bound: Bound,
  xid: Xid,
  decision: Decision,
): Promise<Settlement> {
  const task = { bound, xid, decision }
  let cause: unknown
  let left = false
  for (let tries = 1; tries <= TRIES; tries += 1) {
    // Whoever has the id once it has left is another.
    const step = await reach((own, who) => attempt(own, left ? 'stranger' : who, task, tries))
    if (step.kind !== 'wait') return step
    cause = step.cause
    left ||= step.left
    await sleep(bound.clock, step.forMs)
  }
  return { kind: 'later', cause }
}

type Wait = Extract<Step, { readonly kind: 'wait' }>

function waitOn(cause: unknown): Wait {
  return { kind: 'wait', forMs: PAUSE_MS, left: false, cause }
}

interface Task {
  readonly bound: Bound
  readonly xid: Xid
  readonly decision: Decision
}

async function attempt(
  own: Settler,
  who: Who,
  { bound, xid, decision }: Task,
  tries: number,
): Promise<Step> {
  const { threadId } = parseBqual(xid.bqual)
  const session = who === 'stranger' ? GONE : await own.presence(threadId)
  const { kind } = session
  const wait = waitOn(new Error(`session ${threadId}, which prepared the branch, has not ended`))
  if (kind === 'gone' && session.inMs > 0) return { ...wait, forMs: session.inMs, left: true }
  const isTime = tries === (kind === 'hidden' || kind === 'ending' ? PATIENCE_ENDING : PATIENCE)
  const mayAsk = kind === 'gone' || kind === 'unnamed' || kind === 'moot'
  let step: Step = wait
  if (mayAsk || (isTime && who === 'unknown' && kind !== 'ending')) {
    step = await carryOut(own, xid, decision)
    if (step.kind === 'answered' && kind !== 'gone' && kind !== 'moot') {
      return confirmed(step, decision, await own.presence(threadId))
    }
  }
  // The id of one that has gone may be somebody else's.
  return step.kind === 'wait' && isTime && kind !== 'gone'
    ? endSession(own, bound, xid, step)
    : step
}

export const GONE: Presence = { kind: 'gone', inMs: 0 }

/**
 * OK means nothing if the session may have been ending as it was said: what ends does not come back. One
 * that has no name may always have been: a commit is for proof to tell; a branch that was not rolled back
 * is listed again, and found by a sweep.
 */
function confirmed(answer: Settlement, decision: Decision, { kind }: Presence): Settlement {
  const isNamed = kind !== 'unnamed'
  if (isNamed ? kind === 'there' : decision === 'abort') return answer
  const cause = new Error('the session that prepared the branch may have been ending meanwhile')
  return { kind: isNamed ? 'unknown' : 'absent', cause }
}

/** Sends the verb. 1397 for a branch that is listed: it is attached to a session. */
async function carryOut(own: Settler, xid: Xid, decision: Decision): Promise<Step> {
  const verb = decision === 'commit' ? 'commit' : 'rollback'
  try {
    await own.run(sql.finish(sql.idOf(xid), verb))
    return { kind: 'answered' }
  } catch (cause) {
    const error = asMysqlError(cause)
    const ended = rolledBack(error, verb, cause)
    if (ended !== undefined) return ended
    if (error?.errno !== NOTA) throw cause
    if (!(await own.listed(xid))) return { kind: 'absent', cause }
    return waitOn(cause)
  }
}

/**
 * Tells the session that holds the branch to end. KILL of one that only seemed to be ending, for KILL QUERY
 * shows as `Killed` until its next statement, ends it too.
 */
async function endSession(own: Settler, bound: Bound, xid: Xid, wait: Wait): Promise<Step> {
  // MariaDB answers 1397 as well while another session carries a verb out on the branch. The one in its name
  // may be over by then, and its id given out again to somebody else in another life of the server.
  if (await own.named(xid)) return later(new Error('another session is finishing the branch'))
  // Asked after that: who has finished it is not named any more.
  if (!(await own.listed(xid))) {
    return { kind: 'absent', cause: new Error('the branch is not listed') }
  }
  const { threadId } = parseBqual(xid.bqual)
  // An id that is now our own was the branch's in an earlier life of the server.
  if (threadId === undefined || threadId === (await own.threadId())) {
    const why = `${bound.name}: a session holds the branch`
    const hint = 'end the session that prepared it: SHOW PROCESSLIST, then KILL'
    return later(new UnanimousError('PARTICIPANT_UNFIT', why, { hint }))
  }
  try {
    await own.run(sql.kill(threadId))
    return wait
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined) throw cause
    if (error.errno === NO_SUCH_THREAD) return wait
    const hint = `GRANT CONNECTION_ADMIN (MariaDB: CONNECTION ADMIN) ON *.* to the user, or KILL ${threadId}`
    const why = `${bound.name}: ${error.message}`
    return later(new UnanimousError('PARTICIPANT_UNFIT', why, { hint, cause }))
  }
}

function later(cause: unknown): Step {
  return { kind: 'later', cause }
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
