/**
 * MySQL or MariaDB as a participant. What concerns live transactions is in branch.ts; everything here
 * runs on the participant's own connection and waits for no transaction of this process.
 */
import {
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  type Capabilities,
  type Clock,
  type Decision,
  messageOf,
  type Participant,
  type ParticipantContext,
  type PreparedBranch,
  type Proof,
  type Settlement,
  UnanimousError,
  type Xid,
} from '../../src/adapter.ts'
import { Lane } from '../dialect/lane.ts'
import * as sql from '../dialect/mysql.ts'
import { asMysqlError, isTransient, RMERR, UNKNOWN_VARIABLE } from '../dialect/mysql-errors.ts'
import { MysqlBranch } from './branch.ts'
import { type OwnConnection, ownConnections } from './connections.ts'
import {
  type MysqlHandle,
  type MysqlOwnConnection,
  type MysqlPromisePool,
  poolConfig,
} from './driver-types.ts'
import type { MysqlHome, Physical } from './enlist.ts'
import type { Session } from './pool.ts'
import { identityIn, isListed, list, prove, proveOnePhase } from './prove.ts'
import { settleFrom } from './settle.ts'

export interface MysqlSettings {
  readonly markerSchema: string | undefined
  readonly answerMs: number
  readonly proxy: boolean
  readonly connect: (() => Promise<MysqlOwnConnection>) | undefined
}

const COLLECT_AT_ONCE = 500

