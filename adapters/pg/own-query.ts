/**
 * A statement of ours, in the driver's own class. A client copies each configuration that it is given
 * descriptor by descriptor: on Node.js 20 that is 6 µs of the 40 that a vote takes, and what V8 makes
 * of it is old at once, and with it all that the callback can reach.
 */
import { AS_TEXT, type PgClient, type PgResult } from './driver-types.ts'

export type OwnDone = (cause: unknown, answer: PgResult | PgResult[] | undefined) => void

type QueryClass = new (
  text: string,
  values: undefined,
  done: OwnDone,
) => { readonly _result?: { _types?: unknown } }

/** What a client's `query` takes. The values of the answer come as text. */
export function ownQuery(client: PgClient, text: string, done: OwnDone): object {
  const { Query } = client.constructor as { readonly Query?: QueryClass }
  // `pg-native` has another.
  if (Query !== undefined && client.connection !== undefined) {
    const query = new Query(text, undefined, done)
    if (query._result !== undefined) {
      query._result._types = AS_TEXT
      return query
    }
  }
  return { text, types: AS_TEXT }
}
