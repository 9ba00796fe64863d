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

/** @param data - gtrid and bqual, a character for each byte. Default: read from what the driver answered */
export function preparedBranch(row: RecoverRow, data: string = latin1Of(row.data)): PreparedBranch {
  return new RecoveredBranch(row, data)
}

/** There may be tens of thousands: what is not asked for is not made. */
class RecoveredBranch implements PreparedBranch {
  readonly #formatId: number
  /** Gtrid and bqual, byte for byte. */
  readonly #data: string
  readonly #middle: number

  constructor({ formatID, gtrid_length: middle, bqual_length: length }: RecoverRow, data: string) {
    this.#formatId = Number(formatID)
    this.#data = data.slice(0, middle + length)
    this.#middle = middle
  }

  get xid(): Xid | undefined {
    const gtrid = this.#data.slice(0, this.#middle)
    const bqual = this.#data.slice(this.#middle)
    return isOurs(this.#formatId, gtrid, bqual) ? { gtrid, bqual } : undefined
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

function latin1Of(data: unknown): string {
  if (data instanceof Uint8Array) return Buffer.from(data).toString('latin1')
  const text = String(data)
  const isHex = /^0x[0-9a-f]*$/i.test(text)
  return Buffer.from(isHex ? text.slice(2) : text, isHex ? 'hex' : 'utf8').toString('latin1')
}

function spell(text: string): string {
  return PRINTABLE.test(text) ? `'${text}'` : `X'${Buffer.from(text, 'latin1').toString('hex')}'`
}

/** ASCII that reads the same inside quotes. */
const PRINTABLE = /^[ -&(-[\]-~]*$/
