/**
 * Drizzle's `iterator()` on MySQL takes a connection, reads `connection.query(…).stream()`, and says
 * `connection.end()` when the loop is left. Left half-way, the stream still holds the connection, paused:
 * whoever has it next waits for ever, inside a branch and in a plain pool alike. Here the end closes what
 * was read, and gives the connection back.
 */

import type { Readable } from 'node:stream'
import { type AnyMysqlPromisePool, lent } from '../dialect/lent.ts'

/** A connection of `mysql2/promise`, as far as an iterator looks. */
interface Promised {
  readonly connection: Core
}

interface Core {
  query(...args: unknown[]): { stream(options?: object): Readable }
  release(): void
}

export function overIterators(pool: AnyMysqlPromisePool): AnyMysqlPromisePool {
  return lent(pool, {
    getConnection: async () => iterated((await pool.getConnection()) as Promised),
  })
}

/** Only an iterator looks at `connection`; everything else is the connection's own. */
function iterated(promised: Promised): Promised {
  const { connection } = promised
  const read: Readable[] = []
  const core = {
    query(...args: unknown[]) {
      const command = connection.query(...args)
      return {
        stream(options?: object) {
          const stream = command.stream(options)
          read.push(stream)
          return stream
        },
      }
    },
    end() {
      for (const stream of read) stream.destroy()
      connection.release()
    },
  }
  return new Proxy(promised, {
    get(target, key) {
      if (key === 'connection') return core
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
