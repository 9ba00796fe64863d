/**
 * As much of the two wire protocols as it takes to say where a client's message begins and ends, and
 * when the server has answered it in full. Which protocol it is shows at the first byte: PostgreSQL's
 * client speaks first, MySQL's server does.
 *
 * Not read: TLS. An encrypted connection passes through in whatever pieces it comes.
 */

/** A piece of what the client sent that may be held back by itself. */
export interface ClientPart {
  readonly bytes: Buffer
  /** Whether the server answers it. */
  readonly asks: boolean
}

/** One connection, seen from between. */
export interface Conversation {
  /** Takes what the client sent; answers the pieces that are whole. */
  fromClient(chunk: Buffer): readonly ClientPart[]
  fromServer(chunk: Buffer): void
  /** How many answers the server still owes. */
  readonly owed: number
}

/** Collects bytes until a message is whole. */
class Messages {
  #rest: Buffer = Buffer.alloc(0)

  /** @param lengthOf - of the message at the beginning, as far as it can be told yet */
  take(chunk: Buffer, lengthOf: (bytes: Buffer) => number | undefined): Buffer[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const whole: Buffer[] = []
    for (;;) {
      const length = lengthOf(this.#rest)
      if (length === undefined || this.#rest.length < length) return whole
      whole.push(this.#rest.subarray(0, length))
      this.#rest = this.#rest.subarray(length)
    }
  }
}

/** Code of the message that asks for TLS, where a version stands otherwise. */
const SSL_REQUEST = 80_877_103
/** Parts of one extended query: nothing of it is carried out before the Sync or Flush behind it. */
const PARTS_OF_A_QUERY = new Set(['P', 'B', 'D', 'E', 'C'])

/** PostgreSQL, protocol 3: every simple query and every Sync is answered by one ReadyForQuery. */
export class PostgresConversation implements Conversation {
  readonly #client = new Messages()
  readonly #server = new Messages()
  readonly #parts: Buffer[] = []
  #started = false
  #encrypted = false
  owed = 0

  fromClient(chunk: Buffer): readonly ClientPart[] {
    if (this.#encrypted) return [{ bytes: chunk, asks: false }]
    const parts: ClientPart[] = []
    const whole = this.#client.take(chunk, (bytes) => {
      if (!this.#started) return bytes.length < 4 ? undefined : bytes.readInt32BE(0)
      return bytes.length < 5 ? undefined : 1 + bytes.readInt32BE(1)
    })
    for (const message of whole) {
      const part = this.#started ? this.#message(message) : this.#startup(message)
      if (part !== undefined) parts.push(part)
    }
    return parts
  }

  fromServer(chunk: Buffer): void {
    if (this.#encrypted) return
    const whole = this.#server.take(chunk, (bytes) =>
      bytes.length < 5 ? undefined : 1 + bytes.readInt32BE(1),
    )
    for (const message of whole) if (message.toString('latin1', 0, 1) === 'Z') this.owed -= 1
  }

  #startup(message: Buffer): ClientPart {
    this.#encrypted = message.length >= 8 && message.readInt32BE(4) === SSL_REQUEST
    this.#started = true
    this.owed += 1
    return { bytes: message, asks: true }
  }

  #message(message: Buffer): ClientPart | undefined {
    this.#parts.push(message)
    const type = message.toString('latin1', 0, 1)
    if (PARTS_OF_A_QUERY.has(type)) return undefined
    const bytes = Buffer.concat(this.#parts.splice(0))
    const asks = type === 'Q' || type === 'S' || type === 'F'
    if (asks) this.owed += 1
    return { bytes, asks }
  }
}

const COM_QUIT = 0x01
const COM_QUERY = 0x03
const COM_STMT_EXECUTE = 0x17
const COM_STMT_SEND_LONG_DATA = 0x18
const COM_STMT_CLOSE = 0x19
const UNANSWERED = new Set([COM_QUIT, COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE])
const CLIENT_DEPRECATE_EOF = 1 << 24
const SERVER_MORE_RESULTS_EXISTS = 0x0008

/** MySQL and MariaDB: one command at a time, with as many results as its text has statements. */
export class MysqlConversation implements Conversation {
  readonly #client = new Messages()
  readonly #server = new Messages()
  #deprecatesEof = false
  #answer: MysqlAnswer | undefined

  get owed(): number {
    return this.#answer === undefined ? 0 : 1
  }

  fromClient(chunk: Buffer): readonly ClientPart[] {
    return this.#client.take(chunk, packetLength).map((packet) => this.#packet(packet))
  }

  fromServer(chunk: Buffer): void {
    for (const packet of this.#server.take(chunk, packetLength)) {
      if (this.#answer?.isOver(packet.subarray(4)) === true) this.#answer = undefined
    }
  }

  #packet(packet: Buffer): ClientPart {
    // Within a log-in, and in the answer to LOAD DATA LOCAL, the sequence goes on: no command.
    if (packet[3] !== 0) {
      const isLogin = packet[3] === 1 && packet.length >= 8
      if (isLogin) this.#deprecatesEof = (packet.readUInt32LE(4) & CLIENT_DEPRECATE_EOF) !== 0
      return { bytes: packet, asks: false }
    }
    const command = packet[4] ?? COM_QUIT
    const asks = !UNANSWERED.has(command)
    const hasResults = command === COM_QUERY || command === COM_STMT_EXECUTE
    if (asks) this.#answer = new MysqlAnswer(hasResults, this.#deprecatesEof)
    return { bytes: packet, asks }
  }
}

function packetLength(bytes: Buffer): number | undefined {
  return bytes.length < 4 ? undefined : 4 + bytes.readUIntLE(0, 3)
}

/** Follows the answer to one command, packet by packet. */
class MysqlAnswer {
  readonly #hasResults: boolean
  readonly #deprecatesEof: boolean
  #expects: 'result' | 'column' | 'end of columns' | 'row' = 'result'
  #columns = 0

  constructor(hasResults: boolean, deprecatesEof: boolean) {
    this.#hasResults = hasResults
    this.#deprecatesEof = deprecatesEof
  }

  /** Whether this packet is the last one. */
  isOver(payload: Buffer): boolean {
    const first = payload[0] ?? 0xff
    if (!this.#hasResults || first === 0xff) return true
    switch (this.#expects) {
      case 'result':
        if (first === 0x00) return !hasMore(statusOfOk(payload))
        this.#columns = lengthEncoded(payload, 0).value
        this.#expects = 'column'
        return false
      case 'column':
        this.#columns -= 1
        if (this.#columns === 0) this.#expects = this.#deprecatesEof ? 'row' : 'end of columns'
        return false
      case 'end of columns':
        this.#expects = 'row'
        return false
      case 'row': {
        const ends = first === 0xfe && (this.#deprecatesEof || payload.length < 9)
        if (!ends) return false
        this.#expects = 'result'
        const status = this.#deprecatesEof ? statusOfOk(payload) : payload.readUInt16LE(3)
        return !hasMore(status)
      }
    }
  }
}

function hasMore(status: number): boolean {
  return (status & SERVER_MORE_RESULTS_EXISTS) !== 0
}

/** Behind the head: affected rows, the last insert's id, then the status. */
function statusOfOk(payload: Buffer): number {
  const affected = lengthEncoded(payload, 1)
  const lastId = lengthEncoded(payload, affected.end)
  return payload.readUInt16LE(lastId.end)
}

function lengthEncoded(
  bytes: Buffer,
  at: number,
): { readonly value: number; readonly end: number } {
  const first = bytes[at] ?? 0
  if (first < 0xfb) return { value: first, end: at + 1 }
  const size = first === 0xfc ? 2 : first === 0xfd ? 3 : 6
  const end = at + 1 + (first === 0xfe ? 8 : size)
  return { value: bytes.readUIntLE(at + 1, size), end }
}
