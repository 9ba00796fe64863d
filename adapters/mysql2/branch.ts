/**
 * An XA branch in MySQL or MariaDB, on one connection of the user's pool from its first statement to
 * its end. MariaDB pins it: until phase two is over nothing else can run on that connection, and
 * nobody else can finish the branch while it lives (T3).
 *
 *   new ─first statement─► active ─vote─► voting ─► prepared ─commit | rollback─► ended
 *                            │              ├─► refused ─rollback─► ended
 *                            │              └─► uncertain            (connection destroyed)
 *                            └──commitOnePhase─► ended | uncertain
 *
 * The invariants are those of the Branch port. Two of them live here in one place each: the packets
 * that vote go through `#ask` (rule 3), and a connection leaves through `#leave`.
 */
import {
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  errorOf,
  type IsolationLevel,
  isPending,
  LATE,
  messageOf,
  type OnePhaseAnswer,
  type Probed,
  type Refusal,
  type Settlement,
  type Vote,
  within,
  type Xid,
} from '../../src/adapter.ts'
import { Gate } from '../dialect/gate.ts'
import { fence, PATIENCE_MS, quiesce } from '../dialect/interrupt.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, NO_TABLE, provesNoEffect, refusalOf } from '../dialect/mysql-errors.ts'
import { corePool, type MysqlHandle } from './driver-types.ts'
import { type Enlistment, enlist, type MysqlHome, notEnlisted, type Physical } from './enlist.ts'
import { type FacadeHost, facade } from './facade.ts'
import { hear } from './lease.ts'
import type { Session } from './pool.ts'
import { finishPrepared, quietRollback } from './settle.ts'

type State = 'new' | 'active' | 'voting' | 'refused' | 'prepared' | 'uncertain' | 'ended'

type Answer =
  | { readonly kind: 'done' }
  /** The deciding verb took no effect, or was never sent. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The deciding verb's answer is lost, and the connection is gone. */
  | { readonly kind: 'lost'; readonly cause: unknown }

/** Asked to finish what is not there, or what is being finished: that proves nothing. */
const NOT_PREPARED: Settlement = { kind: 'unknown', cause: new Error('the branch is not prepared') }

export class MysqlBranch implements Branch<MysqlHandle> {
  readonly participant: string
  readonly handle: MysqlHandle
  readonly #home: MysqlHome
  readonly #request: BranchRequest
  readonly #gate: Gate
  readonly #host: FacadeHost
  #isolation: IsolationLevel | undefined
  #state: State = 'new'
  #session: Session | undefined
  #xid: Xid | undefined
  #physical: Physical | undefined
  #because: () => Error = () => new Error('the branch has ended')
  /** What a rollback hears after the branch has ended: the connection is not ours any more. */
  #settled: Settlement = { kind: 'answered' }

