/** A branch over a simulated connection: the states and answers of the adapters' branches. */
import {
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  type GivenAnswers,
  type GivenStatement,
  type GiveWhen,
  LATE,
  messageOf,
  type OnePhaseAnswer,
  type Refusal,
  type Seat,
  type ServerIdentity,
  type Settlement,
  TransactionError,
  type Vote,
  within,
  type Xid,
} from '../../src/adapter.ts'
import type { Connection } from './link.ts'
import type { SimParticipant } from './participant.ts'
import { ServerError } from './server.ts'

export interface WorkPlan {
  readonly writes: boolean
  /** 0: takes no lock. */
  readonly lockWaitMs: number
  /** The server will refuse to prepare, or to commit. */
  readonly refuses: boolean
}

/** A statement given in advance. */
export interface GivenWork {
  readonly plan: WorkPlan
  /** Told when its branch is given it, before anything can fail. */
  begun(gtrid: string): void
}

export interface SimHandle {
  /** A statement. */
  work(plan: WorkPlan): Promise<void>
}

type State = 'new' | 'active' | 'voting' | 'refused' | 'prepared' | 'uncertain' | 'ended'

const FENCE_MS = 1_000
const NOT_PREPARED: Settlement = { kind: 'unknown', cause: new Error('the branch is not prepared') }

export class SimBranch implements Branch<SimHandle> {
  readonly handle: SimHandle
  readonly #participant: SimParticipant
  readonly #request: BranchRequest
  #state: State = 'new'
  #enlisted = false
  #opening: Promise<void> | undefined
  #connection: Connection | undefined
  #seat: Seat | undefined
  #xid: Xid | undefined
  #server: ServerIdentity | undefined
  #xid8: string | undefined
  #threadId: number | undefined
  #running = 0
  #sealed: (() => Error) | undefined
  #doom: Refusal | undefined
  #wrote = false
  #refuses = false
  #given: readonly WorkPlan[] = []
  #settled: Settlement = { kind: 'answered' }

  constructor(participant: SimParticipant, request: BranchRequest) {
    this.#participant = participant
    this.#request = request
    this.handle = { work: (plan) => this.#work(plan) }
  }

  get participant(): string {
    return this.#participant.name
  }

  get xid(): Xid | undefined {
    return this.#xid
  }

  get enlisted(): boolean {
    return this.#enlisted
  }

  checkOut(): SimHandle {
    return this.handle
  }

  /** @param statements - with a {@link GivenWork} for values */
  async give(statements: readonly GivenStatement[], when: GiveWhen): Promise<GivenAnswers> {
    const work = statements.map(({ values }) => values as GivenWork)
    for (const one of work) one.begun(this.#request.gtrid)
    const plans = work.map(({ plan }) => plan)
    if (when === 'now') {
      for (const plan of plans) await this.#work(plan)
    } else {
      this.#running += 1
      this.#opening ??= this.#open()
      await this.#opening.finally(() => {
        this.#running -= 1
      })
      this.#given = plans
      this.#refuses = plans.some(({ refuses }) => refuses)
    }
    return () => plans
  }

  async endSavepoint(): Promise<void> {}

  seal(because: () => Error): Refusal | undefined {
    this.#sealed ??= because
    if (this.#running > 0) {
      return { code: 'WORK_STILL_RUNNING', reason: 'a statement runs', retryable: false }
    }
    const broken = this.#connection?.broken
    return this.#doom ?? (broken === undefined ? undefined : connectionLost(broken))
  }

