/**
 * What the database itself can testify when the log is lost (PROOF.md §5): the rows of
 * `unanimous_log`, marker rows, and who else talks to the server. Runs on the participant's own
 * connection; what fails is thrown.
 */
import {
  type Announcement,
  messageOf,
  type SeenMarker,
  type SeenSessions,
  UnanimousError,
} from '../../src/adapter.ts'
import { LOG_TABLE_GRANT } from '../dialect/markers.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, DENIED, NO_TABLE } from '../dialect/postgres-errors.ts'
import type { OwnConnection } from './connections.ts'

/** `false` when the table is missing. */
export async function announce(own: OwnConnection, text: string): Promise<boolean> {
  try {
    const results = await own.run(text)
    const last = results.at(-1)?.command
    if (last !== 'COMMIT') throw new Error(`the announcement was answered by ${last}`)
    return true
  } catch (cause) {
    const code = asPostgresError(cause)?.code
    // Whatever failed, the block is still open: not rolled back, it would swallow what comes next.
    if (code !== undefined) await own.run(sql.ROLLBACK)
    if (code === NO_TABLE) return false
    throw code === DENIED ? denied(cause) : cause
  }
}

/** `undefined` when the table is missing. */
export async function announced(
  own: OwnConnection,
  logId: string,
  schema: string,
): Promise<readonly Announcement[] | undefined> {
  try {
    const rows = await own.rows(sql.announced(logId, schema))
    return rows.map((row) => ({
      incarnation: row['incarnation'] ?? '',
      participant: row['participant'] ?? '',
    }))
  } catch (cause) {
    const code = asPostgresError(cause)?.code
    if (code === NO_TABLE) return undefined
    throw code === DENIED ? denied(cause) : cause
  }
}

function denied(cause: unknown): UnanimousError {
  const details = { hint: LOG_TABLE_GRANT, cause }
  return new UnanimousError('PARTICIPANT_UNFIT', messageOf(cause), details)
}

/** A list that lacks a branch is read before: by then its commit is visible, or never comes. */
export async function markersOf(
  own: OwnConnection,
  gtrids: readonly string[],
  schema: string,
): Promise<readonly SeenMarker[]> {
  const rows = await own.rows(sql.committedMarkers(gtrids, schema))
  return rows.map((row) => ({
    gtrid: row['gtrid'] ?? '',
    bqual: row['bqual'] ?? '',
    state: 'committed',
  }))
}

export async function sessions(own: OwnConnection, naming: string): Promise<SeenSessions> {
  const [user] = await own.rows(sql.USER)
  const [count] = await own.rows(sql.HIDDEN_SESSIONS)
  const rows = await own.rows(sql.sessionsNaming(naming))
  return {
    naming: rows.map((row) => ({ id: row['id'] ?? '', statement: row['statement'] ?? '' })),
    hidden: count?.['hidden'] !== '0',
    user: user?.['name'] ?? '',
  }
}
