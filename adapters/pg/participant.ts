/**
 * PostgreSQL as a participant. What concerns live transactions is in branch.ts; everything here runs
 * on the participant's own connection and waits for no transaction of this process.
 */
import {
  type AmbientBranch,
  type Announcement,
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  type ByHand,
  type Capabilities,
  type Clock,
  type Decision,
  type Examination,
  type Glance,
  messageOf,
  type Participant,
  type ParticipantContext,
  type PreparedBranch,
  type Proof,
  type Recorded,
  type SeenHold,
  type SeenMarker,
  type SeenSessions,
  type Settlement,
  UnanimousError,
  type Xid,
} from '../../src/adapter.ts'
import { Contact, OTHER_SERVER } from '../dialect/contact.ts'
import type { Interrupted } from '../dialect/interrupt.ts'
import { Lane } from '../dialect/lane.ts'
import { Patience } from '../dialect/patience.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, isTransient } from '../dialect/postgres-errors.ts'
import type { PostgresAllow } from '../dialect/postgres-findings.ts'
import { ambientPool } from './ambient.ts'
import { PgBranch } from './branch.ts'
import { type OwnConnection, ownConnections } from './connections.ts'
import type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'
import type { Backend, PgHome, Physical } from './enlist.ts'
import { holds } from './holds.ts'
import { interrupt, isDone, physicalIn } from './interrupt.ts'
import { glanceAtPostgres, lookAtPostgres, type PgLearned } from './look.ts'
import type { Session } from './pool.ts'
import { lifeOf, list, prove, proveOnePhase, readIdentity } from './prove.ts'
import { settleFrom } from './settle.ts'
import { announce, announced, markersOf, sessions } from './witness.ts'

export interface PgSettings {
  readonly markerSchema: string
  readonly answerMs: number
  readonly lockTimeoutMs: number
  readonly connect: (() => Promise<PgOwnClient>) | undefined
  readonly allow: readonly PostgresAllow[]
}

const COLLECT_AT_ONCE = 500
/** What a `pg.Pool` opens when it is not told. */
const POOL_SIZE = 10

