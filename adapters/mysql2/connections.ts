/**
 * The participant's own connection: how one is made from the user's pool, and how it ends.
 */
import { type ConnectionOptions, createConnection } from 'mysql2/promise'
import type { LaneDriver } from '../dialect/lane.ts'
import { OWN_SESSION } from '../dialect/mysql.ts'
import { asMysqlError } from '../dialect/mysql-errors.ts'
import {
  type MysqlOwnConnection,
  type MysqlPromisePool,
  poolConfig,
  type TypeCast,
} from './driver-types.ts'
import { type Row, run, runEach } from './pool.ts'

/** An own connection and whether it is still good. */
export class OwnConnection {
  readonly connection: MysqlOwnConnection
  alive = true
  readonly #onEnd = (): void => {
    this.alive = false
  }

  constructor(connection: MysqlOwnConnection) {
    this.connection = connection
    connection.connection.on('error', this.#onEnd)
    connection.connection.on('end', this.#onEnd)
  }

  run(text: string): Promise<readonly Row[]> {
    return run(this.connection.connection, text)
  }

  runEach<T>(text: string, keep: (row: Row) => T, typeCast?: TypeCast): Promise<readonly T[]> {
    return runEach(this.connection.connection, text, keep, typeCast)
  }
}

/** Makes the driver of a lane; `connect` replaces the connections that we would make ourselves. */
export function ownConnections(
  pool: MysqlPromisePool,
  connect: (() => Promise<MysqlOwnConnection>) | undefined,
): LaneDriver<OwnConnection> {
  return {
    async open() {
      const own = new OwnConnection(await (connect ?? (() => connectLike(pool)))())
      try {
        await own.run(OWN_SESSION)
        return own
      } catch (cause) {
        destroy(own)
        throw cause
      }
    },
    alive: (own) => own.alive,
    isAnswer: (cause) => asMysqlError(cause) !== undefined,
    destroy,
    async end(own) {
      await own.connection.end().catch(() => undefined)
    },
    hold(own, held) {
      const { stream } = own.connection.connection
      if (held) stream.ref?.()
      else stream.unref?.()
    },
  }
}

function destroy(own: OwnConnection): void {
  own.alive = false
  own.connection.connection.stream.destroy()
  own.connection.destroy()
}

/** The pool's options that say where the server is and who we are; nothing that alters answers. */
const OPTIONS = `host port localAddress socketPath user password password1 password2 password3
  passwordSha1 database ssl stream connectTimeout charsetNumber authPlugins authSwitchHandler
  enableCleartextPlugin insecureAuth enableKeepAlive keepAliveInitialDelay`.split(/\s+/)

function connectLike(pool: MysqlPromisePool): Promise<MysqlOwnConnection> {
  const { connectionConfig } = poolConfig(pool)
  const options: ConnectionOptions = Object.fromEntries(
    OPTIONS.filter((name) => connectionConfig[name] !== undefined).map((name) => [
      name,
      connectionConfig[name],
    ]),
  )
  return createConnection(options) as Promise<unknown> as Promise<MysqlOwnConnection>
}
