/**
 * MySQL or MariaDB as a participant. What concerns live transactions is in branch.ts; everything here
 * runs on the participant's own connection and waits for no transaction of this process.
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
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, isTransient, RMERR } from '../dialect/mysql-errors.ts'
import type { MysqlAllow } from '../dialect/mysql-findings.ts'
import { byHand } from '../dialect/mysql-xids.ts'
import { Patience } from '../dialect/patience.ts'
import { ambientPool } from './ambient.ts'
import { MysqlBranch } from './branch.ts'
import { type OwnConnection, ownConnections } from './connections.ts'
import { Departures, MOOT } from './departures.ts'
import {
  type MysqlHandle,
  type MysqlOwnConnection,
  type MysqlPool,
  type MysqlPromisePool,
  poolConfig,
  promisePool,
} from './driver-types.ts'
import type { MysqlHome, Physical } from './enlist.ts'
import { holds } from './holds.ts'
import { interrupt, isDone } from './interrupt.ts'
import { Kept } from './kept.ts'
import { glanceAtMysql, lookAtMysql, type MysqlLearned } from './look.ts'
import { giveBack, type Session } from './pool.ts'
import { identify, identityIn, isListed, lifeOf, list, prove, proveOnePhase } from './prove.ts'
import { type Settler, type Step, settleFrom, type Who, whoIs } from './settle.ts'
import { announce, announced, deleteMarkers, markersOf, naming, sessions } from './witness.ts'

export interface MysqlSettings {
  readonly markerSchema: string | undefined
  readonly answerMs: number
  readonly lockTimeoutMs: number
  readonly proxy: boolean
  readonly connect: (() => Promise<MysqlOwnConnection>) | undefined
  readonly allow: readonly MysqlAllow[]
}

const COLLECT_AT_ONCE = 500

export class MysqlParticipant<P extends MysqlPool = MysqlPool>
  implements Participant<MysqlHandle, P>, MysqlHome
{
  readonly name: string
  readonly clock: Clock
  readonly pool: MysqlPromisePool
  readonly poolSize: number
  readonly answerMs: number
  readonly lockTimeoutMs: number
  readonly patience: Patience
  readonly kept: Kept
  readonly #given: P
  readonly #settings: MysqlSettings
  readonly #lane: Lane<OwnConnection>
  readonly #contact: Contact<OwnConnection, MysqlLearned>
  readonly #physical = new WeakMap<object, Physical>()
  readonly #departures: Departures

  constructor(given: P, settings: MysqlSettings, context: ParticipantContext) {
    const pool = promisePool(given)
    this.#given = given
    this.name = context.name
    this.clock = context.clock
    this.pool = pool
    this.answerMs = settings.answerMs
    this.lockTimeoutMs = settings.lockTimeoutMs
    this.patience = new Patience(context.clock, settings.answerMs)
    this.kept = new Kept(pool, giveBack)
    this.#departures = new Departures(context.clock)
    // 0: as many as are asked for.
    this.poolSize = poolConfig(this.pool).connectionLimit || Number.POSITIVE_INFINITY
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
    return this.#contact.known?.markerSchema
  }

  known({ connection }: Session): Physical | undefined {
    return this.#settings.proxy ? undefined : this.#physical.get(connection)
  }

  async identify(session: Session): Promise<Physical> {
    const core = session.connection
    const { flavour } = await this.#contact.learn()
    const rows = await session.ask(sql.identity(flavour))
    const server = identityIn(rows)
    await this.#contact.confirm(server)
    const threadId = this.#threadIdIn(rows[0]?.['thread_id'], core.threadId)
    const waits = {
      rowS: Number(rows[0]?.['row_wait']),
      tableS: Number(rows[0]?.['table_wait']),
    }
    const limitS = Math.ceil(this.lockTimeoutMs / 1_000)
    const limit = limitS === 0 ? undefined : sql.limitWaits(waits, limitS)
    const physical = { server, threadId, limit, flavour, heardMs: this.clock.monotonic() }
    this.#physical.set(core, physical)
    return physical
  }

  interrupt(physical: Physical, how: 'cancel' | 'terminate'): Promise<Interrupted> {
    return this.#lane.use(async (own) => {
      const { identity } = await this.#contact.on(own)
      return interrupt(own, identity, physical, how)
    })
  }

  async isDone(physical: Physical): Promise<boolean> {
    // Behind a proxy nothing could be seen: no turn on the lane for that.
    if (physical.threadId === undefined) return false
    return this.#lane.use(async (own) => {
      const { identity } = await this.#contact.on(own)
      return isDone(own, identity, physical)
    })
  }

  branch(request: BranchRequest): Branch<MysqlHandle> {
    return new MysqlBranch(this, request)
  }

  ambientPool(ambient: AmbientBranch<MysqlHandle>): P {
    return ambientPool(this.#given, ambient)
  }

  isTransient(cause: unknown): boolean {
    return isTransient(asMysqlError(cause))
  }

  list(): Promise<readonly PreparedBranch[]> {
    return this.#ask(async (own) => {
      // A new connection may lead to another server, or to another life of it.
      const { flavour } = await this.#contact.on(own)
      const listed = await list(own, flavour)
      this.#departures.renew(listed.flatMap(({ xid }) => xid?.bqual ?? []))
      return listed
    })
  }

  async glance(): Promise<Glance> {
    const { markerSchema } = this.#settings
    const { flavour, ...seen } = await this.#ask((own) => glanceAtMysql(own, markerSchema))
    return { ...seen, list: () => this.#ask((own) => list(own, flavour)) }
  }

  async settle(xid: Xid, decision: Decision, recorded?: Recorded): Promise<Settlement> {
    let sent = false
    this.#departures.expect(xid.bqual)
    const reach = (attempt: (own: Settler, who: Who) => Promise<Step>): Promise<Step> =>
      this.#lane.use(async (own) => {
        const { flavour, identity, markerSchema } = await this.#contact.on(own)
        // Behind a proxy a connection may lead elsewhere by now.
        const here = recorded?.only === true ? await identify(own, flavour) : identity
        const life = here && recorded && lifeOf(here, recorded.server)
        if (recorded?.only === true && life === 'other-server') return OTHER_SERVER
        sent = true
        return attempt(this.#settler(own, flavour, markerSchema !== undefined), whoIs(life))
      })
    try {
      return await settleFrom(reach, this, xid, decision)
    } catch (cause) {
      return { kind: sent ? 'unknown' : 'later', cause }
    }
  }

  prove(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own, { flavour, markerSchema }) =>
      prove(own, flavour, xid, evidence, markerSchema),
    )
  }

  proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own, { flavour, markerSchema }) =>
      proveOnePhase(own, flavour, xid, evidence, markerSchema),
    )
  }

  async collectMarkers(gtrids: readonly string[]): Promise<void> {
    await this.contact()
    const schema = this.markerSchema()
    if (schema === undefined) return
    for (let at = 0; at < gtrids.length; at += COLLECT_AT_ONCE) {
      const some = gtrids.slice(at, at + COLLECT_AT_ONCE)
      await this.#ask((own) => deleteMarkers(own, some, schema))
    }
  }

  async listMarkers(gtridPrefix: string, limit: number): Promise<readonly string[]> {
    await this.contact()
    const schema = this.markerSchema()
    if (schema === undefined) return []
    const rows = await this.#ask((own) => own.run(sql.listMarkers(gtridPrefix, limit, schema)))
    return rows.map((row) => String(row['gtrid']))
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

  holds(): Promise<readonly SeenHold[]> {
    return this.#ask((own) => holds(own))
  }

  byHand({ id }: Pick<PreparedBranch, 'id'>): ByHand {
    return byHand(id)
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
    this.kept.close()
    await this.#lane.close()
  }

  #look(own: OwnConnection): Promise<MysqlLearned> {
    const { markerSchema, proxy, allow } = this.#settings
    const pool = poolConfig(this.pool)
    return lookAtMysql(own, { clock: this.clock, pool, markerSchema, proxy, allow })
  }

  #settler(own: OwnConnection, flavour: sql.Flavour, provable: boolean): Settler {
    // Where nothing can be told of a session, nor proven without it, its answer stands.
    const isMoot = (threadId: number | undefined): boolean =>
      flavour === 'MySQL' || (threadId === undefined && !provable)
    return {
      run: (text) => own.run(text),
      listed: async (xid) => isListed(await list(own, flavour), xid),
      named: async ({ gtrid }) => (await naming(own, gtrid)).length > 0,
      threadId: async () => Number((await own.run(sql.SERVER))[0]?.['thread_id']),
      presence: async (threadId) => (isMoot(threadId) ? MOOT : this.#departures.of(own, threadId)),
    }
  }

  /** A proxy's greeting carries an id that is not the session's: KILL would hit somebody else. */
  #threadIdIn(asked: unknown, greeted: number | null): number | undefined {
    if (this.#settings.proxy) return undefined
    const threadId = Number(asked)
    if (threadId === greeted) return threadId
    throw this.#unfit(
      `a proxy stands between us and the server (connection ${greeted} is ${threadId})`,
      'mysql(pool, { proxy: true }) takes part without ever ending a session',
    )
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

  async #prove(work: (own: OwnConnection, known: MysqlLearned) => Promise<Proof>): Promise<Proof> {
    try {
      await this.contact()
      return await this.#lane.use(async (own) => work(own, await this.#contact.on(own)))
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
      const error = asMysqlError(cause)
      if (error === undefined) {
        throw new UnanimousError('PARTICIPANT_UNREACHABLE', `${this.name}: ${messageOf(cause)}`, {
          cause,
        })
      }
      const grant = 'GRANT XA_RECOVER_ADMIN ON *.* TO the user'
      throw this.#unfit(error.message, error.errno === RMERR ? grant : undefined, cause)
    }
  }

  #unfit(what: string, hint?: string, cause?: unknown): UnanimousError {
    return new UnanimousError('PARTICIPANT_UNFIT', `${this.name}: ${what}`, { hint, cause })
  }
}
