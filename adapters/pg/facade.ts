/**
 * A `pg` client over a branch: what the application holds as `tx.<name>`, and what the ambient pool
 * answers to `connect`. Several of them share the branch's one connection; each balances its own
 * transactions, which are savepoints there.
 *
 * It belongs to the application, so nothing that ends or resets the connection reaches it.
 */
import { EventEmitter } from 'node:events'
import { keepContext } from '../dialect/context.ts'
import type { Gate } from '../dialect/gate.ts'
import { newClient } from '../dialect/nesting.ts'
import { identifier, literal } from '../dialect/postgres.ts'
import { asPostgresError } from '../dialect/postgres-errors.ts'
import type { Instead } from '../dialect/turn.ts'
import type { PgHandle, PgResult } from './driver-types.ts'
import { sendFirst } from './first.ts'
import type { Observed } from './observed.ts'
import type { Session } from './pool.ts'
import { isSubmittable, type Submittable, textOf, watched } from './submittable.ts'

export interface FacadeHost {
  readonly gate: Gate
  readonly observed: Observed
  /** The branch's connection; called only after the gate has opened. */
  session(): Session
  /** The connection is dead or its state unknown: the branch can only be rolled back. */
  broken(cause: unknown): Error
  /** Begins the branch on the server in a trip of its own, unless it was begun. */
  begin(): Promise<unknown>
  /** The same as {@link broken}, before anything of the branch was on the server. */
  notBegun(cause: unknown): Error
}

type Answer = PgResult | readonly PgResult[]

type Callback = (cause: unknown, result?: unknown) => void

/** Everything of a client that has a meaning inside a branch; `connection` and its like have none. */
class BranchClient extends EventEmitter {
  readonly escapeIdentifier: (name: string) => string = identifier
  readonly escapeLiteral: (text: string) => string = literal
  readonly #host: FacadeHost
  readonly #client = newClient()

  constructor(host: FacadeHost) {
    super()
    this.#host = host
  }

  query(config: unknown, values?: unknown, callback?: unknown): unknown {
    if (config === null || config === undefined) {
      throw new TypeError('Client was passed a null or undefined query')
    }
    if (isSubmittable(config)) return this.#submit(config, values, callback)
    const done = [values, callback, field(config, 'callback')].find(isCallback)
    const text = typeof config === 'string' ? config : field(config, 'text')
    const answer = this.#host.gate.run(this.#client, text, (instead) => {
      const say = (): Promise<unknown> =>
        instead === undefined
          ? send(this.#host, text, config, values)
          : sendInstead(this.#host, instead)
      return this.listenerCount('notice') === 0 ? say() : this.#noticing(say)
    })
    if (done === undefined) return answer
    answer.then(
      (result) => process.nextTick(done, null, result),
      (cause: unknown) => process.nextTick(done, cause),
    )
    return undefined
  }

  /** It has been connected by the time anything runs. */
  connect(callback?: unknown): unknown {
    if (!isCallback(callback)) return Promise.resolve(this)
    process.nextTick(callback, null, this)
    return undefined
  }

  /** A property, because the pool hands it out alone. What was begun here and not ended is rolled back. */
  readonly release = (): void => this.#host.gate.release(this.#client)

  end(callback?: unknown): unknown {
    this.release()
    if (!isCallback(callback)) return Promise.resolve()
    process.nextTick(callback, null)
    return undefined
  }

  getTransactionStatus(): string | null {
    return this.#host.observed.abortedBy === undefined ? 'T' : 'E'
  }

  /** What the connection notices meanwhile is of this client's statement. */
  async #noticing<T>(ask: () => Promise<T>): Promise<T> {
    const { client } = this.#host.session()
    const inContext = keepContext()
    const tell = (notice: Error): void => inContext(() => void this.emit('notice', notice))
    client.on('notice', tell)
    try {
      return await ask()
    } finally {
      client.removeListener('notice', tell)
    }
  }

  #submit(query: Submittable, values: unknown, callback: unknown): Submittable {
    query.callback ??= [values, callback].find(isCallback)
    const { gate, observed } = this.#host
    gate.turn(this.#client, textOf(query), true).then(
      async (turn) => {
        const fail = (cause: unknown): void => {
          turn.end(false)
          query.handleError(cause)
        }
        try {
          const session = this.#host.session()
          if (session.lost !== undefined) return fail(this.#host.broken(session.lost))
          // It speaks for itself, and reads every answer as its own.
          if (session.opening !== undefined) await this.#host.begin()
          const broken = (cause: unknown): void => {
            if (session.lost !== undefined || isDriverFailure(cause)) this.#host.broken(cause)
          }
          session.submit(watched(query, turn, observed, broken))
        } catch (cause) {
          fail(cause)
        }
      },
      (cause: unknown) => query.handleError(cause),
    )
    return query
  }
}

