/**
 * Whether the session that prepared a branch has left the server, for MariaDB (T11).
 *
 *   a session ends:   its branch is given free ─► it leaves the list of sessions ─► InnoDB lets go
 *
 * XA COMMIT from elsewhere between the first and the last step answers OK and commits nothing: the
 * branch is on no list then, keeps its locks, and a restart of the server lists it again, long after
 * its decision was forgotten. MariaDB 11.8.9: 8 of 4,000 that were committed right after their client had
 * died, 0 of 20,000 once the session had left the list. MySQL 9.7.4: 0 of 12,000 without looking.
 */
import { type Clock, sleep } from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import type { Row } from './pool.ts'

/** The last step needs microseconds of a processor, which the server may have to wait for; in ms. */
const GRACE_MS = 50

interface Runner {
  run(text: string): Promise<readonly Row[]>
}

interface Look {
  /** Every session that was ever there has an id up to this one. */
  readonly highest: number
  readonly ids: ReadonlySet<number>
  readonly atMs: number
}

export class Departures {
  readonly #clock: Clock
  /** By connection: ids begin anew with each life of the server, which no connection survives. */
  readonly #looks = new WeakMap<Runner, Look>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Whether the session has left for good. One look serves for all sessions that there had been by then:
   * an id is given out once in a life of the server.
   *
   * @param own - throws out of here whatever it throws
   */
  async has(own: Runner, threadId: number): Promise<boolean> {
    let look = this.#looks.get(own)
    if (look === undefined || threadId > look.highest || look.ids.has(threadId)) {
      const [connections] = await own.run(sql.CONNECTIONS)
      const highest = Number(connections?.['Value'])
      // Of an earlier life: its sessions are gone with it.
      if (threadId > highest) return true
      const ids = new Set((await own.run(sql.SESSION_IDS)).map((row) => Number(row['id'])))
      look = { highest, ids, atMs: this.#clock.monotonic() }
      this.#looks.set(own, look)
    }
    if (look.ids.has(threadId)) return false
    const leftMs = look.atMs + GRACE_MS - this.#clock.monotonic()
    if (leftMs > 0) await sleep(this.#clock, leftMs)
    return true
  }
}