  async probe(): Promise<'wrote' | 'read-only' | Refusal> {
    if (this.#doom !== undefined) return this.#doom
    if (this.#given.length > 0) return 'wrote'
    const { server } = this.#participant.home
    if (server.flavour !== 'postgres') return this.#request.readOnly ? 'read-only' : 'wrote'
    if (this.#wrote) return 'wrote'
    try {
      await this.#link().ask('probe', () => undefined)
      return 'read-only'
    } catch (cause) {
      this.#state = 'refused'
      return connectionLost(cause)
    }
  }

  async vote(): Promise<Vote> {
    const { server } = this.#participant.home
    const answer = await this.#ask(`prepare ${this.#request.gtrid}`, (connection, verb) =>
      connection.send<string | undefined>(verb, (session, done, failed) =>
        server.workThen(session, this.#given, failed, () =>
          done(server.prepare(session, this.#refuses)),
        ),
      ),
    )
    if (answer.kind === 'lost') return { kind: 'unknown', cause: answer.cause }
    if (answer.kind === 'refused') return answer
    this.#state = 'prepared'
    this.#xid8 = answer.value
    return { kind: 'prepared', evidence: this.#evidence() }
  }

  async commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer> {
    const { server } = this.#participant.home
    const marker = wrote && server.tables
    // As the adapter: without a marker the transaction id is the only proof.
    if (server.flavour === 'postgres' && wrote && !marker) {
      try {
        this.#xid8 = await this.#link().ask('identify', (session) => session.branch?.xid8)
      } catch (cause) {
        this.#state = 'refused'
        await this.rollback()
        return { kind: 'refused', refusal: connectionLost(cause) }
      }
    }
    const answer = await this.#ask(`commit ${this.#request.gtrid} in one phase`, (link, verb) =>
      link.ask(verb, (session) => server.commitOnePhase(session, wrote, this.#refuses)),
    )
    if (answer.kind === 'lost') {
      if (wrote) return { kind: 'unknown', cause: answer.cause, evidence: this.#evidence() }
      return { kind: 'refused', refusal: connectionLost(answer.cause) }
    }
    if (answer.kind === 'refused') {
      await this.rollback()
      return answer
    }
    if (wrote) this.#settled = { kind: 'absent', cause: new Error('committed in one phase') }
    this.#leave(false)
    return { kind: 'committed', marker }
  }

  commit(): Promise<Settlement> {
    return this.#finish('commit')
  }

  async rollback(): Promise<Settlement> {
    if (this.#state === 'ended') return this.#settled
    if (this.#state === 'prepared') return this.#finish('rollback')
    if (this.#state === 'voting') {
      this.#state = 'uncertain'
      this.#connection?.destroy()
    }
    if (this.#state === 'uncertain') return this.#rollbackUncertain()
    this.#state = 'ended'
    const connection = this.#connection
    if (connection === undefined) return this.#settled
    let sound = !connection.busy
    const { server } = this.#participant.home
    try {
      if (sound) await connection.ask('rollback', (session) => server.rollback(session))
    } catch {
      sound = false
    }
    this.#leave(!sound)
    if (!sound && this.#threadId !== undefined) await this.#participant.fence(this.#threadId)
    return this.#settled
  }

  abandon(): void {
    if (this.#state === 'ended') return
    this.#settled = { kind: 'unknown', cause: new Error('given up while its end is in doubt') }
    this.#leave(true)
  }

  #refuseSealed(): void {
    if (this.#sealed !== undefined) throw this.#sealed()
  }

  async #work(plan: WorkPlan): Promise<void> {
    this.#refuseSealed()
    this.#running += 1
    try {
      this.#opening ??= this.#open()
      await this.#opening
      this.#refuseSealed()
      if (this.#state !== 'active') throw new Error('the branch has ended')
      const { server } = this.#participant.home
      if (plan.writes) this.#wrote = true
      if (plan.refuses) this.#refuses = true
      await this.#link().send<undefined>('work', (session, done, failed) => {
        server.work(session, plan.writes, plan.lockWaitMs, (error) =>
          error === undefined ? done(undefined) : failed(error),
        )
      })
    } catch (cause) {
      // MySQL and MariaDB roll the statement back, and the branch goes on.
      const { flavour } = this.#participant.home.server
      if (cause instanceof ServerError && flavour !== 'postgres') throw cause
      this.#doom ??= refusalOf(cause)
      if (!(cause instanceof ServerError)) this.#connection?.destroy()
      throw cause
    } finally {
      this.#running -= 1
    }
  }

  /** As the adapters' enlist: contact, seat, connection, BEGIN. */
  async #open(): Promise<void> {
    const { clock, server: home } = this.#participant.home
    const { gtrid } = this.#request
    const boundMs = this.#request.enlist()
    this.#enlisted = true
    const until = clock.monotonic() + boundMs
    const fail = (cause: unknown): never => {
      throw new TransactionError('ENLIST_FAILED', `${this.participant}: ${messageOf(cause)}`, {
        outcome: 'rolled-back',
        gtrid,
        cause,
      })
    }
    const met = await within(clock, boundMs, this.#participant.contact()).catch(fail)
    const left = (): number => Math.max(0, until - clock.monotonic())
    const seat =
      met === LATE ? undefined : await this.#request.seat(this.#participant.poolSize, left())
    const taking = seat === undefined ? undefined : this.#participant.take()
    const connection = taking === undefined ? LATE : await within(clock, left(), taking)
    if (connection === LATE) {
      seat?.left()
      taking?.then(
        (late) => this.#participant.giveBack(late),
        () => undefined,
      )
      throw new TransactionError('ACQUIRE_TIMEOUT', `${this.participant}: no connection in time`, {
        outcome: 'rolled-back',
        gtrid,
        retryable: true,
      })
    }
    if (this.#state !== 'new') {
      this.#participant.giveBack(connection)
      seat?.left()
      return fail(new Error('the transaction has ended'))
    }
    seat?.taken()
    this.#seat = seat
    this.#connection = connection
    try {
      const begun = await connection.ask(`begin ${gtrid}`, (session) => ({
        xid: home.begin(session, gtrid),
        server: home.identity,
        threadId: session.id,
      }))
      this.#xid = begun.xid
      this.#server = begun.server
      this.#threadId = begun.threadId
    } catch (cause) {
      connection.destroy()
      return fail(cause)
    }
    if (this.#state === 'new') this.#state = 'active'
  }

  /** Sends what decides. */
  async #ask<T>(
    verb: string,
    send: (connection: Connection, verb: string) => Promise<T>,
  ): Promise<
    | { readonly kind: 'done'; readonly value: T }
    | { readonly kind: 'refused'; readonly refusal: Refusal }
    | { readonly kind: 'lost'; readonly cause: unknown }
  > {
    const connection = this.#connection
    if (connection === undefined || connection.broken !== undefined || this.#xid === undefined) {
      this.#state = 'refused'
      return { kind: 'refused', refusal: connectionLost(connection?.broken) }
    }
    this.#state = 'voting'
    try {
      const value = await send(connection, verb)
      if (this.#state === 'voting') return { kind: 'done', value }
      return { kind: 'lost', cause: connection.broken }
    } catch (cause) {
      if (this.#state === 'voting' && cause instanceof ServerError) {
        this.#state = 'refused'
        return { kind: 'refused', refusal: refusalOf(cause) }
      }
      if (this.#state === 'voting') this.#state = 'uncertain'
      connection.destroy()
      return { kind: 'lost', cause }
    }
  }

  async #finish(verb: 'commit' | 'rollback'): Promise<Settlement> {
    const [connection, xid] = [this.#connection, this.#xid]
    if (connection === undefined || xid === undefined || this.#state !== 'prepared') {
      return NOT_PREPARED
    }
    this.#state = 'ended'
    this.#settled = NOT_PREPARED
    const { server } = this.#participant.home
    try {
      await connection.ask(`${verb} ${xid.gtrid}`, (session) => server.finish(session, xid, verb))
      this.#settled = { kind: 'answered' }
    } catch (cause) {
      this.#settled = { kind: cause instanceof ServerError ? 'absent' : 'unknown', cause }
    }
    this.#leave(this.#settled.kind !== 'answered')
    return this.#settled
  }

  /** As the adapters: a PREPARE whose answer nobody has may still take effect, so it is fenced first. */
  async #rollbackUncertain(): Promise<Settlement> {
    const unknown: Settlement = { kind: 'unknown', cause: this.#connection?.broken }
    const { clock } = this.#participant.home
    this.#leave(true)
    this.#state = 'uncertain'
    if (this.#xid === undefined || this.#threadId === undefined) return unknown
    const fenced = within(clock, FENCE_MS, this.#participant.fence(this.#threadId))
    if ((await fenced) !== true) return unknown
    const settled = await within(clock, FENCE_MS, this.#participant.settle(this.#xid, 'abort'))
    if (settled === LATE || (settled.kind !== 'answered' && settled.kind !== 'absent')) {
      return unknown
    }
    this.#settled = { kind: 'answered' }
    this.#state = 'ended'
    return this.#settled
  }

  #evidence(): BranchEvidence {
    const evidence = {
      server: this.#server ?? { server: '', startedAtMs: 0 },
      marker: this.#participant.home.server.tables,
    }
    return this.#xid8 === undefined ? evidence : { ...evidence, xid8: this.#xid8 }
  }

  #link(): Connection {
    if (this.#connection === undefined) throw new Error('the branch was not begun')
    return this.#connection
  }

  #leave(destroy: boolean): void {
    const connection = this.#connection
    this.#state = 'ended'
    if (connection === undefined) return
    this.#connection = undefined
    if (destroy) connection.destroy()
    this.#participant.giveBack(connection)
    this.#seat?.left()
  }
}

function refusalOf(cause: unknown): Refusal {
  if (!(cause instanceof ServerError)) return connectionLost(cause)
  const retryable = cause.code === 'lock timeout'
  const code = cause.code === 'refused' ? 'PREPARE_REFUSED' : 'STATEMENT_FAILED'
  return { code, reason: cause.message, retryable, cause }
}

function connectionLost(cause: unknown): Refusal {
  const reason = `the connection was lost: ${messageOf(cause)}`
  return { code: 'CONNECTION_LOST', reason, retryable: true, cause }
}
