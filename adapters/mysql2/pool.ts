/**
 * A connection between its leaving the user's pool and its return or end.
 *
 * Invariants:
 *  1. From check-out to release it has listeners for its end; they leave with it.
 *  2. It goes back to the pool only with no branch on it: the next borrower would be in it, and
 *     MariaDB loses a prepared branch whose connection is reset (T2). Everything else is closed hard.
 *  3. Whoever is no branch takes it with the session settings that it came with: they travel with a packet
 *     of the branch, or go just before that borrower's statement. From branch to branch they may stay
 *     (kept.ts).
 *  4. After `destroy` nothing pending is awaited for the server's sake: mysql2's own destroy() only
 *     half-closes, so the socket is destroyed first, and with an error: without one mysql2 leaves
 *     what was pending unsettled for ever. A socket that is closing already takes no error, and
 *     mysql2 hears nothing of it once it was told to destroy: it is left to tell by itself.
 *  5. What begins a branch is said before anything else, or goes with it in one packet. If that is not
 *     known to have begun it, nothing more is said: outside of a branch a statement would commit by
 *     itself.
 */
import { type Clock, errorOf, invariant, type LATE, type Seat } from '../../src/adapter.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, saysTransactionOpen } from '../dialect/mysql-errors.ts'
import type { Patience } from '../dialect/patience.ts'
import { answerTo, type Done, takeInTime } from '../dialect/waiting.ts'
import {
  corePool,
  type MysqlCore,
  type MysqlDone,
  type MysqlPoolCore,
  type MysqlPromisePool,
  type TypeCast,
} from './driver-types.ts'
import type { Kept } from './kept.ts'
import { queryClassOf } from './query-class.ts'

export type Row = Readonly<Record<string, unknown>>

/** Whose connections are taken, and how. */
export interface Lender {
  readonly pool: MysqlPromisePool
  readonly clock: Clock
  readonly patience: Patience
  readonly kept: Kept
}

/** Texts that are asked one after the other, and the statements that they say. */
export interface Packets {
  readonly texts: readonly string[]
  readonly statements: readonly string[]
  /** They give the session back as it came. */
  readonly restores: boolean
}

/**
 * Names of variables may come as values (`set ?? = ?`, `set ?`, `set ::name = :n`). A function or a trigger may
 * change them as well, and is not seen.
 */
const MAY_CHANGE_WAITS =
  /lock_wait_timeout|\bcall\b|\bexecute\b|\?\?|::|\bset\s+(?:session\s+|local\s+|@@\S*)?[?:]/i

