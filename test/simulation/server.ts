/**
 * A database server, as far as two-phase commit can tell: sessions, branches, prepared branches that
 * survive a restart, marker rows, one row to lock, what it is and since when it runs. Each statement
 * takes effect at one instant. What PostgreSQL, MariaDB and MySQL do differently is by flavour.
 */
import {
  formatBqual,
  type PreparedBranch,
  type ServerIdentity,
  type Xid,
} from '../../src/adapter.ts'
import { Violation, type World } from './world.ts'

export type Flavour = 'postgres' | 'mariadb' | 'mysql'

/** The server said no, and nothing happened. */
export class ServerError extends Error {
  override readonly name = 'ServerError'
  readonly code: ServerErrorCode

  constructor(code: ServerErrorCode) {
    super(code)
    this.code = code
  }
}

export type ServerErrorCode =
  /** 42704, 1397 */
  | 'no such branch'
  /** 1205, 55P03 */
  | 'lock timeout'
  /** A deferred constraint, a serialization failure. */
  | 'refused'
  /** 25P02 */
  | 'aborted block'
  | 'no branch'
  | 'duplicate key'

export interface Session {
  readonly id: number
  alive: boolean
  /** Its last statement, for who looks at sessions. */
  statement: string
  branch: ActiveBranch | undefined
  /** MariaDB: nobody else finishes the branch while this session lives. */
  attached: string | undefined
}

interface ActiveBranch {
  readonly xid: Xid
  wrote: boolean
  failed: boolean
  holdsLock: boolean
  xid8: string | undefined
}

export interface Prepared {
  readonly xid: Xid
  readonly marker: boolean
  readonly wrote: boolean
  readonly holdsLock: boolean
  readonly xid8: string | undefined
  session: Session | undefined
}

interface Waiter {
  readonly session: Session
  readonly grant: () => void
}

export type MarkerState = 'committed' | 'fenced'

/** What checks are told; `by` is the kind of who did it. */
export interface ServerObserver {
  prepared(server: SimServer, xid: Xid): void
  finished(server: SimServer, xid: Xid, verb: Verb, by: 'library' | 'dba'): void
  committedInOnePhase(server: SimServer, xid: Xid): void
}

export type Verb = 'commit' | 'rollback'

export class SimServer {
  readonly name: string
  readonly flavour: Flavour
  /** Whether the tables of `unanimous init` are there. */
  readonly tables: boolean
  readonly #world: World
  readonly #observer: ServerObserver
  life = 1
  up = true
  frozenUntil = 0
  #startedAtMs = 1_000
  #sessions = 0
  #xids = 100
  #lockHolder: string | undefined
  #waiters: Waiter[] = []
  readonly sessions = new Set<Session>()
  readonly prepared = new Map<string, Prepared>()
  /** Ids that this library did not spell. */
  readonly foreign: string[] = []
  /** Gtrids whose work is committed here: the application's own table. */
  readonly rows = new Set<string>()
  readonly markers = new Map<string, MarkerState>()
  readonly announcements = new Set<string>()
  readonly #statuses = new Map<string, 'in progress' | 'committed' | 'aborted'>()

  constructor(
    name: string,
    flavour: Flavour,
    tables: boolean,
    world: World,
    observer: ServerObserver,
  ) {
    this.name = name
    this.flavour = flavour
    this.tables = tables
    this.#world = world
    this.#observer = observer
  }

