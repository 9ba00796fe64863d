/**
 * An XA branch in MySQL or MariaDB, on one connection of the user's pool from its first statement to
 * its end. MariaDB pins it: until phase two is over nothing else can run on that connection, and
 * nobody else can finish the branch while it lives (T3).
 *
 *   new ─first statement─► active ─vote─► voting ─► prepared ─commit | rollback─► ended
 *                            │              ├─► refused ─rollback─► ended
 *                            │              └─► uncertain            (connection destroyed)
 *                            └──commitOnePhase─► ended | uncertain
 * `given` is active, with statements given in advance: it takes no others.
 *
 * The invariants are those of the Branch port. Two of them live here in one place each: the packets
 * that vote go through `#ask` (rule 3), and a connection leaves through `#leave`.
 */
import {
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  errorOf,
  type GivenAnswers,
  type GivenStatement,
  type GiveWhen,
  type IsolationLevel,
  isPending,
  type OnePhaseAnswer,
  type Probed,
  type Refusal,
  type Settlement,
  type Vote,
  type Xid,
} from '../../src/adapter.ts'
import { Gate, type GateHost } from '../dialect/gate.ts'
import { checkGiven, GivenFailed, refusedError } from '../dialect/given.ts'
import { endSession, fallsQuiet, isGone, type Reach } from '../dialect/interrupt.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, NO_TABLE, provesNoEffect, refusalOf } from '../dialect/mysql-errors.ts'
import { newClient } from '../dialect/nesting.ts'
import { connectionLost, takesNoMore } from '../dialect/reach.ts'
import { corePool, type MysqlCorePool, type MysqlHandle } from './driver-types.ts'
import {
  type Begun,
  type Enlistment,
  enlist,
  giveBack,
  type MysqlHome,
  notEnlisted,
} from './enlist.ts'
import { type FacadeHost, facade } from './facade.ts'
import { Given } from './given.ts'
import { hear } from './lease.ts'
import type { Packets, Session } from './pool.ts'
import { quietRollback, refusedEnd } from './settle.ts'

type State = 'new' | 'active' | 'given' | 'voting' | 'refused' | 'prepared' | 'uncertain' | 'ended'

type Answer =
  | { readonly kind: 'done' }
  /** The deciding verb took no effect, or was never sent. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The deciding verb's answer is lost, and the connection is gone. */
  | { readonly kind: 'lost'; readonly cause: unknown }

/** Asked to finish what is not there, or what is being finished: that proves nothing. */
const NOT_PREPARED: Settlement = { kind: 'unknown', cause: new Error('the branch is not prepared') }

export class MysqlBranch implements Branch<MysqlHandle>, GateHost, FacadeHost, Enlistment {
  readonly participant: string
  readonly dialect = 'MySQL'
  readonly request: BranchRequest
  readonly corePool: MysqlCorePool
  readonly gate: Gate
  readonly handle: MysqlHandle
  readonly #home: MysqlHome
  #isolation: IsolationLevel | undefined
  #state: State = 'new'
  #session: Session | undefined
  #given: Given | undefined
  #begun: Begun | undefined
  #because: () => Error = takesNoMore
  /** What a rollback hears after the branch has ended: the connection is not ours any more. */
  #settled: Settlement = { kind: 'answered' }

  constructor(home: MysqlHome, request: BranchRequest) {
    this.participant = home.name
    this.#home = home
    this.request = request
    this.corePool = corePool(home.pool)
    this.#isolation = request.isolation
    this.gate = new Gate(this)
    this.handle = facade(this)
  }

  get xid(): Xid | undefined {
    return this.#begun?.xid
  }

  get enlisted(): boolean {
    return this.gate.enlisted
  }

  checkOut(): MysqlHandle {
    return facade(this)
  }

  async give(statements: readonly GivenStatement[], when: GiveWhen): Promise<GivenAnswers> {
    checkGiven(statements, 'MySQL', this.participant, this.request.gtrid)
    const given = new Given(statements)
    await this.gate.run(newClient(), undefined, () => {
      const session = this.session()
      this.#given = given
      this.#state = 'given'
      // What cannot travel with the vote is said while the gate holds it, so that a roll-back waits for it.
      return when !== 'now' && given.merges(session) ? undefined : this.#sayAlone(given, session)
    })
    return () => given.answers
  }

