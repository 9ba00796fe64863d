/**
 * A participant over simulated connections: what the adapters do, without SQL. Where it says "as the
 * adapters" the order of questions is theirs (settle, prove and branch of each), for the
 * order is what recovery stands on.
 */
import {
  type AmbientBranch,
  type Announcement,
  type Branch,
  type BranchEvidence,
  type BranchRequest,
  type Capabilities,
  type Clock,
  type Decision,
  type Examination,
  messageOf,
  type Participant,
  type ParticipantDefinition,
  type PreparedBranch,
  type Proof,
  parseBqual,
  type SeenMarker,
  type SeenSessions,
  type ServerIdentity,
  type ServerLife,
  type Settlement,
  sleep,
  UnanimousError,
  type Xid,
} from '../../src/adapter.ts'
import { SimBranch, type SimHandle } from './branch.ts'
import { Connection, Lost, type Network } from './link.ts'
import { keyOf, ServerError, type Session, type SimServer } from './server.ts'
import type { Owner } from './world.ts'

export interface Home {
  readonly network: Network
  readonly server: SimServer
  readonly owner: Owner
  readonly clock: Clock
}

const POOL_SIZE = 3
const SETTLE_TRIES = 6
const PATIENCE = 3
const PAUSE_MS = 25
const IS_OVER = (): void => undefined

