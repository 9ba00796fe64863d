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
 * The list shows sessions of other users only to who has the privilege PROCESS: a `connect` of another user
 * than the pool's needs it.
 */
import { type Clock, sleep } from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import type { Row } from './pool.ts'

/** The last step needs microseconds of a processor, which the server may have to wait for; in ms. */
const GRACE_MS = 50
/** A session that was coming when the list was read is not on it: no look serves for longer, in ms. */
const LOOK_MS = 1_000

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

interface Look {
  /** Every session that was ever there has an id up to this one. */
  readonly highest: number
  /** Whether it is ending, by its id. */
  readonly sessions: ReadonlyMap<number, boolean>
  readonly atMs: number
}

export type Presence = 'there' | 'ending' | 'gone'

export class Departures {
  readonly #clock: Clock
  /** By connection: ids begin anew with each life of the server, which no connection survives. */
  readonly #looks = new WeakMap<Runner, Look>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * What is known of a session. Answers `gone` only when nothing that it does can be under way. One look
   * serves for many sessions that had been there by then: an id is given out once in a life of the server.
   *
   * @param own - throws out of here whatever it throws
   */
  async of(own: Runner, threadId: number): Promise<Presence> {
    let look = this.#looks.get(own)
    if (look === undefined || !this.#serves(look, threadId)) {
      const [connections] = await own.run(sql.CONNECTIONS)
      const highest = Number(connections?.['Value'])
      // Of an earlier life: its sessions are gone with it.
      if (threadId > highest) return 'gone'
      const rows = await own.run(sql.SESSION_STATES)
      const sessions = new Map(rows.map((row) => [Number(row['id']), row['command'] === 'Killed']))
      look = { highest, sessions, atMs: this.#clock.monotonic() }
      this.#looks.set(own, look)
    }
    const ending = look.sessions.get(threadId)
    if (ending !== undefined) return ending ? 'ending' : 'there'
    const leftMs = look.atMs + GRACE_MS - this.#clock.monotonic()
    if (leftMs > 0) await sleep(this.#clock, leftMs)
    return 'gone'
  }

  #serves({ highest, sessions, atMs }: Look, threadId: number): boolean {
    const isFresh = this.#clock.monotonic() - atMs < LOOK_MS
    return isFresh && threadId <= highest && !sessions.has(threadId)
  }
}
