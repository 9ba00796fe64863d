/**
 * What reads its answer by itself: `pg.Query`, `pg-cursor`, `pg-query-stream`. It holds the branch's
 * connection until the server is ready for another query, or it has failed.
 *
 * The client calls it from the socket, so it is put back into the context of whoever asked: what a
 * `data` listener does belongs to the transaction.
 */
import { keepContext } from '../dialect/context.ts'
import type { Turn } from '../dialect/turn.ts'
import type { Observed } from './observed.ts'

export interface Submittable {
  submit(connection: object): unknown
  handleError(cause: unknown, connection?: object): void
  callback?: unknown
}

export function isSubmittable(query: unknown): query is Submittable {
  return typeof query === 'object' && query !== null && 'submit' in query
}

/** The query text, which a query stream keeps in its cursor. */
export function textOf(query: Submittable): string | undefined {
  const { text, cursor } = query as { text?: unknown; cursor?: { text?: unknown } }
  const found = text ?? cursor?.text
  return typeof found === 'string' ? found : undefined
}

/** Stands in for the query towards the client. */
export function watched(
  query: Submittable,
  turn: Turn,
  observed: Observed,
  broken: (cause: unknown) => void,
): Submittable {
  const inContext = keepContext()
  const before: Readonly<Record<string, (argument: unknown) => void>> = {
    handleCommandComplete: (message) => observed.succeeded([tagOf(message)]),
    handleError(cause) {
      observed.failed(cause, textOf(query))
      broken(cause)
    },
  }
  const after: Readonly<Record<string, () => void>> = {
    handleReadyForQuery: () => turn.end(true),
    handleError: () => turn.end(false),
  }
  return new Proxy(query, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key)
      if (typeof member !== 'function' || typeof key !== 'string') return member
      const call = member as (...args: unknown[]) => unknown
      if (key === 'submit') {
        return (connection: object) => call.call(target, untilClosed(connection, turn))
      }
      if (!key.startsWith('handle')) return call.bind(target)
      return (...args: unknown[]) => {
        before[key]?.(args[0])
        try {
          return inContext(() => call.apply(target, args))
        } finally {
          after[key]?.()
        }
      }
    },
    set: (target, key, value) => Reflect.set(target, key, value),
  })
}

/** A cursor that closes its portal needs nothing more from the application. */
function untilClosed(connection: object, turn: Turn): object {
  return new Proxy(connection, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key)
      if (key === 'close') turn.closing()
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}

function tagOf(message: unknown): { command: string | null; rowCount: number | null } {
  const { text } = message as { text?: unknown }
  if (typeof text !== 'string') return { command: null, rowCount: null }
  const words = text.split(' ')
  const count = Number(words.at(-1))
  return { command: words[0] ?? null, rowCount: Number.isNaN(count) ? null : count }
}
