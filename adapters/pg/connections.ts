/**
 * The participant's own connection: how one is made from the user's pool, and how it ends.
 */
import { once } from 'node:events'
import type { LaneDriver } from '../dialect/lane.ts'
import { asPostgresError } from '../dialect/postgres-errors.ts'
import { AS_TEXT, type PgOwnClient, type PgPool, type PgResult } from './driver-types.ts'

/** An own connection and whether it is still good. */
export class OwnConnection {
  readonly client: PgOwnClient
  alive = true
  readonly #onEnd = (): void => {
    this.alive = false
  }

  constructor(client: PgOwnClient) {
    this.client = client
    client.on('error', this.#onEnd)
  }

  /** One simple query; one result a statement. */
  async run(text: string): Promise<readonly PgResult[]> {
    const answer = await this.client.query({ text, types: AS_TEXT })
    return Array.isArray(answer) ? answer : [answer]
  }

  /** The rows of a single statement, each column as text. */
  async rows(text: string): Promise<readonly Readonly<Record<string, string | null>>[]> {
    const [result] = await this.run(text)
    return (result?.rows ?? []).map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([name, value]) => [
          name,
          typeof value === 'string' ? value : null,
        ]),
      ),
    )
  }
}

/** Makes the driver of a lane; `connect` replaces the connections that we would make ourselves. */
export function ownConnections(
  pool: PgPool,
  connect: (() => Promise<PgOwnClient>) | undefined,
): LaneDriver<OwnConnection> {
  return {
    open: async () => new OwnConnection(await (connect ?? (() => connectLike(pool)))()),
    alive: (own) => own.alive,
    isAnswer: (cause) => asPostgresError(cause) !== undefined,
    destroy(own) {
      own.alive = false
      own.client.end().catch(() => undefined)
      own.client.connection?.stream.destroy()
    },
    end: takeLeave,
    hold: (own, held) => (held ? own.client.ref?.() : own.client.unref?.()),
  }
}

/** Waits until it is said, where that can be seen, and not for the backend: it takes milliseconds to end. */
async function takeLeave({ client }: OwnConnection): Promise<void> {
  const stream = client.connection?.stream
  const said = stream === undefined ? [] : [once(stream, 'finish')]
  await Promise.race([client.end(), ...said]).catch(() => undefined)
}

interface PoolInternals {
  readonly Client: new (options: object) => PgOwnClient
  readonly options: {
    readonly password?: unknown
    readonly onConnect?: (client: PgOwnClient) => unknown
  }
}

/** A client of the pool's own class with the pool's options, less what would disturb our verbs. */
async function connectLike(pool: PgPool): Promise<PgOwnClient> {
  const { Client, options } = pool as PgPool & PoolInternals
  const client = new Client({
    ...options,
    password: options.password, // not enumerable in the pool's options
    pipeline: false,
    query_timeout: undefined,
  })
  const ignore = (): void => undefined
  client.on('error', ignore)
  try {
    await client.connect()
    await options.onConnect?.(client)
    return client
  } catch (cause) {
    client.end().catch(() => undefined)
    throw cause
  }
}
