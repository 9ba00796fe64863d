/**
 * Ending branches on a connection: plain ROLLBACK, and phase two with its table of answers.
 */
import {
  type Clock,
  type Decision,
  LATE,
  type Settlement,
  UnanimousError,
  within,
  type Xid,
} from '../../src/adapter.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, SETTLE_ANSWERS } from '../dialect/postgres-errors.ts'
import { inTime } from '../dialect/waiting.ts'
import type { OwnConnection } from './connections.ts'
import type { PgResult } from './driver-types.ts'

/** A connection that gives an answer in time, or none. */
interface Asked {
  ask(text: string): Promise<readonly PgResult[]>
}

interface Bound {
  readonly name: string
  readonly clock: Clock
  readonly answerMs: number
}

/** Rolls an unprepared block back; answers whether the connection is known to be outside of one. */
export async function quietRollback(session: Asked): Promise<boolean> {
  try {
    const [result] = await session.ask(sql.ROLLBACK)
    return result?.command === 'ROLLBACK'
  } catch {
    return false
  }
}

/** COMMIT PREPARED or ROLLBACK PREPARED. After `unknown` the connection is not to be used again. */
export function finishPrepared(
  session: Asked,
  participant: string,
  id: string,
  decision: Decision,
): Promise<Settlement> {
  const text = decision === 'commit' ? sql.commitPrepared(id) : sql.rollbackPrepared(id)
  const tag = decision === 'commit' ? 'COMMIT' : 'ROLLBACK'
  return session.ask(text).then(
    ([result]) =>
      result?.command === tag
        ? { kind: 'answered' }
        : { kind: 'unknown', cause: new Error(`${text} was answered by ${result?.command}`) },
    (cause: unknown) => settlementOf(participant, cause),
  )
}

/** How long a pooler may take to find a server connection before the other way is tried too, in ms. */
const POOLER_MS = 50

/**
 * Phase two behind a pooler, with a way past it. A prepared branch holds its locks and no server
 * connection; those that wait for the locks may hold all of them, and COMMIT PREPARED would wait for
 * them as they wait for it. Both ways say the same about a gid that is never used again, so both may
 * be taken: one of them does it, and the other finds nothing.
 *
 * @returns `open`: the branch's own connection is not known to be free
 */
export async function finishEitherWay(
  clock: Clock,
  here: Promise<Settlement>,
  elsewhere: () => Promise<Settlement>,
): Promise<{ readonly settlement: Settlement; readonly open: boolean }> {
  const soon = await within(clock, POOLER_MS, here)
  if (soon !== LATE) return { settlement: soon, open: false }
  const past = elsewhere()
  const first = await Promise.race([
    here.then((settlement) => ({ settlement, open: false })),
    past.then((settlement) => ({ settlement, open: true })),
  ])
  if (first.settlement.kind === 'answered') return first
  // "Absent" on one way is the other one's success.
  const [own, other] = await Promise.all([here, past])
  const settlement = other.kind === 'answered' ? other : own
  return { settlement, open: own.kind === 'unknown' }
}

/**
 * Phase two on the participant's own connection. A branch that ran under SET ROLE belongs to that
 * role, and no other may finish it (42501): then it is done in its owner's name, and the connection is
 * given up, for nothing here knows which role it had before.
 */
export async function settleFrom(
  own: OwnConnection,
  bound: Bound,
  xid: Xid,
  decision: Decision,
): Promise<Settlement> {
  const bounded = { ask: (text: string) => inTime(bound, own.run(text)) }
  const id = sql.idOf(xid)
  const settlement = await finishPrepared(bounded, bound.name, id, decision)
  if (settlement.kind === 'unknown') own.alive = false
  if (settlement.kind !== 'later') return settlement
  const [other] = await own.rows(sql.otherOwner(xid))
  if (other === undefined) return settlement
  own.alive = false
  try {
    await own.run(`SET ROLE ${sql.identifier(other['owner'] ?? '')}`)
  } catch {
    return settlement
  }
  return finishPrepared(bounded, bound.name, id, decision)
}

function settlementOf(name: string, cause: unknown): Settlement {
  const error = asPostgresError(cause)
  const answer = error === undefined ? undefined : SETTLE_ANSWERS.get(error.code)
  if (error === undefined || answer === undefined) return { kind: 'unknown', cause }
  if (answer.hint === undefined) return { kind: answer.kind, cause }
  const hinted = new UnanimousError('PARTICIPANT_UNFIT', `${name}: ${error.message}`, {
    hint: answer.hint,
    cause,
  })
  return { kind: answer.kind, cause: hinted }
}
