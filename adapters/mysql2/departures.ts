/**
 * Whether the session that prepared a branch has left the server, for MariaDB (T11).
 *
 *   a session ends:   it is `Killed` ─► its branch is given free ─► it leaves the list ─► InnoDB lets go
 *
 * XA COMMIT from elsewhere between the second step and the last answers OK and commits nothing: the
 * branch is on no list then, keeps its locks, and a restart of the server lists it again, long after
 * its decision was forgotten. MariaDB 11.8.9: 8 of 4,000 that were committed right after their client had
 * died, 0 of 20,000 once the session had left the list. A session with 12,000 prepared statements needs
 * 100 ms to leave it. MySQL 9.7.4: 0 of 12,000 without looking.
 *
 * The list shows sessions of other users only to who has the privilege PROCESS. Whether there is one of an
 * id, SHOW EXPLAIN tells everybody: 1094 or not.
 */
import type { Clock } from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, NO_SUCH_THREAD } from '../dialect/mysql-errors.ts'
import type { Row } from './pool.ts'
import { isHidden } from './witness.ts'

/** The last step needs microseconds of a processor, which the server may have to wait for; in ms. */
const GRACE_MS = 50
/** A session that was coming when the list was read is not on it: no look serves for longer, in ms. */
const LOOK_MS = 1_000

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

/** Of all sessions: one that hides some serves for nobody else. */
interface Look {
  /** Every session that was ever there has an id up to this one. */
  readonly highest: number
  readonly sessions: ReadonlySet<number>
  readonly atMs: number
}

/**
 * - `hidden`: there, of another user, and whether it is ending is not shown
 * - `unnamed`: behind a proxy, nobody can tell
 * - `gone`: nothing that it does can be under way, `inMs` from now
 */
export type Presence =
  | { readonly kind: 'there' | 'ending' | 'hidden' | 'unnamed' }
  | { readonly kind: 'gone'; readonly inMs: number }

export class Departures {
  readonly #clock: Clock
  /** By connection: ids begin anew with each life of the server, which no connection survives. */
  readonly #looks = new WeakMap<Runner, Look>()
  readonly #hides = new WeakMap<Runner, boolean>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * What is known of a session. One look serves for many sessions that had been there by then, and have
   * gone: an id is given out once in a life of the server.
   *
   * @param own - throws out of here whatever it throws
   */
  async of(own: Runner, threadId: number | undefined): Promise<Presence> {
    if (threadId === undefined) return { kind: 'unnamed' }
    const look = this.#looks.get(own)
    if (look !== undefined && this.#serves(look, threadId)) return this.#goneAt(look.atMs)
    const [connections] = await own.run(sql.CONNECTIONS)
    const highest = Number(connections?.['Value'])
    // Of an earlier life: its sessions are gone with it.
    if (threadId > highest) return { kind: 'gone', inMs: 0 }
    const rows = await own.run(sql.SESSION_STATES)
    const atMs = this.#clock.monotonic()
    const sessions = new Map(rows.map((row) => [Number(row['id']), row['command']]))
    const command = sessions.get(threadId)
    if (command !== undefined) return { kind: command === 'Killed' ? 'ending' : 'there' }
    if (await this.#isHidden(own)) {
      if (await isThere(own, threadId)) return { kind: 'hidden' }
      return this.#goneAt(this.#clock.monotonic())
    }
    this.#looks.set(own, { highest, sessions: new Set(sessions.keys()), atMs })
    return this.#goneAt(atMs)
  }

  #serves({ highest, sessions, atMs }: Look, threadId: number): boolean {
    const isFresh = this.#clock.monotonic() - atMs < LOOK_MS
    return isFresh && threadId <= highest && !sessions.has(threadId)
  }

  #goneAt(atMs: number): Presence {
    return { kind: 'gone', inMs: Math.max(0, atMs + GRACE_MS - this.#clock.monotonic()) }
  }

  /** Privileges on the whole server are those of the moment when a connection was made. */
  async #isHidden(own: Runner): Promise<boolean> {
    const known = this.#hides.get(own)
    if (known !== undefined) return known
    const hidden = await isHidden(own)
    this.#hides.set(own, hidden)
    return hidden
  }
}

/** Does nothing to the session: that of another user is refused, one that runs nothing has no plan. */
async function isThere(own: Runner, threadId: number): Promise<boolean> {
  try {
    await own.run(sql.explainFor(threadId))
    return true
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined) throw cause
    return error.errno !== NO_SUCH_THREAD
  }
}
