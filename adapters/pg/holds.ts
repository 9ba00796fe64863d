/** What prepared branches keep from others: evidence for people. */
import type { PreparedBranch, SeenHold, SeenWait } from '../../src/adapter.ts'
import * as sql from '../dialect/postgres-holds.ts'
import type { OwnConnection } from './connections.ts'

type Row = Readonly<Record<string, string | null>>

export async function holds(
  own: OwnConnection,
  branches: readonly PreparedBranch[],
): Promise<readonly SeenHold[]> {
  const waits = await own.rows(sql.WAITING)
  const held = branches.length === 0 ? [] : await own.rows(sql.heldBy(branches.map(({ id }) => id)))
  const seen: SeenHold[] = held.map((row) => ({
    id: row['gid'] ?? '',
    locks: Number(row['locks']),
    tables: JSON.parse(row['tables'] ?? '[]') as string[],
    waiting: waits.filter(({ gid }) => gid === row['gid']).map(waitOf),
  }))
  const unclear = waits.filter(({ gid }) => gid === null)
  return unclear.length === 0 ? seen : [...seen, { id: undefined, waiting: unclear.map(waitOf) }]
}

function waitOf({ session, username, waiting_ms: waitingMs }: Row): SeenWait {
  return {
    session: session ?? '',
    ...(username === null || username === undefined ? {} : { user: username }),
    ...(waitingMs === null ? {} : { waitingMs: Number(waitingMs) }),
  }
}