  endSavepoint(name: string, how: 'release' | 'rollback'): Promise<void> {
    return this.gate.endSavepoint(name, how)
  }

  seal(because: () => Error): Refusal | undefined {
    this.#because = because
    const lost = this.#session?.lost
    const death = lost === undefined ? undefined : connectionLost(lost)
    return this.gate.seal(because) ?? death
  }

  /** The server cannot tell: a branch is read-only if it was declared so, and the server held it to it. */
  probe(): Probed | Promise<Probed> {
    const wrote = this.request.readOnly ? 'read-only' : 'wrote'
    const drained = this.gate.drain()
    return isPending(drained) ? drained.then((doomed) => doomed ?? wrote) : (drained ?? wrote)
  }

  vote(): Promise<Vote> {
    const markerSchema = this.#home.markerSchema()
    const asked = this.#ask(sql.prepare, markerSchema)
    return asked.then((answer) => this.#voted(answer, markerSchema !== undefined))
  }

  #voted(answer: Answer, marked: boolean): Vote {
    if (answer.kind === 'lost') return { kind: 'unknown', cause: answer.cause }
    if (answer.kind === 'refused') return answer
    this.#state = 'prepared'
    return { kind: 'prepared', evidence: this.#evidence(marked) }
  }

  async commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer> {
    const markerSchema = wrote ? this.#home.markerSchema() : undefined
    const marker = markerSchema !== undefined
    const answer = await this.#ask(sql.commitOnePhase, markerSchema)
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
      ((await fallsQuiet(this.#home.clock, this.gate, session, this.#reach)) &&
        this.#begun !== undefined &&
        (await quietRollback(session, this.#begun.id)))
    this.#leave(sound ? 'release' : 'destroy')
    if (!sound) await endSession(this.#home.clock, this.#reach)
    return this.#settled
  }

  abandon(): void {
    if (this.#state === 'ended') return
    const cause = new Error('given up while its end is in doubt')
    this.#settled = { kind: 'unknown', cause }
    this.#session?.destroy(cause)
    this.#leave('destroy')
  }

  open(boundMs: number): Promise<void> {
    return this.request.outside(() => enlist(this.#home, boundMs, this))
  }

  took(session: Session): boolean {
    if (this.#state !== 'new') return false
    this.#session = session
    return true
  }

  ready(begun: Begun): void {
    this.#begun = begun
    if (this.#state === 'new') this.#state = 'active'
  }

  unbegun(): Session | undefined {
    return this.#session?.opening === undefined ? undefined : this.#session
  }

  threadId(): number | null {
    return this.#session?.connection.threadId ?? null
  }

  get #reach(): Reach {
    const physical = this.#begun?.physical
    return physical && ((how) => this.#home.interrupt(physical, how))
  }

  /** An XA PREPARE whose answer nobody has may still take effect: it is fenced first (T4). */
  async #rollbackUncertain(): Promise<Settlement> {
    const over = await endSession(this.#home.clock, this.#reach)
    if (!over || this.xid === undefined || !(await isGone(this.#home, this.xid))) {
      return { kind: 'unknown', cause: this.#session?.lost }
    }
    this.#settled = { kind: 'answered' }
    this.#state = 'ended'
    return this.#settled
  }

  async speak(texts: readonly string[]): Promise<void> {
    const session = await this.#begunSession()
    try {
      for (const text of session.merges ? [texts.join('; ')] : texts) await session.run(text)
    } catch (cause) {
      throw hear(this, cause)
    }
  }

  /** The session's default, unless the transaction chose. */
  async isolation(): Promise<IsolationLevel> {
    if (this.#isolation === undefined) {
      const session = await this.#begunSession()
      const [row] = await session.run(sql.ISOLATION)
      this.#isolation = sql.isolationIn(row?.['Value'])
    }
    return this.#isolation
  }

  /** Says statements given in advance before anything decides. */
  async #sayAlone(given: Given, session: Session): Promise<void> {
    try {
      if (session.lost !== undefined) throw session.lost
      await given.say(session, [])
    } catch (cause) {
      const answer = this.#failed(cause, false, false)
      const refusal = answer.kind === 'refused' ? answer.refusal : connectionLost(cause)
      throw refusedError(this.participant, this.request.gtrid, refusal)
    }
  }

  /** Sends statements of which the last one decides, behind those that were given in advance. */
  #ask(verb: (id: string) => string, markerSchema: string | undefined): Promise<Answer> {
    const [session, begun] = [this.#session, this.#begun]
    this.#state = 'voting'
    if (session === undefined || begun === undefined) {
      return Promise.resolve(this.#failed(new Error('the branch was not begun'), false, false))
    }
    const ours = sql.deciding(begun, markerSchema, verb(begun.id))
    return this.#askFrom(0, session, session.packets(ours))
  }

  /** Asks a packet, and those behind it; the last one decides. */
  #askFrom(at: number, session: Session, packets: Packets): Promise<Answer> {
    const { texts, statements, restores } = packets
    if (session.lost !== undefined) return Promise.resolve(this.#failed(session.lost, false, false))
    const decides = at === texts.length - 1
    const given = this.#given?.isSaid === false ? this.#given : undefined
    const said: Promise<unknown> = given?.say(session, statements) ?? session.ask(texts[at] ?? '')
    return said.then(
      () => {
        if (!decides) return this.#askFrom(at + 1, session, packets)
        if (restores) session.restored()
        return this.#state === 'voting' ? { kind: 'done' } : { kind: 'lost', cause: session.lost }
      },
      (cause: unknown) => this.#failed(cause, decides, texts.length < statements.length),
    )
  }

  /** @param sent - whether the deciding verb may have reached the server */
  #failed(cause: unknown, sent: boolean, merged: boolean): Answer {
    const asking = this.#state === 'voting' || this.#state === 'given'
    if (cause instanceof GivenFailed) {
      if (asking && cause.stopped) this.#state = 'refused'
      else if (asking) this.#lose(cause)
      return { kind: 'refused', refusal: cause.refusal }
    }
    const error = asMysqlError(cause)
    const answered = error !== undefined && (!sent || provesNoEffect(error, merged))
    if (asking && (answered || !sent)) {
      this.#state = 'refused'
      if (error === undefined) this.#session?.destroy(errorOf(cause))
      if (error?.errno === NO_TABLE) this.#home.forgetContact()
      const refusal = error === undefined ? connectionLost(cause) : refusalOf(error, cause)
      return { kind: 'refused', refusal }
    }
    this.#lose(cause)
    return { kind: 'lost', cause }
  }

  #finish(verb: 'commit' | 'rollback'): Promise<Settlement> {
    const [session, begun] = [this.#session, this.#begun]
    if (session === undefined || begun === undefined || this.#state !== 'prepared') {
      return Promise.resolve(NOT_PREPARED)
    }
    this.#state = 'ended'
    this.#settled = NOT_PREPARED
    return session.ask(sql.finish(begun.id, verb)).then(
      () => this.#finished({ kind: 'answered' }),
      (cause: unknown) => this.#finished(refusedEnd(cause, verb)),
    )
  }

  #finished(settlement: Settlement): Settlement {
    this.#settled = settlement
    this.#leave(settlement.kind === 'answered' ? 'release' : 'destroy')
    return settlement
  }

  #evidence(marker: boolean): BranchEvidence {
    return { server: this.#begun?.physical.server ?? { server: '', startedAtMs: 0 }, marker }
  }

  broken(cause: unknown): Error {
    if (this.#state === 'ended' || this.#state === 'uncertain') return this.#because()
    this.gate.doom(connectionLost(cause))
    this.#session?.destroy(errorOf(cause))
    return errorOf(cause)
  }

  /** For statements of ours, which go in trips of their own. */
  async #begunSession(): Promise<Session> {
    const session = this.session()
    if (session.opening !== undefined) await this.begin()
    return session
  }

  async begin(): Promise<void> {
    try {
      await this.session().begin()
    } catch (cause) {
      throw this.notBegun(cause)
    }
  }

  notBegun(cause: unknown): Error {
    const error = notEnlisted(this.participant, this.request.gtrid, cause)
    this.gate.doomNotEnlisted(error)
    return this.broken(error)
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
      giveBack(this.#home, session, this.#begun?.physical)
    } else session.destroy(session.lost ?? new Error('the branch was rolled back'))
  }

  /** For the application's statements: the connection may already be somebody else's. */
  session(): Session {
    if (this.#session === undefined || this.#state !== 'active') throw this.#because()
    return this.#session
  }
}