export class PgParticipant<P extends PgPool = PgPool> implements Participant<PgHandle, P>, PgHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: P
  readonly poolSize: number
  readonly answerMs: number
  readonly lockTimeoutMs: number
  readonly patience: Patience
  readonly #settings: PgSettings
  readonly #lane: Lane<OwnConnection>
  readonly #contact: Contact<OwnConnection, PgLearned>
  readonly #identities = new WeakMap<object, Physical>()
  readonly #ignorePoolError = (): void => undefined

  constructor(pool: P, settings: PgSettings, context: ParticipantContext) {
    this.name = context.name
    this.clock = context.clock
    this.pool = pool
    this.answerMs = settings.answerMs
    this.lockTimeoutMs = settings.lockTimeoutMs
    this.patience = new Patience(context.clock, settings.answerMs)
    const { max } = pool.options as { readonly max?: number }
    this.poolSize = max ?? POOL_SIZE
    this.#settings = settings
    const driver = ownConnections(pool, settings.connect)
    this.#lane = new Lane(context.name, context.clock, settings.answerMs, driver)
    this.#contact = new Contact({
      participant: context.name,
      lane: this.#lane,
      ask: (work) => this.#ask(work),
      look: (own) => this.#look(own),
      isSameLife: (one, other) => lifeOf(one, other) === 'same',
      warn: (warning) => context.warn(warning),
    })
    // An idle client of the pool that dies must not end the process.
    pool.on('error', this.#ignorePoolError)
  }

  contact(): Promise<Capabilities> {
    return this.#contact.fit()
  }

  get isFit(): boolean {
    return this.#contact.isFit
  }

  examine(): Promise<Examination> {
    return this.#contact.examine()
  }

  forgetContact(): void {
    this.#contact.forget()
  }

  markerSchema(): string | undefined {
    return this.#contact.known?.markers === true ? this.#settings.markerSchema : undefined
  }

  /** Behind a pooler a connection outlives the server that it was on, so each branch asks. */
  known({ client }: Session): Physical | undefined {
    const known = this.#identities.get(client)
    return known?.backend === undefined ? undefined : known
  }

  async identify(session: Session): Promise<Physical> {
    const [result] = await session.ask(sql.SESSION)
    const physical = physicalIn(result?.rows[0], session, this.clock.monotonic())
    await this.#contact.confirm(physical.server)
    this.#identities.set(session.client, physical)
    return physical
  }

  leadsPastPooler(): boolean {
    return this.#contact.known?.pooler === false
  }

  interrupt(backend: Backend, how: 'cancel' | 'terminate'): Promise<Interrupted> {
    return this.#lane.use((own) => interrupt(own, backend, how))
  }

  isDone(backend: Backend): Promise<boolean> {
    return this.#lane.use((own) => isDone(own, backend))
  }

  branch(request: BranchRequest): Branch<PgHandle> {
    return new PgBranch(this, request)
  }

  ambientPool(ambient: AmbientBranch<PgHandle>): P {
    return ambientPool(this.pool, ambient)
  }

  isTransient(cause: unknown): boolean {
    return isTransient(asPostgresError(cause))
  }

  list(): Promise<readonly PreparedBranch[]> {
    return this.#ask(async (own) => {
      // A new connection may lead to another server, or to another life of it.
      await this.#contact.on(own)
      return list(own)
    })
  }

  async glance(): Promise<Glance> {
    const seen = await this.#ask((own) => glanceAtPostgres(own, this.#settings.markerSchema))
    return { ...seen, list: () => this.#ask(list) }
  }

  async settle(xid: Xid, decision: Decision, recorded?: Recorded): Promise<Settlement> {
    let sent = false
    try {
      return await this.#lane.use(async (own) => {
        if (recorded?.only === true) {
          const life = lifeOf(await readIdentity(own), recorded.server)
          if (life === 'other-server') return OTHER_SERVER
        }
        sent = true
        return settleFrom(own, this, xid, decision)
      })
    } catch (cause) {
      return { kind: sent ? 'unknown' : 'later', cause }
    }
  }

  prove(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own, schema) => prove(own, xid, evidence, schema))
  }

  proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own, schema) => proveOnePhase(own, xid, evidence, schema))
  }

  async collectMarkers(gtrids: readonly string[]): Promise<void> {
    if (gtrids.length === 0 || !(await this.contact()).markers) return
    for (let at = 0; at < gtrids.length; at += COLLECT_AT_ONCE) {
      const some = gtrids.slice(at, at + COLLECT_AT_ONCE)
      await this.#ask((own) => own.run(sql.deleteMarkers(some, this.#settings.markerSchema)))
    }
  }

  async listMarkers(gtridPrefix: string, limit: number): Promise<readonly string[]> {
    if (!(await this.contact()).markers) return []
    const text = sql.listMarkers(gtridPrefix, limit, this.#settings.markerSchema)
    const rows = await this.#ask((own) => own.rows(text))
    return rows.map((row) => row['gtrid'] ?? '')
  }

  announce(logId: string, incarnation: string, participants: readonly string[]): Promise<boolean> {
    return this.#testify(false, (own, schema) =>
      announce(own, sql.announce(logId, incarnation, participants, schema)),
    )
  }

  announced(logId: string): Promise<readonly Announcement[] | undefined> {
    return this.#testify<readonly Announcement[] | undefined>(undefined, (own, schema) =>
      announced(own, logId, schema),
    )
  }

  async markersOf(gtrids: readonly string[]): Promise<readonly SeenMarker[]> {
    const seen: SeenMarker[] = []
    for (let at = 0; at < gtrids.length; at += COLLECT_AT_ONCE) {
      const some = gtrids.slice(at, at + COLLECT_AT_ONCE)
      seen.push(
        ...(await this.#testify<readonly SeenMarker[]>([], (own, schema) =>
          markersOf(own, some, schema),
        )),
      )
    }
    return seen
  }

  sessions(naming: string): Promise<SeenSessions> {
    return this.#ask((own) => sessions(own, naming))
  }

  holds(branches: readonly PreparedBranch[]): Promise<readonly SeenHold[]> {
    return this.#ask((own) => holds(own, branches))
  }

  byHand({ id }: Pick<PreparedBranch, 'id'>): ByHand {
    return sql.byHand(id)
  }

  initStatements(): readonly string[] {
    return sql.createMarkers(this.#settings.markerSchema)
  }

  async init(): Promise<void> {
    for (const statement of this.initStatements()) {
      await this.#ask((own) => own.run(statement))
    }
    this.forgetContact()
  }

  async close(): Promise<void> {
    this.pool.removeListener('error', this.#ignorePoolError)
    await this.#lane.close()
  }

  #look(own: OwnConnection): Promise<PgLearned> {
    const { markerSchema, allow } = this.#settings
    return lookAtPostgres(own, {
      clock: this.clock,
      poolSize: this.poolSize,
      markerSchema,
      allow,
    })
  }

  /** Asks the tables of `unanimous init`; without them `absent` is the answer. */
  async #testify<T>(
    absent: T,
    work: (own: OwnConnection, schema: string) => Promise<T>,
  ): Promise<T> {
    await this.contact()
    return this.#ask(async (own) => {
      await this.#contact.on(own)
      const schema = this.markerSchema()
      return schema === undefined ? absent : work(own, schema)
    })
  }

  async #prove(
    work: (own: OwnConnection, schema: string | undefined) => Promise<Proof>,
  ): Promise<Proof> {
    try {
      await this.contact()
      return await this.#lane.use(async (own) => {
        await this.#contact.on(own)
        return work(own, this.markerSchema())
      })
    } catch (cause) {
      return { kind: 'look-again', cause }
    }
  }

  /** @throws UnanimousError PARTICIPANT_UNREACHABLE, or PARTICIPANT_UNFIT for the server's own refusal */
  async #ask<T>(work: (own: OwnConnection) => Promise<T>): Promise<T> {
    try {
      return await this.#lane.use(work)
    } catch (cause) {
      if (cause instanceof UnanimousError) throw cause
      const error = asPostgresError(cause)
      if (error !== undefined) {
        throw new UnanimousError('PARTICIPANT_UNFIT', `${this.name}: ${error.message}`, { cause })
      }
      throw new UnanimousError('PARTICIPANT_UNREACHABLE', `${this.name}: ${messageOf(cause)}`, {
        cause,
      })
    }
  }
}
