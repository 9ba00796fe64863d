/**
 * The live coordinator's side of its socket. A client may hang, flood, send garbage or vanish: it is
 * answered or cut off, and nothing else notices.
 *
 *   - at most {@link MAX_CONNECTIONS} connections; a further one is closed at once
 *   - a request has {@link REQUEST_MS} to arrive and {@link MAX_REQUEST_BYTES} of room; what follows
 *     it is never read
 *   - at most {@link MAX_RUNNING} requests are carried out at a time; a further one is refused
 *   - an answer waits for a slow reader at most {@link SEND_MS} a line, and no line is made before
 *     the one before it was taken
 *   - nothing here keeps the process running
 */
import { createServer, type Server, type Socket } from 'node:net'
import { type Clock, type Timer, within } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import {
  prepareSocketPlace,
  protectSocket,
  removeSocket,
  withSocketPath,
} from '../log/socket-place.ts'
import {
  decodeLine,
  encodeLine,
  isRecord,
  type LiveRequest,
  type LiveRequests,
  type Part,
} from './wire.ts'

const MAX_CONNECTIONS = 16
const MAX_RUNNING = 4
const MAX_REQUEST_BYTES = 16_384
const REQUEST_MS = 5_000
const SEND_MS = 10_000
/** Shorter than the patience of client.ts. */
const ALIVE_MS = 2_000
/** How long answers may still take when the coordinator closes. */
const CLOSE_MS = 1_000

/** Sends a piece of the answer; `false` when nobody listens any more. Never rejects. */
export type Tell = (part: Part) => Promise<boolean>

/** What carries a request out. What the parameters hold is checked by nobody else. */
export type LiveHandlers = {
  readonly [N in LiveRequest]: (
    params: Readonly<Record<string, unknown>>,
    tell: Tell,
  ) => Promise<LiveRequests[N]['result']>
}

export interface LiveServerParts {
  /** The log's; its lock is held. */
  readonly directory: string
  readonly clock: Clock
  readonly handlers: LiveHandlers
}

export interface LiveServer {
  /** Takes no further request, gives answers under way a second, and removes the socket. */
  close(): Promise<void>
}

/** Listens. Rejects with what the system says where there can be no socket. */
export async function serveLive(parts: LiveServerParts): Promise<LiveServer> {
  const { directory } = parts
  await prepareSocketPlace(directory)
  const listener = new Listener(parts)
  await withSocketPath(directory, (path) => listener.listen(path))
  await protectSocket(directory)
  return listener
}

class Listener implements LiveServer {
  readonly #parts: LiveServerParts
  readonly #server: Server
  readonly #conversations: Map<Socket, Promise<void>> = new Map()
  #running = 0

  constructor(parts: LiveServerParts) {
    this.#parts = parts
    // A client may close its side once the request is sent (`nc -N`), and wants its answer.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.unref()
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      // Exclusive: in a worker of a cluster the primary would own the socket.
      this.#server.listen({ path, exclusive: true }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', () => undefined)
        resolve()
      })
    })
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    const answered = Promise.all(this.#conversations.values())
    await within(this.#parts.clock, CLOSE_MS, answered)
    for (const socket of this.#conversations.keys()) socket.destroy()
    await closed
    await removeSocket(this.#parts.directory)
  }

  #accept(socket: Socket): void {
    socket.unref()
    const conversation = new Conversation(socket, this.#parts.clock)
    const ended = conversation
      .hold((request, params, tell) => this.#carryOut(request, params, tell))
      .finally(() => this.#conversations.delete(socket))
    this.#conversations.set(socket, ended)
  }

  async #carryOut(
    request: string,
    params: Readonly<Record<string, unknown>>,
    tell: Tell,
  ): Promise<unknown> {
    const { handlers } = this.#parts
    if (!Object.hasOwn(handlers, request)) {
      throw new UnanimousError('INVALID_OPTION', 'the coordinator does not know this request', {
        hint: `It knows ${Object.keys(handlers).join(', ')}.`,
      })
    }
    if (this.#running >= MAX_RUNNING) {
      throw new UnanimousError('COORDINATOR_UNREACHABLE', 'the coordinator is busy answering', {
        hint: 'Try again in a moment.',
      })
    }
    this.#running += 1
    try {
      return await handlers[request as LiveRequest](params, tell)
    } finally {
      this.#running -= 1
    }
  }
}

type CarryOut = (
  request: string,
  params: Readonly<Record<string, unknown>>,
  tell: Tell,
) => Promise<unknown>

/** One connection: one request, one answer. */
class Conversation {
  readonly #socket: Socket
  readonly #clock: Clock
  #alive: Timer | undefined

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    // What went wrong shows where it is written or read.
    socket.on('error', () => undefined)
  }

  /** Resolves when the connection has ended. Never rejects. */
  async hold(carryOut: CarryOut): Promise<void> {
    const socket = this.#socket
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
    })
    const line = await this.#request()
    if (line !== undefined) await this.#answer(line, carryOut)
    const timer = this.#clock.timer(SEND_MS, () => socket.destroy())
    socket.end()
    // Unread data would keep the end of it from being seen.
    socket.on('data', () => socket.destroy()).resume()
    await closed
    timer.clear()
  }

  async #answer(line: string, carryOut: CarryOut): Promise<void> {
    try {
      const { request, params } = decodeLine(line)
      this.#sayAlive()
      const result = await carryOut(String(request), isRecord(params) ? params : {}, (part) =>
        this.#send({ part }),
      )
      await this.#send({ result })
    } catch (cause) {
      const known = cause instanceof UnanimousError
      const error = known ? cause : new UnanimousError('COORDINATOR_UNREACHABLE', messageOf(cause))
      await this.#send({ error })
    } finally {
      this.#alive?.clear()
    }
  }

  /** The first line; `undefined` when there is none in time, or it is too long. */
  #request(): Promise<string | undefined> {
    return new Promise((resolve) => {
      const chunks: Buffer[] = []
      let bytes = 0
      const timer = this.#clock.timer(REQUEST_MS, () => end(undefined))
      const end = (line: string | undefined): void => {
        timer.clear()
        this.#socket.pause()
        this.#socket.off('data', onData).off('end', onEnd).off('close', onEnd)
        resolve(line)
      }
      const onData = (chunk: Buffer): void => {
        const newline = chunk.indexOf('\n')
        chunks.push(newline < 0 ? chunk : chunk.subarray(0, newline))
        bytes += chunks.at(-1)?.length ?? 0
        if (bytes > MAX_REQUEST_BYTES) end(undefined)
        else if (newline >= 0) end(Buffer.concat(chunks).toString())
      }
      const onEnd = (): void => end(undefined)
      this.#socket.on('data', onData).on('end', onEnd).on('close', onEnd)
    })
  }

  #sayAlive(): void {
    this.#alive = this.#clock.timer(ALIVE_MS, () => {
      this.#sayAlive()
      if (this.#socket.writableLength === 0) this.#socket.write(encodeLine({ alive: true }))
    })
  }

  #send(body: object): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve(false)
      const timer = this.#clock.timer(SEND_MS, () => this.#socket.destroy())
      this.#socket.write(encodeLine(body), (cause) => {
        timer.clear()
        resolve(cause === null || cause === undefined)
      })
    })
  }
}
