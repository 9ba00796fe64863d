/**
 * PostgreSQL as a participant. What concerns live transactions is in branch.ts; everything here runs
 * on the participant's own connection and waits for no transaction of this process.
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
  type ServerIdentity,
  type Settlement,
  UnanimousError,
  type Xid,
} from '../../src/adapter.ts'
import { Lane } from '../dialect/lane.ts'
import * as sql from '../dialect/postgres.ts'
import { asPostgresError, isTransient } from '../dialect/postgres-errors.ts'
import { PgBranch } from './branch.ts'
import { type OwnConnection, ownConnections } from './connections.ts'
import type { PgHandle, PgOwnClient, PgPool } from './driver-types.ts'
import type { PgHome } from './enlist.ts'
import type { Session } from './pool.ts'
import { identityIn, prove, proveOnePhase } from './prove.ts'
import { finishPrepared } from './settle.ts'

export interface PgSettings {
  readonly markerSchema: string
  readonly answerMs: number
  readonly connect: (() => Promise<PgOwnClient>) | undefined
}

const COLLECT_AT_ONCE = 500
/** `pg_current_xact_id` and `pg_xact_status(xid8)` are of PostgreSQL 13. */
const OLDEST = 130_000

export class PgParticipant implements Participant<PgHandle>, PgHome {
  readonly name: string
  readonly clock: Clock
  readonly pool: PgPool
  readonly answerMs: number
  readonly #context: ParticipantContext
  readonly #settings: PgSettings
  readonly #lane: Lane<OwnConnection>
  readonly #identities = new WeakMap<object, ServerIdentity>()
  readonly #ignorePoolError = (): void => undefined
  #contact: Promise<Capabilities> | undefined
  #markers = false

  constructor(pool: PgPool, settings: PgSettings, context: ParticipantContext) {
    this.name = context.name
    this.clock = context.clock
    this.pool = pool
    this.answerMs = settings.answerMs
    this.#context = context
    this.#settings = settings
    const driver = ownConnections(pool, settings.connect)
    this.#lane = new Lane(context.name, context.clock, settings.answerMs, driver)
    // An idle client of the pool that dies must not end the process.
    pool.on('error', this.#ignorePoolError)
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
    return this.#markers ? this.#settings.markerSchema : undefined
  }

  async identify(session: Session): Promise<ServerIdentity> {
    const known = this.#identities.get(session.client)
    if (known !== undefined) return known
    const [result] = await session.run(sql.IDENTITY)
    const identity = identityIn(result?.rows[0])
    this.#identities.set(session.client, identity)
    return identity
  }

  branch(request: BranchRequest): Branch<PgHandle> {
    return new PgBranch(this, request)
  }

  isTransient(cause: unknown): boolean {
    return isTransient(asPostgresError(cause))
  }

  async list(): Promise<readonly PreparedBranch[]> {
    const rows = await this.#ask((own) => own.rows(sql.LIST))
    return rows.map((row) =>
      sql.preparedBranch(row['gid'] ?? '', row['owner'] ?? '', row['prepared_at'] ?? ''),
    )
  }

  async settle(xid: Xid, decision: Decision): Promise<Settlement> {
    const [text, tag] =
      decision === 'commit'
        ? [sql.commitPrepared(xid), 'COMMIT']
        : [sql.rollbackPrepared(xid), 'ROLLBACK']
    let sent = false
    try {
      return await this.#lane.use(async (own) => {
        sent = true
        const settlement = await finishPrepared(own, this, text, tag)
        if (settlement.kind === 'unknown') own.alive = false
        return settlement
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

  /** Our own connection is asked, not one of the pool: contact must not take one from the callers. */
  async #meet(own: OwnConnection): Promise<Capabilities> {
    const [server] = await own.rows(sql.SERVER)
    const version = `PostgreSQL ${server?.['version']?.split(' ')[0]}`
    if (Number(server?.['version_num']) < OLDEST) {
      throw this.#unfit(`${version} is older than 13`)
    }
    if (server?.['in_recovery'] === 'true') {
      throw this.#unfit('the server is a standby', 'connect to the primary')
    }
    if (server?.['max_prepared'] === '0') {
      throw this.#unfit(
        'max_prepared_transactions is 0, so nothing can be prepared',
        'ALTER SYSTEM SET max_prepared_transactions = 100, and restart PostgreSQL',
      )
    }
    this.#warnOfPooler(own, server?.['pid'])
    await this.#requireIdentity(own)
    const markers = await this.#findMarkers(own)
    this.#markers = markers
    return { server: version, markers }
  }

  #warnOfPooler(own: OwnConnection, pid: string | null | undefined): void {
    const greeted = own.client.processID
    if (greeted === undefined || greeted === null || String(greeted) === pid) return
    this.#context.warn({
      code: 'POOLER',
      message: `${this.name}: a pooler stands between us and PostgreSQL`,
      hint: 'transaction pooling works; blocked backends cannot be traced to their clients',
    })
  }

  async #requireIdentity(own: OwnConnection): Promise<void> {
    try {
      await own.rows(sql.IDENTITY)
    } catch (cause) {
      const error = asPostgresError(cause)
      if (error === undefined) throw cause
      throw this.#unfit(
        `the server's identity cannot be read: ${error.message}`,
        'GRANT EXECUTE ON FUNCTION pg_control_system, pg_walfile_name(pg_lsn), pg_current_wal_lsn TO the role',
        cause,
      )
    }
  }

  async #findMarkers(own: OwnConnection): Promise<boolean> {
    const [table] = await own.rows(sql.markerState(this.#settings.markerSchema))
    if (table === undefined) return false
    const missing = table['missing']
    if (missing === null || missing === undefined) return true
    const name = `${this.#settings.markerSchema}.unanimous_branch`
    throw this.#unfit(
      `${missing} on ${name} is not granted`,
      `GRANT ${missing} ON ${name} TO the role`,
    )
  }

  async #prove(
    work: (own: OwnConnection, schema: string | undefined) => Promise<Proof>,
  ): Promise<Proof> {
    try {
      await this.contact()
      return await this.#lane.use((own) => work(own, this.markerSchema()))
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
      if (error !== undefined) throw this.#unfit(error.message, undefined, cause)
      throw new UnanimousError('PARTICIPANT_UNREACHABLE', `${this.name}: ${messageOf(cause)}`, {
        cause,
      })
    }
  }

  #unfit(what: string, hint?: string, cause?: unknown): UnanimousError {
    return new UnanimousError('PARTICIPANT_UNFIT', `${this.name}: ${what}`, { hint, cause })
  }
}
