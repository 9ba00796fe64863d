/**
 * A branch in PostgreSQL, on one connection of the user's pool from its first statement to its end.
 *
 *   new ─first statement─► active ─vote─► voting ─► prepared ─commit | rollback─► ended
 *                            │              ├─► refused ─rollback─► ended
 *                            │              └─► uncertain            (connection destroyed)
 *                            └──commitOnePhase─► ended | uncertain
 * `given` is active, with statements given in advance: it takes no others.
 *
 * The invariants are those of the Branch port. Two of them live here in one place each: every error
 * of a verb goes through `#failed` (rule 3), and a connection leaves through `#leave`.
 */
import {
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  type Decision,
  errorOf,
  formatBqual,
  type GivenAnswers,
  type GivenStatement,
  type GiveWhen,
  type IsolationLevel,
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
import { newClient } from '../dialect/nesting.ts'
import * as sql from '../dialect/postgres.ts'
import {
  asPostgresError,
  endedByApplication,
  NO_TABLE,
  provesNoEffect,
} from '../dialect/postgres-errors.ts'
import { connectionLost, takesNoMore } from '../dialect/reach.ts'
import { sameTags, saysNoId, xid8In } from './answers.ts'
import type { PgHandle, PgResult } from './driver-types.ts'
import {
  type Begun,
  type Enlistment,
  enlist,
  giveBack,
  notEnlisted,
  type PgHome,
} from './enlist.ts'
import { type FacadeHost, facade, speak } from './facade.ts'
import { Given } from './given.ts'
import { Observed } from './observed.ts'
import type { Session } from './pool.ts'
import { finishEitherWay, finishPrepared, quietRollback } from './settle.ts'

type State = 'new' | 'active' | 'given' | 'voting' | 'refused' | 'prepared' | 'uncertain' | 'ended'

/** `refused`: a listed error, no effect was taken. `lost`: the connection is gone, and the answer with it. */
type Failed = { kind: 'refused'; refusal: Refusal } | { kind: 'lost'; refusal: Refusal }
type Answer = { kind: 'results'; results: readonly PgResult[] } | Failed

/** Asked to finish what is not there, or what is being finished: that proves nothing. */
const NOT_PREPARED: Settlement = { kind: 'unknown', cause: new Error('the branch is not prepared') }

export class PgBranch implements Branch<PgHandle>, GateHost, FacadeHost, Enlistment {
  readonly participant: string
  readonly dialect = 'PostgreSQL'
  readonly request: BranchRequest
  readonly observed: Observed = new Observed()
  readonly gate: Gate
  readonly handle: PgHandle
  readonly #home: PgHome
  readonly #xid: Xid
  /** As statements spell it. */
  readonly #id: string
  #state: State = 'new'
  #session: Session | undefined
  #given: Given | undefined
  #begun: Begun | undefined
  #xid8: string | undefined
  #isolation: IsolationLevel | undefined
  #because: () => Error = takesNoMore
  /** What a rollback hears after the branch has ended: the connection is not ours any more. */
  #settled: Settlement = { kind: 'answered' }

  constructor(home: PgHome, request: BranchRequest) {
    this.participant = home.name
    this.#home = home
    this.request = request
    this.#xid = { gtrid: request.gtrid, bqual: formatBqual(home.name) }
    this.#id = sql.idOf(this.#xid)
    this.#isolation = request.isolation
    this.gate = new Gate(this)
    this.handle = facade(this)
  }

  get xid(): Xid | undefined {
    return this.#begun === undefined ? undefined : this.#xid
  }

  get enlisted(): boolean {
    return this.gate.enlisted
  }

  checkOut(): PgHandle {
    return facade(this)
  }

  async give(statements: readonly GivenStatement[], when: GiveWhen): Promise<GivenAnswers> {
    checkGiven(statements, 'PostgreSQL', this.participant, this.request.gtrid)
    const given = new Given(statements)
    await this.gate.run(newClient(), undefined, () => {
      this.session()
      this.#given = given
      this.#state = 'given'
      return when === 'now' ? this.#sayNow(given) : undefined
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
    return this.gate.seal(because) ?? death ?? this.observed.refusal()
  }

  probe(): Probed | Promise<Probed> {
    if (this.#given?.isSaid === false) return 'wrote'
    const drained = this.gate.drain()
    if (drained === undefined && this.observed.wrote) return 'wrote'
    return this.#askWhetherItWrote(drained)
  }

  async #askWhetherItWrote(drained: ReturnType<Gate['drain']>): Promise<Probed> {
    const doomed = await drained
    if (doomed !== undefined) return doomed
    if (this.observed.wrote) return 'wrote'
    const answer = await this.#ask(sql.probe(this.#id))
    if (answer.kind !== 'results') return answer.refusal
    this.#xid8 = xid8In(answer.results)
    return saysNoId(answer.results) ? 'read-only' : 'wrote'
  }

  vote(): Promise<Vote> {
    const markerSchema = this.#home.markerSchema()
    this.#state = 'voting'
    const asked = this.#ask(sql.prepare(this.#xid, this.#id, markerSchema))
    return asked.then((answer) => this.#voted(answer, markerSchema !== undefined))
  }

  #voted(answer: Answer, marked: boolean): Vote {
    if (answer.kind === 'lost') return { kind: 'unknown', cause: answer.refusal.cause }
    if (answer.kind === 'refused') return { kind: 'refused', refusal: answer.refusal }
    const tags = sql.voteTags(marked, 'PREPARE')
    if (!sameTags(answer.results, tags)) return { kind: 'refused', refusal: this.#unexpected() }
    this.#state = 'prepared'
    this.#xid8 = xid8In(answer.results) ?? this.#xid8
    return { kind: 'prepared', evidence: this.#evidence(marked) }
  }

  async commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer> {
    const markerSchema = wrote ? this.#home.markerSchema() : undefined
    // Without a marker the transaction id is the only proof, so it must be here before COMMIT goes.
    if (wrote && markerSchema === undefined && this.#xid8 === undefined) {
      const answer = await this.#ask(sql.identify(this.#id))
      if (answer.kind !== 'results') return this.#refuseOnePhase(answer.refusal)
      this.#xid8 = xid8In(answer.results)
    }
    const marked = markerSchema !== undefined
    const texts = marked ? sql.commitOnePhase(this.#xid, this.#id, markerSchema) : [sql.COMMIT]
    const tags = marked ? sql.voteTags(true, 'COMMIT') : ['COMMIT']
    this.#state = 'voting'
    const answer = await this.#ask(texts)
    if (answer.kind === 'refused') return this.#refuseOnePhase(answer.refusal)
    if (answer.kind === 'lost') {
      // A lost answer to a read-only COMMIT leaves nothing in doubt.
      if (!wrote) return this.#refuseOnePhase(answer.refusal)
      return { kind: 'unknown', cause: answer.refusal.cause, evidence: this.#evidence(marked) }
    }
    if (!sameTags(answer.results, tags)) return this.#refuseOnePhase(this.#unexpected())
    // What only read has left nothing that a rollback would miss.
    if (wrote) this.#settled = { kind: 'absent', cause: new Error('committed in one phase') }
    this.#leave('release')
    return { kind: 'committed', marker: marked }
  }

  commit(): Promise<Settlement> {
    return this.#finish('commit')
  }

  async rollback(): Promise<Settlement> {
    if (this.#state === 'ended') return this.#settled
    if (this.#state === 'prepared') return this.#finish('abort')
    if (this.#state === 'voting') this.#lose(new Error('rolled back before the server had voted'))
    if (this.#state === 'uncertain') return this.#rollbackUncertain()
    this.#state = 'ended'
    const session = this.#session
    if (session === undefined) return this.#settled
    if (this.observed.ended) {
      this.#settled = { kind: 'absent', cause: new Error(endedByApplication().reason) }
    }
    // Nothing was prepared: without its client the server can only roll the block back.
    const sound =
      session.opening !== undefined ||
      ((await fallsQuiet(this.#home.clock, this.gate, session, this.#reach)) &&
        (await quietRollback(session)))
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
    return this.request.outside(() => enlist(this.#home, this.#id, boundMs, this))
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

  speak(texts: readonly string[]): Promise<unknown> {
    return speak(this, texts)
  }

  /** The server's default, unless the transaction chose. */
  async isolation(): Promise<IsolationLevel> {
    if (this.#isolation === undefined) {
      const [answer] = await this.session().run('SHOW transaction_isolation')
      this.#isolation = answer?.rows[0]?.['transaction_isolation'] as IsolationLevel
    }
    return this.#isolation
  }

  get #reach(): Reach {
    const backend = this.#begun?.backend
    return backend && ((how) => this.#home.interrupt(backend, how))
  }

  /** A PREPARE whose answer nobody has may still take effect: it is fenced first (T4). */
  async #rollbackUncertain(): Promise<Settlement> {
    const over = await endSession(this.#home.clock, this.#reach)
    if (!over || !(await isGone(this.#home, this.#xid))) {
      return { kind: 'unknown', cause: this.#session?.lost }
    }
    this.#settled = { kind: 'answered' }
    this.#state = 'ended'
    return this.#settled
  }

  /** Sends a packet of ours while nothing of ours is prepared. */
  #ask(texts: readonly string[]): Promise<Answer> {
    const session = this.#session
    if (session === undefined || session.lost !== undefined) {
      this.#state = 'refused'
      return Promise.resolve({ kind: 'refused', refusal: connectionLost(session?.lost) })
    }
    const asked = this.#state
    const given = this.#given
    const said = given?.isSaid === false ? given.say(session, texts) : session.ask(texts.join('; '))
    return said.then(
      (results) =>
        this.#state === asked
          ? { kind: 'results', results }
          : { kind: 'lost', refusal: connectionLost(session.lost) },
      (cause: unknown) => this.#failed(cause, asked),
    )
  }

  /** Without a marker the transaction id is the only proof: here it costs no trip. */
  async #sayNow(given: Given): Promise<void> {
    const identifies = !this.request.readOnly && this.#home.markerSchema() === undefined
    const answer = await this.#ask(identifies ? sql.identify(this.#id) : [])
    const { gtrid } = this.request
    if (answer.kind !== 'results') throw refusedError(this.participant, gtrid, answer.refusal)
    this.#xid8 = xid8In(answer.results)
    this.observed.succeeded(given.answers)
  }

  #failed(cause: unknown, asked: State): Failed {
    if (cause instanceof GivenFailed) {
      if (this.#state === asked && cause.stopped) this.#state = 'refused'
      else if (this.#state === asked) this.#lose(cause)
      return { kind: 'refused', refusal: cause.refusal }
    }
    const error = asPostgresError(cause)
    if (error !== undefined && provesNoEffect(error) && this.#state === asked) {
      this.#state = 'refused'
      if (error.code === NO_TABLE) this.#home.forgetContact()
      return { kind: 'refused', refusal: this.observed.refusalOf(cause) }
    }
    // Only a packet that can prepare or commit leaves doubt behind.
    if (asked === 'voting') this.#lose(cause)
    else this.#session?.destroy(errorOf(cause))
    return { kind: asked === 'voting' ? 'lost' : 'refused', refusal: connectionLost(cause) }
  }

  /** The packet ran to its end, yet not as we wrote it: T8, the tag says that nothing was kept. */
  #unexpected(): Refusal {
    this.#state = 'refused'
    return this.observed.refusal() ?? endedByApplication()
  }

  async #refuseOnePhase(refusal: Refusal): Promise<OnePhaseAnswer> {
    if (this.#state !== 'uncertain') await this.rollback()
    return { kind: 'refused', refusal }
  }

  #finish(decision: Decision): Promise<Settlement> {
    const session = this.#session
    if (session === undefined || this.#state !== 'prepared') return Promise.resolve(NOT_PREPARED)
    this.#state = 'ended'
    this.#settled = NOT_PREPARED
    const here = finishPrepared(session, this.participant, this.#id, decision)
    if (this.#begun?.pooled !== true || !this.#home.leadsPastPooler()) {
      return here.then((settlement) => this.#finished(settlement, false))
    }
    const elsewhere = (): Promise<Settlement> => this.#home.settle(this.#xid, decision)
    const either = finishEitherWay(this.#home.clock, here, elsewhere)
    return either.then(({ settlement, open }) => this.#finished(settlement, open))
  }

  /** @param open - the connection is not known to be free */
  #finished(settlement: Settlement, open: boolean): Settlement {
    this.#settled = settlement
    this.#leave(open || settlement.kind === 'unknown' ? 'destroy' : 'release')
    return settlement
  }

  #evidence(marker: boolean): BranchEvidence {
    const server = this.#begun?.physical.server ?? { server: '', startedAtMs: 0 }
    return { server, marker, ...(this.#xid8 === undefined ? {} : { xid8: this.#xid8 }) }
  }

  broken(cause: unknown): Error {
    if (this.#state === 'ended' || this.#state === 'uncertain') return this.#because()
    this.gate.doom(connectionLost(cause))
    this.#session?.destroy(errorOf(cause))
    return errorOf(cause)
  }

  async begin(): Promise<void> {
    const session = this.session()
    try {
      await session.begin()
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