  constructor(home: MysqlHome, request: BranchRequest) {
    this.participant = home.name
    this.#home = home
    this.#request = request
    this.#gate = new Gate({
      participant: home.name,
      dialect: 'MySQL',
      gtrid: request.gtrid,
      enlist: () => request.enlist(),
      open: (boundMs) => this.#open(boundMs),
      savepoints: () => request.savepoints(),
      speak: (texts) => this.#speak(texts),
      isolation: () => this.#askIsolation(),
    })
    this.#isolation = request.isolation
    this.#host = {
      participant: home.name,
      gate: this.#gate,
      corePool: corePool(home.pool),
      session: () => this.#working(),
      broken: (cause) => this.#broken(cause),
      begin: () => this.#begin(),
      notBegun: (cause) => this.#notBegun(cause),
      unbegun: () => (this.#session?.opening === undefined ? undefined : this.#session),
      threadId: () => this.#session?.connection.threadId ?? null,
    }
    this.handle = facade(this.#host)
  }

  get xid(): Xid | undefined {
    return this.#xid
  }

  get enlisted(): boolean {
    return this.#gate.enlisted
  }

  checkOut(): MysqlHandle {
    return facade(this.#host)
  }

  endSavepoint(name: string, how: 'release' | 'rollback'): Promise<void> {
    return this.#gate.endSavepoint(name, how)
  }

  seal(because: () => Error): Refusal | undefined {
    this.#because = because
    const lost = this.#session?.lost
    const death = lost === undefined ? undefined : connectionLost(lost)
    return this.#gate.seal(because) ?? death
  }

  /** The server cannot tell: a branch is read-only if it was declared so, and the server held it to it. */
  probe(): Probed | Promise<Probed> {
    const wrote = this.#request.readOnly ? 'read-only' : 'wrote'
    const drained = this.#gate.drain()
    return isPending(drained) ? drained.then((doomed) => doomed ?? wrote) : (drained ?? wrote)
  }

  async vote(): Promise<Vote> {
    const markerSchema = this.#home.markerSchema()
    const answer = await this.#ask((xid) => [...marked(xid, markerSchema), sql.prepare(xid)])
    if (answer.kind === 'lost') return { kind: 'unknown', cause: answer.cause }
    if (answer.kind === 'refused') return answer
    this.#state = 'prepared'
    return { kind: 'prepared', evidence: this.#evidence(markerSchema !== undefined) }
  }

  async commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer> {
    const markerSchema = wrote ? this.#home.markerSchema() : undefined
    const marker = markerSchema !== undefined
    const answer = await this.#ask((xid) => [...marked(xid, markerSchema), sql.commitOnePhase(xid)])
    if (answer.kind === 'lost') {
      if (wrote) return { kind: 'unknown', cause: answer.cause, evidence: this.#evidence(marker) }
      // A lost answer to a read-only commit leaves nothing in doubt.
      return { kind: 'refused', refusal: connectionLost(answer.cause) }
    }
    if (answer.kind === 'refused') {
      await this.rollback()
      return answer
    }
    // What only read has left nothing that a rollback would miss.
    if (wrote) this.#settled = { kind: 'absent', cause: new Error('committed in one phase') }
    this.#leave('release')
    return { kind: 'committed', marker }
  }

  commit(): Promise<Settlement> {
    return this.#finish('commit')
  }

  async rollback(): Promise<Settlement> {
    if (this.#state === 'ended') return this.#settled
    if (this.#state === 'prepared') return this.#finish('rollback')
    if (this.#state === 'voting') this.#lose(new Error('rolled back before the server had voted'))
    if (this.#state === 'uncertain') return this.#rollbackUncertain()
    this.#state = 'ended'
    const session = this.#session
    if (session === undefined) return this.#settled
    // Nothing was prepared: without its client the server can only roll the branch back.
    const sound =
      session.opening !== undefined ||
      ((await this.#quiet(session)) &&
        this.#xid !== undefined &&
        (await quietRollback(session, this.#xid)))
    this.#leave(sound ? 'release' : 'destroy')
    if (!sound) await this.#endSession()
    return this.#settled
  }

  abandon(): void {
    if (this.#state === 'ended') return
    const cause = new Error('given up while its end is in doubt')
    this.#settled = { kind: 'unknown', cause }
    this.#session?.destroy(cause)
    this.#leave('destroy')
  }

  #open(boundMs: number): Promise<void> {
    const enlistment: Enlistment = {
      wanted: () => this.#state === 'new',
      took: (session) => {
        this.#session = session
      },
      ready: ({ xid, physical }) => {
        this.#xid = xid
        this.#physical = physical
        if (this.#state === 'new') this.#state = 'active'
      },
    }
    return this.#request.outside(() => enlist(this.#home, this.#request, boundMs, enlistment))
  }

  /** Whether nothing of the branch runs any more, on a connection that lives. */
  async #quiet(session: Session): Promise<boolean> {
    const physical = this.#physical
    const cancel =
      physical === undefined ? undefined : () => this.#home.interrupt(physical, 'cancel')
    const running = (): boolean => this.#gate.busy && session.lost === undefined
    return (await quiesce(this.#home.clock, running, cancel)) && session.lost === undefined
  }

  /** Whether it is certain that the server does nothing more for the branch. */
  async #endSession(): Promise<boolean> {
    const physical = this.#physical
    if (physical === undefined) return false
    return fence(this.#home.clock, () => this.#home.interrupt(physical, 'terminate'))
  }

  /** An XA PREPARE whose answer nobody has may still take effect: it is fenced first (T4). */
  async #rollbackUncertain(): Promise<Settlement> {
    const unknown: Settlement = { kind: 'unknown', cause: this.#session?.lost }
    const { clock } = this.#home
    if (this.#xid === undefined || !(await this.#endSession())) return unknown
    const settled = await within(clock, PATIENCE_MS, this.#home.settle(this.#xid, 'abort'))
    if (settled === LATE || (settled.kind !== 'answered' && settled.kind !== 'absent')) {
      return unknown
    }
    // Absent: the session that could have prepared it is over, so it never will be there.
    this.#settled = { kind: 'answered' }
    this.#state = 'ended'
    return this.#settled
  }

  async #speak(texts: readonly string[]): Promise<void> {
    const session = await this.#begunSession()
    try {
      for (const text of session.merges ? [texts.join('; ')] : texts) await session.run(text)
    } catch (cause) {
      throw hear(this.#host, cause)
    }
  }

  /** The session's default, unless the transaction chose. */
  async #askIsolation(): Promise<IsolationLevel> {
    if (this.#isolation === undefined) {
      const session = await this.#begunSession()
      const [row] = await session.run(sql.ISOLATION)
      this.#isolation = sql.isolationIn(row?.['Value'])
    }
    return this.#isolation
  }

  /** Sends statements of which the last one decides. */
  async #ask(statements: (xid: Xid) => readonly string[]): Promise<Answer> {
    const session = this.#session
    this.#state = 'voting'
    if (session === undefined || this.#xid === undefined) {
      return this.#failed(new Error('the branch was not begun'), false, false)
    }
    const restored = withRestore(statements(this.#xid), session)
    const texts = session.inFewestTrips(restored)
    for (const [at, text] of texts.entries()) {
      const decides = at === texts.length - 1
      if (session.lost !== undefined) return this.#failed(session.lost, false, false)
      try {
        await session.ask(text)
      } catch (cause) {
        return this.#failed(cause, decides, texts.length < restored.length)
      }
    }
    if (texts.length === 1) session.owes(undefined)
    return this.#state === 'voting' ? { kind: 'done' } : { kind: 'lost', cause: session.lost }
  }

  /** @param sent - whether the deciding verb may have reached the server */
  #failed(cause: unknown, sent: boolean, merged: boolean): Answer {
    const error = asMysqlError(cause)
    const answered = error !== undefined && (!sent || provesNoEffect(error, merged))
    if (this.#state === 'voting' && (answered || !sent)) {
      this.#state = 'refused'
      if (error === undefined) this.#session?.destroy(errorOf(cause))
      if (error?.errno === NO_TABLE) this.#home.forgetContact()
      const refusal = error === undefined ? connectionLost(cause) : refusalOf(error, cause)
      return { kind: 'refused', refusal }
    }
    this.#lose(cause)
    return { kind: 'lost', cause }
  }

  async #finish(verb: 'commit' | 'rollback'): Promise<Settlement> {
    const [session, xid] = [this.#session, this.#xid]
    if (session === undefined || xid === undefined || this.#state !== 'prepared') {
      return NOT_PREPARED
    }
    this.#state = 'ended'
    this.#settled = NOT_PREPARED
    const settlement = await finishPrepared(session, xid, verb)
    this.#settled = settlement
    this.#leave(settlement.kind === 'answered' ? 'release' : 'destroy')
    return settlement
  }

  #evidence(marker: boolean): BranchEvidence {
    return { server: this.#physical?.server ?? { server: '', startedAtMs: 0 }, marker }
  }

  #broken(cause: unknown): Error {
    if (this.#state === 'ended' || this.#state === 'uncertain') return this.#because()
    this.#gate.doom(connectionLost(cause))
    this.#session?.destroy(errorOf(cause))
    return errorOf(cause)
  }

  /** For statements of ours, which go in trips of their own. */
  async #begunSession(): Promise<Session> {
    const session = this.#working()
    if (session.opening !== undefined) await this.#begin()
    return session
  }

  async #begin(): Promise<void> {
    try {
      await this.#working().begin()
    } catch (cause) {
      throw this.#notBegun(cause)
    }
  }

  #notBegun(cause: unknown): Error {
    const error = notEnlisted(this.participant, this.#request.gtrid, cause)
    this.#gate.doomNotEnlisted(error)
    return this.#broken(error)
  }

  #lose(cause: unknown): void {
    this.#state = 'uncertain'
    this.#session?.destroy(errorOf(cause))
  }

  #leave(how: 'release' | 'destroy'): void {
    const session = this.#session
    this.#state = 'ended'
    if (session === undefined) return
    if (how === 'release' && session.lost === undefined) {
      // Nothing was said on it, and so nothing was heard, if its opening is still to be said.
      if (this.#physical !== undefined && session.opening === undefined) {
        this.#physical.heardMs = this.#home.clock.monotonic()
      }
      session.release()
    } else session.destroy(session.lost ?? new Error('the branch was rolled back'))
  }

  /** For the application's statements: the connection may already be somebody else's. */
  #working(): Session {
    if (this.#session === undefined || this.#state !== 'active') throw this.#because()
    return this.#session
  }
}

/** No statement of the application comes any more: its waits go back before the one that decides. */
function withRestore(statements: readonly string[], session: Session): readonly string[] {
  if (session.owed === undefined || session.inFewestTrips(['', '']).length > 1) return statements
  return [...statements.slice(0, -1), session.owed, ...statements.slice(-1)]
}

function marked(xid: Xid, markerSchema: string | undefined): readonly string[] {
  const marker = markerSchema === undefined ? [] : [sql.insertMarker(xid, markerSchema)]
  return [...marker, sql.end(xid)]
}

function connectionLost(cause: unknown): Refusal {
  const reason = `the connection was lost: ${messageOf(cause)}`
  return { code: 'CONNECTION_LOST', reason, retryable: true, cause }
}