  get identity(): ServerIdentity {
    const known = { server: `server ${this.name}`, startedAtMs: this.#startedAtMs }
    return this.flavour === 'postgres' ? { ...known, timeline: '00000001' } : known
  }

  /** Key of the branch that has the lock. */
  get lockHolder(): string | undefined {
    return this.#lockHolder
  }

  connect(): Session {
    this.#sessions += 1
    const id = this.#sessions
    const session = { id, alive: true, statement: '', branch: undefined, attached: undefined }
    this.sessions.add(session)
    return session
  }

  /** The session is over: what was not prepared is rolled back. */
  endSession(session: Session): void {
    if (!session.alive) return
    session.alive = false
    this.sessions.delete(session)
    this.#waiters = this.#waiters.filter((waiter) => waiter.session !== session)
    this.rollback(session)
    if (session.attached !== undefined) {
      const prepared = this.prepared.get(session.attached)
      if (prepared !== undefined) prepared.session = undefined
    }
  }

  /** kill -9, and a start some time later. */
  crash(): void {
    this.up = false
    this.life += 1
    for (const session of [...this.sessions]) this.endSession(session)
  }

  restart(): void {
    if (this.up) return
    this.up = true
    this.#startedAtMs += 10_000
  }

  begin(session: Session, gtrid: string): Xid {
    if (session.branch !== undefined || session.attached !== undefined) {
      throw new Violation(`${this.name}: a branch begins on a session that has one`)
    }
    const threadId = this.flavour === 'postgres' ? undefined : session.id
    const xid = { gtrid, bqual: formatBqual(this.name, threadId) }
    session.branch = { xid, wrote: false, failed: false, holdsLock: false, xid8: undefined }
    session.statement = `begin ${gtrid}`
    return xid
  }

  /**
   * A statement of the application. The answer comes at once, or when the lock is free.
   *
   * @param lockWaitMs - 0: it takes no lock
   */
  work(
    session: Session,
    wrote: boolean,
    lockWaitMs: number,
    done: (error?: ServerError) => void,
  ): void {
    const { branch } = session
    if (branch === undefined) throw new ServerError('no branch')
    if (branch.failed) throw new ServerError('aborted block')
    const execute = (): void => {
      if (wrote) {
        branch.wrote = true
        if (this.flavour === 'postgres') branch.xid8 ??= this.#newXid8()
      }
      done()
    }
    if (lockWaitMs === 0 || branch.holdsLock) {
      execute()
      return
    }
    const grant = (): void => {
      this.#lockHolder = keyOf(branch.xid)
      branch.holdsLock = true
      execute()
    }
    if (this.#lockHolder === undefined) {
      grant()
      return
    }
    const waiter = { session, grant }
    this.#waiters.push(waiter)
    this.#world.schedule(lockWaitMs, 'lock wait is over', () => {
      if (!this.#waiters.includes(waiter)) return
      this.#waiters = this.#waiters.filter((other) => other !== waiter)
      // MySQL and MariaDB roll the statement back, PostgreSQL dooms the block.
      if (this.flavour === 'postgres') branch.failed = true
      done(new ServerError('lock timeout'))
    })
  }

  /** Statements and what stands behind them in one packet: nothing is run behind the first that fails. */
  workThen(
    session: Session,
    plans: readonly { readonly writes: boolean; readonly lockWaitMs: number }[],
    failed: (error: ServerError) => void,
    then: () => void,
  ): void {
    const [next, ...others] = plans
    try {
      if (next === undefined) then()
      else
        this.work(session, next.writes, next.lockWaitMs, (error) => {
          if (error !== undefined) failed(error)
          else this.workThen(session, others, failed, then)
        })
    } catch (cause) {
      if (!(cause instanceof ServerError)) throw cause
      failed(cause)
    }
  }

  /** PREPARE TRANSACTION, XA PREPARE: the whole packet. Answers the transaction id. */
  prepare(session: Session, refuses: boolean): string | undefined {
    const branch = this.#ready(session, refuses)
    const key = keyOf(branch.xid)
    const { xid, wrote, holdsLock, xid8 } = branch
    const marker = this.tables
    this.prepared.set(key, { xid, marker, wrote, holdsLock, xid8, session })
    session.branch = undefined
    session.attached = key
    session.statement = `prepare ${xid.gtrid}`
    this.#observer.prepared(this, xid)
    return xid8
  }

  commitOnePhase(session: Session, wrote: boolean, refuses: boolean): void {
    const branch = this.#ready(session, refuses)
    const { xid, xid8, wrote: hasWritten } = branch
    if (hasWritten && !wrote)
      throw new Violation(`${this.name}: ${xid.gtrid} wrote and has no marker`)
    if (wrote && this.tables && this.markers.has(keyOf(xid))) {
      this.rollback(session)
      throw new ServerError('duplicate key')
    }
    session.branch = undefined
    if (hasWritten) this.rows.add(xid.gtrid)
    if (wrote && this.tables) this.markers.set(keyOf(xid), 'committed')
    if (xid8 !== undefined) this.#statuses.set(xid8, 'committed')
    this.#unlock(keyOf(xid))
    if (hasWritten) this.#observer.committedInOnePhase(this, xid)
  }

