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
import { type Clock, parseBqual } from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, NO_SUCH_THREAD } from '../dialect/mysql-errors.ts'
import type { Row } from './pool.ts'
import { isHidden } from './witness.ts'

/** The last step needs microseconds of a processor, which the server may have to wait for; in ms. */
const GRACE_MS = 50
/** Of those that are asked for by their ids in one look: the connection has others to serve. */
const ASKED_AT_ONCE = 100

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

/**
 * - `hidden`: there, of another user, and whether it is ending is not shown
 * - `unnamed`: behind a proxy, nobody can tell
 * - `moot`: what a session does as it ends does no harm, or none that could be told
 * - `gone`: nothing that it does can be under way, `inMs` from now
 */
export type Presence =
  | { readonly kind: 'there' | 'ending' | 'hidden' | 'unnamed' | 'moot' }
  | { readonly kind: 'gone'; readonly inMs: number }

export const MOOT: Presence = { kind: 'moot' }

export class Departures {
  readonly #clock: Clock
  /** When each was seen to have gone, by connection: ids begin anew with each life of the server. */
  #gone = new WeakMap<Runner, Map<number, number>>()
  readonly #expected = new Set<number>()
  readonly #hides = new WeakMap<Runner, boolean>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * The sessions of all branches that are prepared: one look tells of those that have gone by then, and has
   * nothing to say of those that are coming, for none of these has prepared a branch.
   */
  renew(bquals: readonly string[]): void {
    this.#gone = new WeakMap()
    this.#expected.clear()
    for (const bqual of bquals) this.expect(bqual)
  }

  /** As well as those. */
  expect(bqual: string): void {
    const { threadId } = parseBqual(bqual)
    if (threadId !== undefined) this.#expected.add(threadId)
  }

  /**
   * What is known of a session. An id is given out once in a life of the server: what has gone is gone.
   *
   * @param own - throws out of here whatever it throws
   */
  async of(own: Runner, threadId: number | undefined): Promise<Presence> {
    if (threadId === undefined) return { kind: 'unnamed' }
    const gone = this.#gone.get(own) ?? new Map<number, number>()
    this.#gone.set(own, gone)
    const seenMs = gone.get(threadId)
    if (seenMs !== undefined) return this.#goneAt(seenMs)
    const [connections] = await own.run(sql.CONNECTIONS)
    const highest = Number(connections?.['Value'])
    // Of an earlier life: its sessions are gone with it.
    if (threadId > highest) return { kind: 'gone', inMs: 0 }
    const expected = [...this.#expected].filter((id) => id <= highest && !gone.has(id))
    const rows = await own.run(sql.SESSION_STATES)
    const atMs = this.#clock.monotonic()
    const shown = new Map(rows.map((row) => [Number(row['id']), row['command']]))
    const command = shown.get(threadId)
    if (command !== undefined) return { kind: command === 'Killed' ? 'ending' : 'there' }
    const absent = new Set([threadId, ...expected.filter((id) => !shown.has(id))])
    if (!(await this.#isHidden(own))) {
      for (const id of absent) gone.set(id, atMs)
      return this.#goneAt(atMs)
    }
    // Another user's may be there, and the own user may have been another one when they were made.
    if (await isThere(own, threadId)) return { kind: 'hidden' }
    const ownMs = this.#clock.monotonic()
    gone.set(threadId, ownMs)
    for (const id of [...absent].slice(1, ASKED_AT_ONCE)) {
      if (!(await isThere(own, id))) gone.set(id, this.#clock.monotonic())
    }
    return this.#goneAt(ownMs)
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
