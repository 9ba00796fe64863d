/** Who waits for prepared branches: evidence for people. The server does not tell for which of them. */
import type { SeenHold, SeenWait } from '../../src/adapter.ts'
import { flavourOf, SERVER } from '../dialect/mysql.ts'
import { asMysqlError } from '../dialect/mysql-errors.ts'
import { ROW_WAITS, waiting } from '../dialect/mysql-holds.ts'
import type { OwnConnection } from './connections.ts'

/** Needs PROCESS, and on MySQL SELECT on performance_schema; without them nothing is known. */
export async function holds(own: OwnConnection): Promise<readonly SeenHold[]> {
  try {
    const [waits] = await own.run(ROW_WAITS)
    if (waits?.['Value'] === '0') return []
    const [server] = await own.run(SERVER)
    const rows = await own.run(waiting(flavourOf(String(server?.['version']))))
    const sessions = new Map(rows.map((row) => [String(row['session']), waitOf(row)]))
    return sessions.size === 0 ? [] : [{ id: undefined, waiting: [...sessions.values()] }]
  } catch (cause) {
    if (asMysqlError(cause) === undefined) throw cause
    return []
  }
}

function waitOf(row: Readonly<Record<string, unknown>>): SeenWait {
  const { session, username, waiting_ms: waitingMs } = row
  return {
    session: String(session),
    ...(typeof username === 'string' ? { user: username } : {}),
    ...(waitingMs === null ? {} : { waitingMs: Math.round(Number(waitingMs)) }),
  }
}
