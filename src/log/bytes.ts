/**
 * Bytes of a record: little endian, texts with their length before them. The reader trusts nothing:
 * whatever it is given it answers a value or throws {@link MalformedError}, and it allocates no
 * more than it was given.
 */
import { isUtf8 } from 'node:buffer'

const MAX_ID_LENGTH = 64
/** Of a text that may come again: a gtrid is longer, and never does. */
const MAX_NAME_LENGTH = 32

/** The bytes are not what an encoder of ours wrote. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError'
}

export class ByteWriter {
  #bytes: Buffer
  #length = 0

  /** Writes into the buffer from the position on, and into a larger one once that is full. */
  constructor(bytes: Buffer, position = 0) {
    this.#bytes = bytes
    this.#length = position
  }

  u8(value: number): this {
    this.#reserve(1)
    this.#length = this.#bytes.writeUInt8(value, this.#length)
    return this
  }

  u16(value: number): this {
    this.#reserve(2)
    this.#length = this.#bytes.writeUInt16LE(value, this.#length)
    return this
  }

  u32(value: number): this {
    this.#reserve(4)
    this.#length = this.#bytes.writeUInt32LE(value, this.#length)
    return this
  }

  f64(value: number): this {
    this.#reserve(8)
    this.#length = this.#bytes.writeDoubleLE(value, this.#length)
    return this
  }

  /** A text of at most 255 bytes. */
  shortText(text: string): this {
    if (this.#shortAscii(text)) return this
    const length = Buffer.byteLength(text)
    this.u8(length)
    return this.#text(text, length)
  }

  /** A text of at most 65,535 bytes. */
  longText(text: string): this {
    const length = Buffer.byteLength(text)
    this.u16(length)
    return this.#text(text, length)
  }

  /** Overwrites four bytes that were written before. */
  patchU32(position: number, value: number): this {
    this.#bytes.writeUInt32LE(value, position)
    return this
  }

  get length(): number {
    return this.#length
  }

  /** Forgets what was written behind the position. */
  rewind(position: number): void {
    this.#length = position
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  /** Ids are short and ASCII: a call out of JavaScript would cost more than they do. */
  #shortAscii(text: string): boolean {
    const { length } = text
    if (length > MAX_ID_LENGTH) return false
    this.#reserve(1 + length)
    const start = this.#length + 1
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index)
      if (code > 0x7f) return false
      this.#bytes[start + index] = code
    }
    this.#bytes[start - 1] = length
    this.#length = start + length
    return true
  }

  #text(text: string, length: number): this {
    this.#reserve(length)
    this.#length += this.#bytes.write(text, this.#length)
    return this
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + count))
    this.#bytes.copy(grown, 0, 0, this.#length)
    this.#bytes = grown
  }
}

/** Texts that come again and again, each made once: a log may name tens of thousands of branches. */
export class Texts {
  readonly #known: string[] = []

  /** The text of these bytes, of which none is above 0x7f. */
  ascii(bytes: Buffer, start: number, end: number): string {
    if (end - start > MAX_NAME_LENGTH) return bytes.toString('latin1', start, end)
    let place = end - start
    for (let at = start; at < end; at += 1) place = (31 * place + (bytes[at] ?? 0)) & 0xff
    const known = this.#known[place]
    if (known !== undefined && isText(known, bytes, start, end)) return known
    const text = bytes.toString('latin1', start, end)
    this.#known[place] = text
    return text
  }
}

function isText(text: string, bytes: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false
  for (let at = start; at < end; at += 1) {
    if (text.charCodeAt(at - start) !== bytes[at]) return false
  }
  return true
}

export class ByteReader {
  readonly #bytes: Buffer
  readonly #texts: Texts
  readonly #end: number
  #position: number

  /** Reads from one position up to another one. */
  constructor(bytes: Buffer, texts: Texts, start = 0, end: number = bytes.length) {
    this.#bytes = bytes
    this.#texts = texts
    this.#position = start
    this.#end = end
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#pass(1))
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#pass(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#pass(4))
  }

  /** A finite number: nothing that we keep is NaN or infinite. */
  f64(): number {
    const value = this.#bytes.readDoubleLE(this.#pass(8))
    if (!Number.isFinite(value)) throw new MalformedError('a number is not finite')
    return value
  }

  shortText(): string {
    return this.#text(this.u8())
  }

  longText(): string {
    return this.#text(this.u16())
  }

  bytes(count: number): Buffer {
    const start = this.#pass(count)
    return this.#bytes.subarray(start, start + count)
  }

  /** The next bytes, to be read by themselves. */
  part(count: number): ByteReader {
    const start = this.#pass(count)
    return new ByteReader(this.#bytes, this.#texts, start, start + count)
  }

  get left(): number {
    return this.#end - this.#position
  }

  /** Nearly all are ASCII: a view and two calls out of JavaScript would cost more than they do. */
  #text(length: number): string {
    const start = this.#pass(length)
    const end = start + length
    if (this.#isAscii(start, end)) return this.#texts.ascii(this.#bytes, start, end)
    if (!isUtf8(this.#bytes.subarray(start, end))) {
      throw new MalformedError('a text is not UTF-8')
    }
    return this.#bytes.toString('utf8', start, end)
  }

  #isAscii(start: number, end: number): boolean {
    for (let at = start; at < end; at += 1) if ((this.#bytes[at] ?? 0) > 0x7f) return false
    return true
  }

  /** Steps over so many bytes and answers where they begin. */
  #pass(count: number): number {
    if (count > this.left) throw new MalformedError('a record ends early')
    const start = this.#position
    this.#position += count
    return start
  }
}
