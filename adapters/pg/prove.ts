/**
 * How a branch ended, by PROOF.md §3. Runs on the participant's own connection.
 *
 * Order, for a branch that voted: the list first; only a marker that is read after a list without
 * the branch proves a rollback by its absence. A COMMIT PREPARED that waits for a standby is still
 * listed; a plain COMMIT that does so keeps the fence waiting. What fails on the way is thrown: a
 * key that stays locked (55P03), like a server that does not answer, means to look again.
 */
import type {
  BranchEvidence,
  PreparedBranch,
  Proof,
  ServerIdentity,
  ServerLife,
  Xid,
} from '../../src/adapter.ts'
import { COMMITTED } from '../dialect/markers.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, DUPLICATE_KEY } from '../dialect/postgres-errors.ts'
import type { OwnConnection } from './connections.ts'

const AGAIN: Proof = { kind: 'look-again' }

/** The prepared branches of the connection's database. */
export async function list(own: OwnConnection): Promise<readonly PreparedBranch[]> {
  const [row] = await own.rows(sql.LIST)
  return sql.preparedBranches(row)
}

export async function prove(
  own: OwnConnection,
  xid: Xid,
  evidence: BranchEvidence,
  markerSchema: string | undefined,
): Promise<Proof> {
  const gid = sql.gidOf(xid)
  if ((await list(own)).some(({ id }) => id === gid)) return AGAIN
  const marker = await readMarker(own, xid, evidence, markerSchema)
  if (marker === COMMITTED) return { kind: 'committed', by: 'marker' }
  const byId = await byTransactionId(own, evidence)
  const life = lifeOf(await readIdentity(own), evidence.server)
  // Both cannot be true: set back to a snapshot, a server has given the id to somebody else.
  const disputed = marker === 'absent' && byId?.kind === 'committed' && life !== 'same'
  if (disputed) return { kind: 'none', life }
  if (byId !== undefined) return byId
  // A marker that is absent from another server proves nothing.
  if (marker === undefined || life === 'other-server') return { kind: 'none', life }
  return { kind: 'rolled-back', by: 'marker' }
}

export async function proveOnePhase(
  own: OwnConnection,
  xid: Xid,
  evidence: BranchEvidence,
  markerSchema: string | undefined,
): Promise<Proof> {
  const byId = await byTransactionId(own, evidence)
  if (byId !== undefined) return byId
  const life = lifeOf(await readIdentity(own), evidence.server)
  if (!evidence.marker || markerSchema === undefined || life === 'other-server') {
    return { kind: 'none', life }
  }
  try {
    await own.run(sql.fenceMarker(xid, markerSchema))
    return { kind: 'rolled-back', by: 'marker' }
  } catch (cause) {
    await own.run(sql.ROLLBACK)
    if (asPostgresError(cause)?.code !== DUPLICATE_KEY) throw cause
  }
  const marker = await readMarker(own, xid, evidence, markerSchema)
  if (marker === undefined || marker === 'absent') return AGAIN
  return { kind: marker === COMMITTED ? 'committed' : 'rolled-back', by: 'marker' }
}

export async function readIdentity(own: OwnConnection): Promise<ServerIdentity> {
  return identityIn((await own.rows(sql.IDENTITY))[0])
}

export function identityIn(row: Readonly<Record<string, unknown>> | undefined): ServerIdentity {
  return {
    server: String(row?.['server']),
    startedAtMs: Number(row?.['started_at']),
    timeline: String(row?.['timeline']),
  }
}

/** The state in the branch's marker row, `absent`, or `undefined` when it carries none. */
async function readMarker(
  own: OwnConnection,
  xid: Xid,
  evidence: BranchEvidence,
  markerSchema: string | undefined,
): Promise<string | undefined> {
  if (!evidence.marker || markerSchema === undefined) return undefined
  const [row] = await own.rows(sql.readMarker(xid, markerSchema))
  return row?.['state'] ?? 'absent'
}

/** What `pg_xact_status` proves; `undefined` when it proves nothing. */
async function byTransactionId(
  own: OwnConnection,
  evidence: BranchEvidence,
): Promise<Proof | undefined> {
  if (evidence.xid8 === undefined) return undefined
  try {
    const [row] = await own.rows(sql.transactionStatus(evidence.xid8))
    const now = identityIn(row)
    if (now.server !== evidence.server.server) return undefined
    if (now.timeline !== evidence.server.timeline) return undefined
    if (row?.['status'] === 'committed') return { kind: 'committed', by: 'transaction id' }
    if (row?.['status'] === 'aborted') return { kind: 'rolled-back', by: 'transaction id' }
    return row?.['status'] === 'in progress' ? AGAIN : undefined
  } catch (cause) {
    if (asPostgresError(cause) === undefined) throw cause
    return undefined
  }
}

export function lifeOf(now: ServerIdentity, recorded: ServerIdentity): ServerLife {
  if (now.server !== recorded.server) return 'other-server'
  return now.startedAtMs === recorded.startedAtMs ? 'same' : 'restarted'
}
