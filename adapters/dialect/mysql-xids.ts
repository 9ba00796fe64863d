/**
 * Reads what XA RECOVER lists, without losing a byte of anybody's xid: gtrid and bqual stand
 * concatenated in `data`, and only their lengths tell them apart.
 */
import {
  type ByHand,
  FORMAT_ID,
  isGtrid,
  type PreparedBranch,
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
  return new RecoveredBranch(row)
}

/** There may be tens of thousands, and a person sees a page: the id is spelled when it is asked for. */
class RecoveredBranch implements PreparedBranch {
  readonly xid?: Xid
  readonly #formatId: number
  /** Gtrid and bqual, byte for byte. */
  readonly #data: string
  readonly #middle: number

  constructor({ formatID, gtrid_length: middle, bqual_length: length, data }: RecoverRow) {
    this.#formatId = Number(formatID)
    this.#data = bytesOf(data).toString('latin1', 0, middle + length)
    this.#middle = middle
    const gtrid = this.#data.slice(0, middle)
    const bqual = this.#data.slice(middle)
    if (isOurs(this.#formatId, gtrid, bqual)) this.xid = { gtrid, bqual }
  }

  get id(): string {
    const gtrid = this.#data.slice(0, this.#middle)
    const bqual = this.#data.slice(this.#middle)
    return `${spell(gtrid)},${spell(bqual)},${this.#formatId}`
  }
}

/** What a person types. */
export function byHand(id: string): ByHand {
  return { commit: `XA COMMIT ${id}`, rollBack: `XA ROLLBACK ${id}` }
}

/** Ours carry formatID 1, a gtrid of our spelling and a bqual of printable ASCII. */
function isOurs(formatId: number, gtrid: string, bqual: string): boolean {
  if (formatId !== FORMAT_ID || bqual === '' || !PRINTABLE.test(bqual)) return false
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