/** The class has what a branch can offer; its type is the driver's, so that code for one fits. */
export function facade(host: FacadeHost): PgHandle {
  return new BranchClient(host) as unknown as PgHandle
}

/** Statements of ours, in one packet, and with what begins the branch if they come first. */
export async function speak(host: FacadeHost, texts: readonly string[]): Promise<unknown> {
  return ask(host, undefined, async (session) => {
    const begins = session.opening !== undefined
    try {
      return await session.run(texts.join('; '))
    } catch (cause) {
      throw begins ? host.notBegun(cause) : cause
    }
  })
}

function send(host: FacadeHost, text: unknown, config: unknown, values: unknown): Promise<unknown> {
  const plain = isCallback(field(config, 'callback')) ? withoutCallback(config) : config
  const given = isCallback(values) ? undefined : values
  return ask(host, text, (session) =>
    session.opening === undefined
      ? session.client.query(plain, given)
      : askFirst(host, session, session.opening, plain, given),
  )
}

function askFirst(
  host: FacadeHost,
  session: Session,
  opening: readonly string[],
  config: unknown,
  values: unknown,
): Promise<Answer> {
  const alone = async (): Promise<Answer> => {
    await host.begin()
    return session.client.query(config, values)
  }
  const first = sendFirst(session, config, values, async (cause, begun) => {
    // As the driver does: from the socket's stack to that of whoever asked.
    Error.captureStackTrace(cause)
    if (begun) throw cause
    if (isDriverFailure(cause)) throw session.lost === undefined ? cause : host.notBegun(cause)
    // Nothing of the packet took effect, so BEGIN goes ahead: the statement fails, or not, in its block.
    session.opens(opening)
    return alone()
  })
  return first ?? alone()
}

/** The application hears the tag that it expects; a statement of ours was sent. */
async function sendInstead(host: FacadeHost, { texts, tag }: Instead): Promise<unknown> {
  const said = texts.length > 0 ? texts : ['SAVEPOINT una_0', 'RELEASE SAVEPOINT una_0']
  const answer = await speak(host, said)
  const last: unknown = Array.isArray(answer) ? answer.at(-1) : answer
  return Object.assign(last ?? {}, { command: tag })
}

function ask(
  host: FacadeHost,
  text: unknown,
  statement: (session: Session) => Promise<Answer>,
): Promise<unknown> {
  const session = host.session()
  if (session.lost !== undefined) throw host.broken(session.lost)
  const failed = (cause: unknown): never => {
    host.observed.failed(cause, text)
    // A time-out of the driver leaves the statement running, and the next one would queue behind it.
    if (session.lost !== undefined || isDriverFailure(cause)) throw host.broken(cause)
    throw host.gate.heard(cause)
  }
  try {
    return statement(session).then((answer) => {
      host.observed.succeeded(Array.isArray(answer) ? answer : [answer])
      return answer
    }, failed)
  } catch (cause) {
    return failed(cause)
  }
}

/** Neither the server's answer nor the caller's own mistake: the connection is not to be trusted. */
function isDriverFailure(cause: unknown): boolean {
  return asPostgresError(cause) === undefined && !(cause instanceof TypeError)
}

function withoutCallback(config: unknown): object {
  return { ...(config as object), callback: undefined }
}

function isCallback(value: unknown): value is Callback {
  return typeof value === 'function'
}

function field(config: unknown, name: string): unknown {
  if (typeof config !== 'object' || config === null) return undefined
  return (config as Readonly<Record<string, unknown>>)[name]
}
