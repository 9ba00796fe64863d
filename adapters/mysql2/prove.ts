/**
 * How a branch ended, by PROOF.md §3. Runs on the participant's own connection.
 *
 * Order, for a branch that voted: the list first; only a marker that is read after a list without
 * the branch, by a locking read, proves a rollback by its absence. What fails on the way is thrown:
 * a row that stays locked (1205), like a server that does not answer, means to look again.
 */
import {
  type BranchEvidence,
  type PreparedBranch,
  type Proof,
  parseBqual,
  type ServerIdentity,
  type ServerLife,
  type Xid,
} from '../../src/adapter.ts'
import { COMMITTED } from '../dialect/markers.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, DUPLICATE_KEY } from '../dialect/mysql-errors.ts'
import { preparedBranch, type RecoverRow } from '../dialect/mysql-xids.ts'
import type { TypeCast } from './driver-types.ts'
import type { Row } from './pool.ts'

interface Runner {
  run(text: string): Promise<readonly Row[]>
  runEach<T>(text: string, keep: (row: Row) => T, typeCast?: TypeCast): Promise<readonly T[]>
}

/** A character for each byte: the driver's Buffers would be most of what a list of tens of thousands costs. */
const asLatin1: TypeCast = (field, next) =>
  field.name === 'data' ? field.string('latin1') : next()

export function list(
  own: Pick<Runner, 'runEach'>,
  flavour: sql.Flavour,
): Promise<readonly PreparedBranch[]> {
  const text = sql.recover(flavour)
  if (flavour === 'MySQL') {
    return own.runEach(text, (row) => preparedBranch(row as Row & RecoverRow))
  }
  const keep = (row: Row): PreparedBranch =>
    preparedBranch(row as Row & RecoverRow, row['data'] as string)
  return own.runEach(text, keep, asLatin1)
}

export function isListed(branches: readonly PreparedBranch[], xid: Xid): boolean {
  return branches.some((one) => one.xid?.gtrid === xid.gtrid && one.xid.bqual === xid.bqual)
}

export async function prove(
  own: Runner,
  flavour: sql.Flavour,
  xid: Xid,
  evidence: BranchEvidence,
  markerSchema: string | undefined,
): Promise<Proof> {
  if (isListed(await list(own, flavour), xid)) return { kind: 'look-again' }
  const life = await lifeNow(own, flavour, xid, evidence.server)
  if (!evidence.marker || markerSchema === undefined) return { kind: 'none', life }
  const marker = await readMarker(own, xid, markerSchema)
  if (marker === COMMITTED) return { kind: 'committed', by: 'marker' }
  // A marker that is absent from another server proves nothing.
  return life === 'other-server' ? { kind: 'none', life } : { kind: 'rolled-back', by: 'marker' }
}

export async function proveOnePhase(
  own: Runner,
  flavour: sql.Flavour,
  xid: Xid,
  evidence: BranchEvidence,
  markerSchema: string | undefined,
): Promise<Proof> {
  const life = await lifeNow(own, flavour, xid, evidence.server)
  if (!evidence.marker || markerSchema === undefined || life === 'other-server') {
    return { kind: 'none', life }
  }
  try {
    await own.run(sql.fenceMarker(xid, markerSchema))
    return { kind: 'rolled-back', by: 'marker' }
  } catch (cause) {
    if (asMysqlError(cause)?.errno !== DUPLICATE_KEY) throw cause
  }
  const marker = await readMarker(own, xid, markerSchema)
  if (marker === undefined) return { kind: 'look-again' }
  return { kind: marker === COMMITTED ? 'committed' : 'rolled-back', by: 'marker' }
}

export async function identify(
  own: Pick<Runner, 'run'>,
  flavour: sql.Flavour,
): Promise<ServerIdentity> {
  return identityIn(await own.run(sql.identity(flavour)))
}

export function identityIn(rows: readonly Row[]): ServerIdentity {
  const [row] = rows
  const startedAtS = Number(row?.['started_at'])
  // SET timestamp in the session bends both terms; such an answer identifies nothing.
  if (!(startedAtS > 0)) throw new Error("the server's start time cannot be read in this session")
  const drawn = Number.parseInt(String(row?.['drawn']), 16) % CLOCK_SEQUENCES
  const startedAtMs = (startedAtS + drawn / CLOCK_SEQUENCES) * 1000
  return { server: String(row?.['server']), startedAtMs }
}

/** Of 16 bits the two highest are the same in every UUID. */
const CLOCK_SEQUENCES = 2 ** 14

async function readMarker(own: Runner, xid: Xid, schema: string): Promise<string | undefined> {
  const [row] = await own.run(sql.readMarker(xid, schema))
  return row === undefined ? undefined : String(row['state'])
}

/** The start is exact; a clock that was set while the server ran moves both terms of it. */
export function lifeOf(now: ServerIdentity, recorded: ServerIdentity): ServerLife {
  if (now.server !== recorded.server) return 'other-server'
  return now.startedAtMs === recorded.startedAtMs ? 'same' : 'restarted'
}

/** A session's id that this life has not given out yet is of an earlier one. */
async function lifeNow(
  own: Runner,
  flavour: sql.Flavour,
  { bqual }: Xid,
  recorded: ServerIdentity,
): Promise<ServerLife> {
  const life = lifeOf(await identify(own, flavour), recorded)
  const { threadId } = parseBqual(bqual)
  if (life !== 'same' || threadId === undefined) return life
  const [row] = await own.run(sql.CONNECTIONS)
  return Number(row?.['Value']) < threadId ? 'restarted' : 'same'
}