export class SimParticipant implements Participant<SimHandle>, ParticipantDefinition<SimHandle> {
  name = ''
  readonly home: Home
  readonly connections = new Set<Connection>()
  #own: Connection | undefined
  #lane: Promise<unknown> = Promise.resolve()
  #contact: Promise<Capabilities> | undefined
  readonly #idle: Connection[] = []
  #taken = 0
  readonly #forget = (connection: Connection): void => {
    this.connections.delete(connection)
  }
  readonly #waiting: (() => void)[] = []

  constructor(home: Home) {
    this.home = home
  }

  create({ name }: { readonly name: string }): Participant<SimHandle> {
    this.name = name
    return this
  }

  contact(): Promise<Capabilities> {
    const attempt =
      this.#contact ??
      this.ask('contact', () => ({
        server: `${this.home.server.flavour} simulated`,
        markers: this.home.server.tables,
      }))
    this.#contact = attempt
    attempt.catch(() => {
      if (this.#contact === attempt) this.#contact = undefined
    })
    return attempt
  }

  async examine(): Promise<Examination> {
    return { ...(await this.contact()), clockSkewMs: 0, settings: {}, findings: [] }
  }

  isTransient(cause: unknown): boolean {
    return cause instanceof ServerError && cause.code === 'lock timeout'
  }

  branch(request: BranchRequest): Branch<SimHandle> {
    return new SimBranch(this, request)
  }

  ambientPool(ambient: AmbientBranch<SimHandle>): SimHandle {
    return {
      work: async (plan) => {
        await ambient.current()?.checkOut().work(plan)
      },
    }
  }

  list(): Promise<readonly PreparedBranch[]> {
    return this.ask('list', () => this.home.server.list())
  }

  async settle(xid: Xid, decision: Decision): Promise<Settlement> {
    const { server, clock } = this.home
    const verb = decision === 'commit' ? 'commit' : 'rollback'
    try {
      for (let tries = 1; tries <= SETTLE_TRIES; tries += 1) {
        try {
          await this.ask(`${verb} ${keyOf(xid)}`, (session) => server.finish(session, xid, verb))
          return { kind: 'answered' }
        } catch (cause) {
          if (!(cause instanceof ServerError)) throw cause
          if (server.flavour === 'postgres') return { kind: 'absent', cause }
          // 1397: unknown to the server, or attached to a session. Only the list tells.
          const listed = await this.ask('is listed', () => server.prepared.has(keyOf(xid)))
          if (!listed) return { kind: 'absent', cause }
        }
        const { threadId } = parseBqual(xid.bqual)
        if (tries === PATIENCE && threadId !== undefined) await this.#kill(threadId)
        await sleep(clock, PAUSE_MS)
      }
      return { kind: 'later', cause: new Error('attached to a session') }
    } catch (cause) {
      return { kind: 'unknown', cause }
    }
  }

  /** As the adapters: the list, then the marker, then the transaction id, then the server's life. */
  async prove(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    const { server } = this.home
    try {
      if (await this.ask('is listed', () => server.prepared.has(keyOf(xid)))) {
        return { kind: 'look-again' }
      }
      const marked = evidence.marker && server.tables
      const marker = marked
        ? await this.ask('marker', () => server.markers.get(keyOf(xid)))
        : undefined
      if (marker === 'committed') return { kind: 'committed', by: 'marker' }
      const byId = await this.#byTransactionId(evidence)
      if (byId !== undefined) return byId
      const life = lifeOf(await this.ask('identity', () => server.identity), evidence.server)
      if (!marked || life === 'other-server') return { kind: 'none', life }
      return { kind: 'rolled-back', by: 'marker' }
    } catch (cause) {
      return { kind: 'look-again', cause }
    }
  }

  async proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    const { server } = this.home
    try {
      const byId = await this.#byTransactionId(evidence)
      if (byId !== undefined) return byId
      const life = lifeOf(await this.ask('identity', () => server.identity), evidence.server)
      if (!evidence.marker || !server.tables || life === 'other-server') {
        return { kind: 'none', life }
      }
      const fenced = await this.ask(`fence ${keyOf(xid)}`, () => server.fence(xid))
      if (fenced === 'committed') return { kind: 'committed', by: 'marker' }
      return { kind: 'rolled-back', by: 'marker' }
    } catch (cause) {
      return { kind: 'look-again', cause }
    }
  }

  async collectMarkers(gtrids: readonly string[]): Promise<void> {
    const gone = new Set(gtrids)
    await this.ask('collect markers', () => {
      for (const key of this.home.server.markers.keys()) {
        if (gone.has(key.slice(0, key.indexOf(':')))) this.home.server.markers.delete(key)
      }
    })
  }

  /** As the adapters: a fenced row stays for ever, or a delayed COMMIT would find its key free. */
  listMarkers(gtridPrefix: string, limit: number): Promise<readonly string[]> {
    return this.ask('list markers', () =>
      [...this.home.server.markers]
        .flatMap(([key, state]) => (state === 'committed' ? [key.slice(0, key.indexOf(':'))] : []))
        .filter((gtrid) => gtrid.startsWith(gtridPrefix))
        .slice(0, limit),
    )
  }

  announce(logId: string, incarnation: string, participants: readonly string[]): Promise<boolean> {
    const { server } = this.home
    return this.ask('announce', (session) => {
      session.statement = `announce ${logId}`
      if (!server.tables) return false
      for (const one of participants) server.announcements.add(`${logId} ${incarnation} ${one}`)
      return true
    })
  }

  announced(logId: string): Promise<readonly Announcement[] | undefined> {
    const { server } = this.home
    return this.ask('announced', () => {
      if (!server.tables) return undefined
      return [...server.announcements].flatMap((row) => {
        const [id, incarnation = '', participant = ''] = row.split(' ')
        return id === logId ? [{ incarnation, participant }] : []
      })
    })
  }

  markersOf(gtrids: readonly string[]): Promise<readonly SeenMarker[]> {
    return this.ask('markers of', () =>
      [...this.home.server.markers].flatMap(([key, state]) => {
        const [gtrid = '', bqual = ''] = key.split(':')
        const seen = state === 'committed' && gtrids.includes(gtrid)
        return seen ? [{ gtrid, bqual, state: 'committed' as const }] : []
      }),
    )
  }

  sessions(naming: string): Promise<SeenSessions> {
    return this.ask('sessions', (own) => ({
      naming: [...this.home.server.sessions]
        .filter((session) => session !== own && session.statement.includes(naming))
        .map(({ id, statement }) => ({ id: String(id), statement })),
      hidden: false,
      user: 'simulated',
    }))
  }

  initStatements(): readonly string[] {
    return []
  }

  async init(): Promise<void> {}

  async close(): Promise<void> {
    this.#own?.destroy()
  }

  /** Ends a branch's session. Answers whether it is certain that it does nothing more. */
  async fence(threadId: number): Promise<boolean> {
    try {
      await this.#kill(threadId)
      return true
    } catch {
      return false
    }
  }

  /** On the participant's own connection, one after the other. */
  ask<T>(verb: string, execute: (session: Session) => T): Promise<T> {
    const mine = this.#lane.then(() => {
      if (this.#own === undefined || this.#own.broken !== undefined) this.#own = this.#connect()
      return this.#own.ask(verb, execute)
    })
    const answered = mine.catch((cause: unknown) => {
      if (!(cause instanceof Lost)) throw cause
      throw new UnanimousError('PARTICIPANT_UNREACHABLE', `${this.name}: ${messageOf(cause)}`, {
        cause,
      })
    })
    this.#lane = mine.then(IS_OVER, IS_OVER)
    return answered
  }

  /** A connection of the pool, or one that comes free. */
  async take(): Promise<Connection> {
    while (this.#taken >= POOL_SIZE) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    this.#taken += 1
    for (;;) {
      const idle = this.#idle.pop()
      if (idle === undefined) return this.#connect()
      // A pool throws away what its server has closed.
      if (idle.broken === undefined && idle.session?.alive === true) return idle
    }
  }

  giveBack(connection: Connection): void {
    this.#taken -= 1
    if (connection.broken === undefined) this.#idle.push(connection)
    this.#waiting.shift()?.()
  }

  get poolSize(): number {
    return POOL_SIZE
  }

  async #kill(threadId: number): Promise<void> {
    const { server } = this.home
    await this.ask(`kill ${threadId}`, (own) => {
      const session = server.sessionOf(threadId)
      if (session !== undefined && session !== own) server.endSession(session)
    })
  }

  #connect(): Connection {
    const { network, server, owner } = this.home
    const connection = new Connection(network, server, owner, this.#forget)
    this.connections.add(connection)
    return connection
  }

  async #byTransactionId(evidence: BranchEvidence): Promise<Proof | undefined> {
    const { server } = this.home
    const { xid8 } = evidence
    if (xid8 === undefined) return undefined
    const { status, now } = await this.ask('transaction status', () => ({
      status: server.statusOf(xid8),
      now: server.identity,
    }))
    if (now.server !== evidence.server.server) return undefined
    if (status === 'in progress') return { kind: 'look-again' }
    const kind = status === 'committed' ? 'committed' : 'rolled-back'
    return { kind, by: 'transaction id' }
  }
}

function lifeOf(now: ServerIdentity, recorded: ServerIdentity): ServerLife {
  if (now.server !== recorded.server) return 'other-server'
  return now.startedAtMs === recorded.startedAtMs ? 'same' : 'restarted'
}
