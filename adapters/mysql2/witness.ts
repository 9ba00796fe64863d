/**
 * What the database itself can testify when the log is lost (PROOF.md §5): the rows of
 * `unanimous_log`, marker rows, and who else talks to the server. Runs on the participant's own
 * connection; what fails is thrown.
 */
import {
  type Announcement,
  messageOf,
  parseBqual,
  type SeenMarker,
  type SeenSessions,
  UnanimousError,
} from '../../src/adapter.ts'
import { LOG_TABLE_GRANT } from '../dialect/markers.ts'
import * as sql from '../dialect/mysql.ts'
import {
  asMysqlError,
  NEEDS_PRIVILEGE,
  NO_TABLE,
  STATEMENTS_ONLY,
  TABLE_DENIED,
} from '../dialect/mysql-errors.ts'
import type { Row } from './pool.ts'

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

/** `false` when the table is missing. */
export async function announce(own: Runner, text: string): Promise<boolean> {
  try {
    await own.run(text)
    return true
  } catch (cause) {
    const errno = asMysqlError(cause)?.errno
    if (errno === NO_TABLE) return false
    throw errno === TABLE_DENIED ? denied(cause) : cause
  }
}

/** `undefined` when the table is missing. */
export async function announced(
  own: Runner,
  logId: string,
  schema: string,
): Promise<readonly Announcement[] | undefined> {
  try {
    const rows = await own.run(sql.announced(logId, schema))
    return rows.map((row) => ({
      incarnation: String(row['incarnation']),
      participant: String(row['participant']),
    }))
  } catch (cause) {
    const errno = asMysqlError(cause)?.errno
    if (errno === NO_TABLE) return undefined
    throw errno === TABLE_DENIED ? denied(cause) : cause
  }
}

function denied(cause: unknown): UnanimousError {
  const details = { hint: LOG_TABLE_GRANT, cause }
  return new UnanimousError('PARTICIPANT_UNFIT', messageOf(cause), details)
}

/**
 * Reads in this order: what is there, committed or not; which sessions there are; what is committed. A
 * locking read would wait for every branch that is prepared; here a branch between its end and its
 * visibility shows as `open`. A session that is gone before the last read has done all that it will.
 * The level is set for each read: a server's default may be READ UNCOMMITTED.
 */
export async function markersOf(
  own: Runner,
  gtrids: readonly string[],
  schema: string,
): Promise<readonly SeenMarker[]> {
  const read = async (level: string): Promise<readonly Row[]> => {
    await own.run(level)
    return own.run(sql.markersOf(gtrids, schema))
  }
  const there = await read(sql.NEXT_READS_OPEN)
  const preparers = await connected(own)
  const committed = new Set((await read(sql.NEXT_READS_COMMITTED)).map(key))
  return there.map((row) => {
    const [gtrid, bqual] = [String(row['gtrid']), String(row['bqual'])]
    if (committed.has(key(row))) return { gtrid, bqual, state: 'committed' }
    const session = preparers(parseBqual(bqual).threadId, Number(row['at_s']))
    return { gtrid, bqual, state: 'open', ...(session === undefined ? {} : { session }) }
  })
}

const CLOCK_SLACK_S = 2

/**
 * Tells whether the session that wrote a marker is still connected. The ids begin anew with every life
 * of the server: a marker from before its start is of a session that is gone.
 */
async function connected(
  own: Runner,
): Promise<(threadId: number | undefined, atS: number) => string | undefined> {
  const ids = new Set((await own.run(sql.SESSIONS)).map((row) => Number(row['Id'])))
  const [now] = await own.run(sql.NOW)
  const [uptime] = await own.run(sql.UPTIME)
  const startedAtS = Number(now?.['now_s']) - Number(uptime?.['Value'])
  return (threadId, atS) => {
    if (threadId === undefined || !ids.has(threadId)) return undefined
    return atS < startedAtS - CLOCK_SLACK_S ? undefined : String(threadId)
  }
}

function key(row: Row): string {
  return `${String(row['gtrid'])}:${String(row['bqual'])}`
}

/** Without PROCESS the list holds our own sessions alone, and says nothing of the others. */
export async function sessions(own: Runner, text: string): Promise<SeenSessions> {
  const [self] = await own.run(sql.USER)
  return {
    naming: await naming(own, text),
    hidden: await isHidden(own),
    user: String(self?.['name']),
  }
}

/** Sessions, less our own, that run a statement with the text in it. */
export async function naming(own: Runner, text: string): Promise<SeenSessions['naming']> {
  const [self] = await own.run(sql.USER)
  const rows = await own.run(sql.SESSIONS)
  return rows
    .filter((row) => Number(row['Id']) !== Number(self?.['thread_id']))
    .map((row) => ({ id: String(row['Id']), statement: textOf(row['Info']) }))
    .filter(({ statement }) => statement.includes(text))
}

/** A character set that the driver does not read comes as bytes, and must not look like silence. */
function textOf(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('latin1')
  return typeof value === 'string' ? value : ''
}

/** Whether sessions of other users are withheld from us. */
export async function isHidden(own: Runner): Promise<boolean> {
  try {
    await own.run(sql.NEEDS_PROCESS)
    return false
  } catch (cause) {
    if (asMysqlError(cause)?.errno === NEEDS_PRIVILEGE) return true
    throw cause
  }
}

/**
 * Deletes markers. Of a small table the servers scan all of it (11.8.9 from 150 ids, 9.7.4 from 250), and wait
 * for rows of branches that have not ended. What they have read by then they keep at REPEATABLE READ, and the
 * marker of every other vote would wait for it; at READ COMMITTED they keep only what they delete.
 */
export async function deleteMarkers(
  own: Runner,
  gtrids: readonly string[],
  schema: string,
): Promise<void> {
  const text = sql.deleteMarkers(gtrids, schema)
  try {
    await own.run(sql.atIsolation('READ COMMITTED'))
    await own.run(text)
  } catch (cause) {
    if (asMysqlError(cause)?.errno !== STATEMENTS_ONLY) throw cause
    await own.run(sql.atIsolation('REPEATABLE READ'))
    await own.run(text)
  }
}
