/**
 * Reads what XA RECOVER lists, without losing a byte of anybody's xid: gtrid and bqual stand
 * concatenated in `data`, and only their lengths tell them apart.
 */
import { type ByHand, FORMAT_ID, isGtrid, type PreparedBranch } from '../../src/adapter.ts'

/** A row of XA RECOVER as a driver answers it: bytes from MariaDB, `0x…` from MySQL. */
export interface RecoverRow {
  readonly formatID: number
  readonly gtrid_length: number
  readonly bqual_length: number
  readonly data: unknown
}

export function preparedBranch(row: RecoverRow): PreparedBranch {
  const { formatID, gtrid_length: middle, bqual_length: length } = row
  const bytes = bytesOf(row.data)
  const gtrid = bytes.toString('latin1', 0, middle)
  const bqual = bytes.toString('latin1', middle, middle + length)
  const id = `${spell(gtrid)},${spell(bqual)},${formatID}`
  return isOurs(formatID, gtrid, bqual) ? { id, xid: { gtrid, bqual } } : { id }
}

/** What a person types. */
export function byHand(id: string): ByHand {
  return { commit: `XA COMMIT ${id}`, rollBack: `XA ROLLBACK ${id}` }
}

/** Ours carry formatID 1, a gtrid of our spelling and a bqual of printable ASCII. */
function isOurs(formatId: number, gtrid: string, bqual: string): boolean {
  if (Number(formatId) !== FORMAT_ID || bqual === '' || !PRINTABLE.test(bqual)) return false
  return isGtrid(gtrid)
}

function bytesOf(data: unknown): Buffer {
  if (Buffer.isBuffer(data)) return data
  if (data instanceof Uint8Array) return Buffer.from(data.buffer, data.byteOffset, data.length)
  const text = String(data)
  return /^0x[0-9a-f]*$/i.test(text) ? Buffer.from(text.slice(2), 'hex') : Buffer.from(text)
}

function spell(text: string): string {
  return PRINTABLE.test(text) ? `'${text}'` : `X'${Buffer.from(text, 'latin1').toString('hex')}'`
}

/** ASCII that reads the same inside quotes. */
const PRINTABLE = /^[ -&(-[\]-~]*$/