  /** ROLLBACK of a branch that is not prepared. */
  rollback(session: Session): void {
    const { branch } = session
    if (branch === undefined) return
    session.branch = undefined
    if (branch.xid8 !== undefined) this.#statuses.set(branch.xid8, 'aborted')
    this.#unlock(keyOf(branch.xid))
  }

  /** COMMIT or ROLLBACK of a prepared branch, from its own session or another one. */
  finish(session: Session, xid: Xid, verb: Verb): void {
    session.statement = `${verb} ${xid.gtrid}`
    const prepared = this.prepared.get(keyOf(xid))
    if (prepared === undefined) throw new ServerError('no such branch')
    // MariaDB says of a branch whose session lives that it does not know it.
    const held = prepared.session !== undefined && prepared.session !== session
    if (this.flavour === 'mariadb' && held) throw new ServerError('no such branch')
    this.#end(prepared, verb, 'library')
  }

  /** Somebody ends a branch by hand. */
  finishByHand(xid: Xid, verb: Verb): void {
    const prepared = this.prepared.get(keyOf(xid))
    if (prepared === undefined) return
    this.#end(prepared, verb, 'dba')
  }

  /** A branch that somebody left here. */
  plant(xid: Xid): void {
    const left = {
      xid,
      marker: false,
      wrote: true,
      holdsLock: false,
      xid8: undefined,
      session: undefined,
    }
    this.prepared.set(keyOf(xid), left)
  }

  list(): readonly PreparedBranch[] {
    const ours = [...this.prepared.values()].map(({ xid }) => ({ id: keyOf(xid), xid }))
    return [...ours, ...this.foreign.map((id) => ({ id }))]
  }

  /** `undefined`: no such session, or not any more. */
  sessionOf(id: number): Session | undefined {
    return [...this.sessions].find((session) => session.id === id)
  }

  statusOf(xid8: string): 'in progress' | 'committed' | 'aborted' {
    return this.#statuses.get(xid8) ?? 'in progress'
  }

  /** The key is taken while the branch with it is neither committed nor rolled back. */
  fence(xid: Xid): MarkerState {
    const key = keyOf(xid)
    const marker = this.markers.get(key)
    if (marker !== undefined) return marker
    if (this.prepared.has(key)) throw new ServerError('lock timeout')
    // A branch that has not inserted its marker yet will meet ours.
    this.markers.set(key, 'fenced')
    return 'fenced'
  }

  #ready(session: Session, refuses: boolean): ActiveBranch {
    const { branch } = session
    if (branch === undefined) throw new ServerError('no branch')
    if (!refuses && !branch.failed) return branch
    this.rollback(session)
    throw new ServerError(branch.failed ? 'aborted block' : 'refused')
  }

  #end(prepared: Prepared, verb: Verb, by: 'library' | 'dba'): void {
    const { xid, marker, wrote, xid8, session } = prepared
    const key = keyOf(xid)
    this.prepared.delete(key)
    if (session !== undefined) session.attached = undefined
    if (verb === 'commit') {
      if (wrote) this.rows.add(xid.gtrid)
      if (marker) this.markers.set(key, 'committed')
    }
    if (xid8 !== undefined) this.#statuses.set(xid8, verb === 'commit' ? 'committed' : 'aborted')
    this.#unlock(key)
    this.#observer.finished(this, xid, verb, by)
  }

  #newXid8(): string {
    this.#xids += 1
    return String(this.#xids)
  }

  #unlock(key: string): void {
    if (this.#lockHolder !== key) return
    this.#lockHolder = undefined
    this.#waiters.shift()?.grant()
  }
}

export function keyOf(xid: Xid): string {
  return `${xid.gtrid}:${xid.bqual}`
}