export class MysqlParticipant implements Participant<MysqlHandle>, MysqlHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: MysqlPromisePool
  readonly answerMs: number
  readonly #context: ParticipantContext
  readonly #settings: MysqlSettings
  readonly #lane: Lane<OwnConnection>
  readonly #physical = new WeakMap<object, Physical>()
  #contact: Promise<Capabilities> | undefined
  #flavour: sql.Flavour = 'MySQL'
  #markerSchema: string | undefined

  constructor(pool: MysqlPromisePool, settings: MysqlSettings, context: ParticipantContext) {
    this.name = context.name
    this.clock = context.clock
    this.pool = pool
    this.answerMs = settings.answerMs
    this.#context = context
    this.#settings = settings
    const driver = ownConnections(pool, settings.connect)
    this.#lane = new Lane(context.name, context.clock, settings.answerMs, driver)
  }

  contact(): Promise<Capabilities> {
    if (this.#contact === undefined) {
      const attempt = this.#ask((own) => this.#meet(own))
      this.#contact = attempt
      attempt.catch(() => {
        if (this.#contact === attempt) this.#contact = undefined
      })
    }
    return this.#contact
  }

  forgetContact(): void {
    this.#contact = undefined
  }

  markerSchema(): string | undefined {
    return this.#markerSchema
  }

  async identify(session: Session): Promise<Physical> {
    const core = session.connection.connection
    const known = this.#physical.get(core)
    if (known !== undefined) return known
    const rows = await session.run(sql.identity(this.#flavour))
    const threadId = this.#threadIdIn(rows[0]?.['thread_id'], core.threadId)
    const physical = { server: identityIn(rows), threadId }
    this.#physical.set(core, physical)
    return physical
  }

  branch(request: BranchRequest): Branch<MysqlHandle> {
    return new MysqlBranch(this, request)
  }

  isTransient(cause: unknown): boolean {
    return isTransient(asMysqlError(cause))
  }

  async list(): Promise<readonly PreparedBranch[]> {
    await this.contact()
    return this.#ask((own) => list(own, this.#flavour))
  }

  async settle(xid: Xid, decision: Decision): Promise<Settlement> {
    let sent = false
    try {
      await this.contact()
      return await this.#lane.use((own) => {
        sent = true
        const runner = {
          run: (text: string) => own.run(text),
          listed: async (one: Xid) => isListed(await list(own, this.#flavour), one),
          threadId: async () => Number((await own.run(sql.SERVER))[0]?.['thread_id']),
        }
        return settleFrom(runner, this, xid, decision)
      })
    } catch (cause) {
      return { kind: sent ? 'unknown' : 'later', cause }
    }
  }

  prove(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own) => prove(own, this.#flavour, xid, evidence, this.#markerSchema))
  }

  proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.#prove((own) =>
      proveOnePhase(own, this.#flavour, xid, evidence, this.#markerSchema),
    )
  }

  async collectMarkers(gtrids: readonly string[]): Promise<void> {
    await this.contact()
    const schema = this.#markerSchema
    if (schema === undefined) return
    for (let at = 0; at < gtrids.length; at += COLLECT_AT_ONCE) {
      const some = gtrids.slice(at, at + COLLECT_AT_ONCE)
      await this.#ask((own) => own.run(sql.deleteMarkers(some, schema)))
    }
  }

  async listMarkers(gtridPrefix: string, limit: number): Promise<readonly string[]> {
    await this.contact()
    const schema = this.#markerSchema
    if (schema === undefined) return []
    const rows = await this.#ask((own) => own.run(sql.listMarkers(gtridPrefix, limit, schema)))
    return rows.map((row) => String(row['gtrid']))
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
    await this.#lane.close()
  }

  async #meet(own: OwnConnection): Promise<Capabilities> {
    const [server] = await own.run(sql.SERVER)
    const version = String(server?.['version'])
    const flavour = sql.flavourOf(version)
    const name = `${flavour} ${version.split('-')[0]}`
    if (sql.isTooOld(flavour, version)) {
      throw this.#unfit(`${name} is older than MySQL 8.0 and MariaDB 10.5`)
    }
    this.#flavour = flavour
    this.#threadIdIn(server?.['thread_id'], own.connection.connection.threadId)
    if (flavour === 'MariaDB') this.#refuseReset()
    else await this.#checkMysql(own)
    const database = server?.['db']
    const schema =
      this.#settings.markerSchema ?? (typeof database === 'string' ? database : undefined)
    this.#markerSchema = (await this.#hasMarkers(own, schema)) ? schema : undefined
    return { server: name, markers: this.#markerSchema !== undefined }
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

  /** A reset of a prepared branch's connection makes MariaDB answer OK to a commit it never does. */
  #refuseReset(): void {
    if (poolConfig(this.pool).resetOnRelease !== true) return
    throw this.#unfit('the pool resets its connections', 'createPool({ resetOnRelease: false })')
  }

  async #checkMysql(own: OwnConnection): Promise<void> {
    try {
      const [row] = await own.run(sql.DETACHES)
      if (Number(row?.['detaches']) === 0) this.#warnOfAttached()
    } catch (cause) {
      if (asMysqlError(cause)?.errno !== UNKNOWN_VARIABLE) throw cause
      this.#warnOfAttached()
    }
    const others = await list(own, 'MySQL')
    const strange = others.find((one) => !one.id.endsWith(',1'))
    if (strange === undefined) return
    this.#context.warn({
      code: 'FOREIGN_FORMAT_ID',
      message: `${this.name}: prepared branch ${strange.id} has another formatID than 1`,
      hint: 'a restart may lose prepared branches: let every XA user of this server use formatID 1',
    })
  }

  #warnOfAttached(): void {
    this.#context.warn({
      code: 'XA_ATTACHED',
      message: `${this.name}: a prepared branch stays attached to its session`,
      hint: 'SET PERSIST xa_detach_on_prepare = ON',
    })
  }

  async #hasMarkers(own: OwnConnection, schema: string | undefined): Promise<boolean> {
    if (schema === undefined) return false
    const [table] = await own.run(sql.markerState(schema))
    if (table === undefined) return false
    if (String(table['engine']).toLowerCase() === 'innodb') return true
    const name = `${schema}.unanimous_branch`
    throw this.#unfit(`${name} is not transactional`, `ALTER TABLE ${name} ENGINE = InnoDB`)
  }

  async #prove(work: (own: OwnConnection) => Promise<Proof>): Promise<Proof> {
    try {
      await this.contact()
      return await this.#lane.use(work)
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
