/**
 * A TCP proxy between a driver and its server that stops at a chosen message: the client's message is
 * found by a text in it, and held; or it is carried out, and its whole answer is held. What happens
 * then is the caller's: the connection goes on, or is cut in one of four ways.
 */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ClientPart,
  type Conversation,
  MysqlConversation,
  PostgresConversation,
} from './wire-protocol.ts'

export type CutPoint =
  /** The message never reaches the server. */
  | 'before'
  /** The message is on its way when both ends lose the connection: the server may read it or not. */
  | 'sent'
  /** The client is gone; the message arrives {@link LATE_MS} later and is carried out (T4). */
  | 'late'
  /** The server carries the message out; its answer is lost. */
  | 'after'

export interface Halt {
  /** What the client's message contains. */
  readonly text: string
  /** Which of the messages that contain it, from now on. Default 1. */
  readonly nth?: number
  /** `asked`: before the server has it; `answered`: when its answer is there in full. */
  readonly when: 'asked' | 'answered'
  /** Runs while it is held; answers what becomes of it. `pass` lets it through. */
  act(): CutPoint | 'pass' | Promise<CutPoint | 'pass'>
}

export interface WireProxy {
  readonly port: number
  /** Stops once at a message. One at a time: a new one takes the place of one that was not met. */
  halt(halt: Halt | undefined): void
  /** Cuts the first connection whose client sends this text. */
  cut(text: string, when: CutPoint): void
  /**
   * Resolves when a halt has been met and is over; after `late` and `after`, when the server has
   * answered, or is seen to be gone. Answers whether it had the message and answered it in full.
   */
  cutDone(): Promise<boolean>
  /** Closes every connection, as a server that goes away does. */
  dropAll(): void
  /** While stalled nothing passes, on old connections and new ones, and nobody is told. */
  stall(stalled: boolean): void
  close(): Promise<void>
}

/** How late a message arrives whose client has gone. */
export const LATE_MS = 400
/** An answer is waited for no longer: the server may be gone, or wait for a lock. */
const ANSWER_MS = 5_000

interface Armed extends Halt {
  left: number
  done(answered: boolean): void
}

/** What all connections of a proxy share. */
interface Shared {
  armed: Armed | undefined
  stalled: boolean
}

export async function wireProxy(host: string, port: number): Promise<WireProxy> {
  const links = new Set<Link>()
  const shared: Shared = { armed: undefined, stalled: false }
  let done: Promise<boolean> = Promise.resolve(false)
  const server = createServer((client) => {
    const link: Link = new Link(client, dial(port, host), shared, () => links.delete(link))
    links.add(link)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const halt = (next: Halt | undefined): void => {
    if (next === undefined) {
      shared.armed = undefined
      return
    }
    done = new Promise((resolve) => {
      const act = (): ReturnType<Halt['act']> => next.act()
      shared.armed = { ...next, act, left: next.nth ?? 1, done: resolve }
    })
  }
  return {
    port: (server.address() as AddressInfo).port,
    halt,
    cut(text, when) {
      halt({ text, when: when === 'after' ? 'answered' : 'asked', act: () => when })
    },
    cutDone: () => done,
    dropAll() {
      for (const link of links) link.drop()
    },
    stall(now) {
      shared.stalled = now
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const link of links) link.drop()
      }),
  }
}

/** One client's connection and ours to the server. */
class Link {
  readonly #client: Socket
  readonly #upstream: Socket
  readonly #shared: Shared
  readonly #forget: () => void
  #conversation: Conversation | undefined
  /** While a message or an answer is held: what came from either side meanwhile. */
  #held:
    | {
        readonly behind: readonly ClientPart[]
        readonly client: Buffer[]
        readonly server: Buffer[]
      }
    | undefined
  #answered: (inFull: boolean) => void = () => undefined

  constructor(client: Socket, upstream: Socket, shared: Shared, forget: () => void) {
    this.#client = client
    this.#upstream = upstream
    this.#shared = shared
    this.#forget = forget
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
    }
    client.on('close', () => this.#closed())
    upstream.on('close', () => this.#closed())
    client.on('data', (chunk) => this.#fromClient(chunk))
    upstream.on('data', (chunk) => this.#fromServer(chunk))
  }

  drop(): void {
    this.#client.destroy()
    this.#upstream.destroy()
    this.#answered(false)
    this.#forget()
  }

  #closed(): void {
    if (this.#held === undefined) this.drop()
    else if (this.#upstream.destroyed) this.#answered(false)
  }

  #fromClient(chunk: Buffer): void {
    if (this.#shared.stalled) return
    if (this.#held !== undefined) {
      this.#held.client.push(chunk)
      return
    }
    this.#conversation ??= new PostgresConversation()
    const parts = this.#conversation.fromClient(chunk)
    for (const [at, part] of parts.entries()) {
      const armed = this.#meets(part)
      if (armed === undefined) {
        this.#upstream.write(part.bytes)
        continue
      }
      this.#hold(armed, part, parts.slice(at + 1)).then(
        (answered) => armed.done(answered),
        () => {
          this.drop()
          armed.done(false)
        },
      )
      return
    }
  }

  #fromServer(chunk: Buffer): void {
    if (this.#shared.stalled) return
    this.#conversation ??= new MysqlConversation()
    this.#conversation.fromServer(chunk)
    if (this.#held === undefined) this.#client.write(chunk)
    else this.#held.server.push(chunk)
    if (this.#conversation.owed === 0) this.#answered(true)
  }

  #meets(part: ClientPart): Armed | undefined {
    const { armed } = this.#shared
    if (armed === undefined || !part.asks || !part.bytes.includes(armed.text)) return undefined
    armed.left -= 1
    if (armed.left > 0) return undefined
    this.#shared.armed = undefined
    return armed
  }

  async #hold(armed: Armed, part: ClientPart, behind: readonly ClientPart[]): Promise<boolean> {
    this.#held = { behind, client: [], server: [] }
    let answered = armed.when === 'answered' && (await this.#ask(part))
    const verdict = await armed.act()
    if (verdict === 'pass') {
      if (armed.when === 'asked') this.#upstream.write(part.bytes)
      this.#release()
      return answered
    }
    this.#client.destroy()
    if (verdict === 'sent') {
      await new Promise((resolve) => this.#upstream.write(part.bytes, resolve))
    }
    if (verdict === 'late') await sleep(LATE_MS)
    const asksNow = verdict === 'late' || (verdict === 'after' && armed.when === 'asked')
    if (asksNow) answered = await this.#ask(part)
    this.#held = undefined
    this.drop()
    return answered
  }

  /** Sends the message; answers whether the whole answer came, and not the server's end. */
  async #ask(part: ClientPart): Promise<boolean> {
    if (this.#upstream.destroyed) return false
    const answered = new Promise<boolean>((resolve) => {
      this.#answered = resolve
    })
    this.#upstream.write(part.bytes)
    const waited = new AbortController()
    const late = sleep(ANSWER_MS, false, { signal: waited.signal }).catch(() => false)
    const inFull = await Promise.race([answered, late])
    waited.abort()
    this.#answered = () => undefined
    return inFull
  }

  #release(): void {
    const held = this.#held
    this.#held = undefined
    for (const chunk of held?.server ?? []) this.#client.write(chunk)
    for (const part of held?.behind ?? []) this.#upstream.write(part.bytes)
    for (const chunk of held?.client ?? []) this.#fromClient(chunk)
    if (this.#client.destroyed || this.#upstream.destroyed) this.drop()
  }
}