export class Session {
  /** Beneath the promises, which take the stack of every statement down. */
  readonly connection: MysqlPoolCore
  readonly #patience: Patience
  readonly #kept: Kept
  #lost: Error | undefined
  #gone = false
  #seat: Seat | undefined
  #isDone: (() => Promise<boolean>) | undefined
  #owed: string | undefined
  /** It may go back with the limits that the branch has: see kept.ts. */
  #keeps: boolean
  /** It came with the limits of a branch. */
  readonly #cameLimited: boolean
  #opening: readonly string[] | undefined
  #flavour: sql.Flavour | undefined
  readonly #onEnd = (cause?: Error): void => {
    this.#lost ??= cause ?? new Error('the server closed the connection')
  }

  constructor(connection: MysqlPoolCore, { patience, kept }: Lender) {
    this.connection = connection
    this.#owed = kept.took(connection)
    this.#keeps = this.#owed !== undefined
    this.#cameLimited = this.#keeps
    this.#patience = patience
    this.#kept = kept
    connection.on('error', this.#onEnd)
    connection.on('end', this.#onEnd)
  }

  /** What ended the connection, once it is known to be dead. */
  get lost(): Error | undefined {
    return this.#lost
  }

  /** Whether several statements may travel in one packet. */
  get merges(): boolean {
    return this.connection.config.multipleStatements === true
  }

  /**
   * Packets for statements that answer nothing. MySQL takes each statement in a trip of its own unless
   * the pool has `multipleStatements`: 0.1 to 0.2 ms on a local socket.
   */
  inFewestTrips(statements: readonly string[]): readonly string[] {
    if (statements.length === 1 || !this.#isOneTrip) return statements
    return [this.merges ? statements.join('; ') : sql.block(statements)]
  }

  get #isOneTrip(): boolean {
    return this.merges || this.#flavour === 'MariaDB'
  }

  /**
   * Whether each branch says its limits, also if the session came with them. On MySQL that costs a trip, or in one
   * packet a tenth of the transfers; on MariaDB it is no trip, and hardly slower.
   */
  get #saysEach(): boolean {
    return this.#flavour === 'MariaDB'
  }

  /**
   * Limits its waits with what was set to open it.
   *
   * @param keeps - it may go back with them
   */
  limits({ set, restore }: sql.WaitLimit, keeps: boolean): void {
    this.#owed = restore
    this.#keeps = keeps
    if (this.#saysEach || !this.#cameLimited) this.#opening = [set, ...(this.#opening ?? [])]
  }

  /** A statement of the application may change the limits: they are not left to the next branch, which would not say them. */
  runs(text: unknown): void {
    if (!this.#keeps || this.#saysEach) return
    const { queryFormat } = this.connection.config
    this.#keeps =
      typeof text === 'string' && queryFormat === undefined && !MAY_CHANGE_WAITS.test(text)
  }

  /** It has the waits that it came with. */
  restored(): void {
    this.#owed = undefined
  }

  /**
   * What says statements of which the last one decides. No statement of the application comes any more: the
   * session's own waits go back before that one, where it costs no trip and they may not go later.
   */
  packets(ours: readonly string[]): Packets {
    const owed = this.#keeps ? undefined : this.#owed
    const restores = owed !== undefined && this.#isOneTrip
    const statements = restores ? [...ours.slice(0, -1), owed, ...ours.slice(-1)] : ours
    return { texts: this.inFewestTrips(statements), statements, restores }
  }

  /** A verb of ours, whose answer comes in time or not at all. */
  ask(text: string): Promise<readonly Row[]> {
    if (this.#opening !== undefined) return this.begin().then(() => this.ask(text))
    return this.#patience.ask((done) => this.#send(text, done))
  }

  /** The same for what may take its time, in the application's stead. */
  run(text: string): Promise<readonly Row[]> {
    if (this.#opening !== undefined) return this.begin().then(() => this.run(text))
    return answerTo((done) => this.#send(text, done))
  }

  #send(text: string, done: Done<readonly Row[]>): void {
    if (this.#gone) done(new Error('the connection has gone back to the pool'))
    else send(this.connection, text, done)
  }

  /** Sets what must go before anything else. */
  opens(statements: readonly string[], flavour: sql.Flavour): void {
    this.#opening = statements
    this.#flavour = flavour
  }

  /** What begins the branch, as long as it was not said. */
  get opening(): readonly string[] | undefined {
    return this.#opening
  }

  /** It is being said, by whoever took it; `undefined`: it is to be said after all. */
  said(opening?: readonly string[]): void {
    this.#opening = opening
  }

  /** Says alone what begins the branch. */
  async begin(): Promise<void> {
    const opening = this.#opening
    invariant(opening !== undefined, 'what begins a branch is said once')
    this.#opening = undefined
    try {
      await beginAlone(this, this.inFewestTrips(opening))
    } catch (cause) {
      this.destroy(errorOf(cause))
      throw cause
    }
  }

  /** Sets how it is seen that the server does nothing for this session. */
  watchedBy(isDone: () => Promise<boolean>): void {
    this.#isDone = isDone
  }

  /** For what takes its time, and was sent: waits for it, and not for what the server has done with. */
  long<T>(asked: Promise<T>): Promise<T> {
    return this.#isDone === undefined ? asked : this.#patience.askLong(this.#isDone, asked)
  }

  /** Leaves the seat when the connection has been given back, or closed. */
  sits(seat: Seat): void {
    this.#seat = seat
  }

  release(): void {
    if (this.#gone) return
    this.#gone = true
    this.connection.removeListener('error', this.#onEnd)
    this.connection.removeListener('end', this.#onEnd)
    if (this.#owed !== undefined && !this.#keep(this.#owed)) giveBack(this.connection, this.#owed)
    this.connection.release()
    this.#seat?.left()
  }

  /** Not before its limits were said: with the opening. */
  #keep(restore: string): boolean {
    if (!this.#keeps || (this.#opening !== undefined && !this.#cameLimited)) return false
    return this.#kept.keep(this.connection, restore)
  }

  destroy(cause: Error): void {
    this.#lost ??= cause
    if (this.#gone) return
    this.#gone = true
    const { stream } = this.connection
    if (stream.destroyed !== true) {
      stream.destroy(new Error(cause.message, { cause }))
      this.connection.destroy()
    }
    this.#seat?.left()
  }
}

/** The driver sends in order: what the next borrower says comes behind it. */
export function giveBack(connection: MysqlPoolCore, restore: string): void {
  send(connection, restore, (cause) => {
    if (cause !== null) connection.destroy()
  })
}

/** One text of ours, whatever the pool's own settings make of rows and values. */
export function run(connection: MysqlCore, text: string): Promise<readonly Row[]> {
  return answerTo((done) => send(connection, text, done))
}

/** As {@link run}, and keeps of each row what is made of it: there may be tens of thousands. */
export function runEach<T>(
  connection: MysqlCore,
  text: string,
  keep: (row: Row) => T,
  typeCast: TypeCast | true = true,
): Promise<readonly T[]> {
  return answerTo((done) => {
    const kept: T[] = []
    // What ends the connection is told to it alone when a query has no callback.
    connection.on('error', done)
    const query = connection.query(plain(text, typeCast))
    query.on('result', (row) => kept.push(keep(row as Row)))
    query.on('error', done)
    query.on('end', () => {
      connection.removeListener('error', done)
      done(null, kept)
    })
  })
}

/** Whatever the pool's own options make of an answer. */
function plain(sql: string, typeCast: TypeCast | true = true): object {
  return { sql, values: undefined, rowsAsArray: false, nestTables: false, typeCast }
}

function send(connection: MysqlCore, text: string, done: Done<readonly Row[]>): void {
  const told: MysqlDone = (cause, answer) => {
    if (cause !== null && cause !== undefined) done(cause)
    else done(null, Array.isArray(answer) ? (answer as readonly Row[]) : [])
  }
  const Query = queryClassOf(connection)
  // Made here: the driver copies what it is given into an object that V8 makes old at once.
  connection.query(new Query(plain(text), told))
}

export function acquire(
  lender: Lender,
  boundMs: number,
  seat: Seat,
): Promise<Session | typeof LATE> {
  const { pool, clock, kept } = lender
  return takeInTime(clock, boundMs, seat, (done) => {
    kept.taking(() =>
      corePool(pool).getConnection((cause, connection) => {
        if (cause !== null && cause !== undefined) done(cause)
        else done(null, new Session(connection as MysqlPoolCore, lender))
      }),
    )
  })
}

/**
 * With autocommit off, a SELECT of an earlier borrower opened a transaction that nobody owns: it is
 * rolled back, once.
 */
async function beginAlone(session: Session, texts: readonly string[]): Promise<void> {
  try {
    await runAll(session, texts)
  } catch (cause) {
    const error = asMysqlError(cause)
    if (error === undefined || !saysTransactionOpen(error)) throw cause
    await session.ask(sql.ROLLBACK)
    await runAll(session, texts)
  }
}

async function runAll(session: Session, texts: readonly string[]): Promise<void> {
  for (const text of texts) await session.ask(text)
}
