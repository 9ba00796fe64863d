/**
 * Reads what XA RECOVER lists, without losing a byte of anybody's xid: gtrid and bqual stand
 * concatenated in `data`, and only their lengths tell them apart.
 */
import {
  type ByHand,
  FORMAT_ID,
  type PreparedBranch,
  parseGtrid,
  type Xid,
} from '../../src/adapter.ts'

/** A row of XA RECOVER as a driver answers it: bytes from MariaDB, `0x…` from MySQL. */
export interface RecoverRow {
  readonly formatID: number
  readonly gtrid_length: number
  readonly bqual_length: number
  readonly data: unknown
}

export function preparedBranch(row: RecoverRow): PreparedBranch {
  const bytes = bytesOf(row.data)
  const gtrid = bytes.subarray(0, row.gtrid_length)
  const bqual = bytes.subarray(row.gtrid_length, row.gtrid_length + row.bqual_length)
  const id = `${spell(gtrid)},${spell(bqual)},${row.formatID}`
  const xid = ours(row.formatID, gtrid, bqual)
  return xid === undefined ? { id } : { id, xid }
}

/** What a person types. */
export function byHand(id: string): ByHand {
  return { commit: `XA COMMIT ${id}`, rollBack: `XA ROLLBACK ${id}` }
}

/** Ours carry formatID 1, a gtrid of our spelling and a bqual of printable ASCII. */
function ours(formatId: number, gtrid: Buffer, bqual: Buffer): Xid | undefined {
  if (Number(formatId) !== FORMAT_ID || !isPrintable(gtrid) || !isPrintable(bqual)) return undefined
  const text = gtrid.toString('latin1')
  if (parseGtrid(text) === undefined || bqual.length === 0) return undefined
  return { gtrid: text, bqual: bqual.toString('latin1') }
}

function bytesOf(data: unknown): Buffer {
  if (data instanceof Uint8Array) return Buffer.from(data)
  const text = String(data)
  return /^0x[0-9a-f]*$/i.test(text) ? Buffer.from(text.slice(2), 'hex') : Buffer.from(text)
}

function spell(bytes: Buffer): string {
  return isPrintable(bytes) ? `'${bytes.toString('latin1')}'` : `X'${bytes.toString('hex')}'`
}

/** ASCII that reads the same inside quotes. */
function isPrintable(bytes: Buffer): boolean {
  return bytes.every((byte) => byte >= 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c)
}
