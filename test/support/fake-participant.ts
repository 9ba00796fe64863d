/**
 * A participant in memory whose every answer a test can choose. It keeps what a server would keep
 * (prepared, committed, rolled back), and records each verb in a list shared by all participants of
 * a test, so that order can be asserted.
 */
import type {
  AmbientBranch,
  Announcement,
  Branch,
  BranchEvidence,
  BranchRequest,
  Capabilities,
  Decision,
  Examination,
  GivenAnswers,
  GivenStatement,
  GiveWhen,
  OnePhaseAnswer,
  Participant,
  ParticipantDefinition,
  PreparedBranch,
  Probed,
  Proof,
  Recorded,
  Refusal,
  SeenMarker,
  SeenSessions,
  Settlement,
  Vote,
  Xid,
} from '../../src/adapter.ts'

export interface FakeHandle {
  /** Enlists the branch. */
  work(): Promise<void>
}

export const SERVER = { server: 'fake', startedAtMs: 1_000 }

/** What a fake does where a test says nothing: the honest thing. */
export interface Script {
  markers?: boolean
  probe?: Probed | Promise<Probed>
  obstacle?: Refusal
  /** What statements given in advance are refused with. */
  refuseGiven?: Error
  /** `lost-prepared`: the server prepared, the answer never came. */
  vote?: 'prepared' | 'lost-prepared' | 'lost' | 'hang' | Refusal
  /** `lost-applied`: the server committed, the answer never came. */
  commit?: 'answered' | 'lost-applied' | 'lost' | 'later' | 'absent' | 'hang'
  /** Phase two waits for it. */
  beforeCommit?: Promise<void>
  onePhase?: 'committed' | 'lost-applied' | 'lost' | Refusal
  rollback?: 'answered' | 'lost' | 'absent'
  /** Verb of recovery; default: as the server's state demands. */
  settle?: 'later' | 'lost'
  proof?: Proof
  /** Which server is there now. */
  server?: string
  unreachable?: boolean
  /** What other sessions run, and whether it is shown. */
  sessions?: Partial<SeenSessions>
}

export class FakeParticipant implements Participant<FakeHandle>, ParticipantDefinition<FakeHandle> {
  name = ''
  readonly script: Script
  readonly trace: string[]
  readonly prepared: Map<string, Xid> = new Map()
  readonly committed: Set<string> = new Set()
  readonly rolledBack: Set<string> = new Set()
  readonly abandoned: Set<string> = new Set()
  readonly collected: string[] = []
  /** What was said of a branch's record when it was to be settled, by gid. */
  readonly told: Map<string, Recorded | undefined> = new Map()
  /** Rows of `unanimous_log`: log id, incarnation, participant. */
  readonly rows: Set<string> = new Set()

  constructor(trace: string[], script: Script = {}) {
    this.trace = trace
    this.script = script
  }

  create(context: { name: string }): Participant<FakeHandle> {
    this.name = context.name
    return this
  }

  contact(): Promise<Capabilities> {
    this.#reach()
    return Promise.resolve({ server: 'Fake 1.0', markers: this.script.markers ?? false })
  }

  async examine(): Promise<Examination> {
    return { ...(await this.contact()), clockSkewMs: 0, settings: {}, findings: [] }
  }

  isTransient(cause: unknown): boolean {
    return cause instanceof Error && cause.message === 'deadlock'
  }

  branch(request: BranchRequest): Branch<FakeHandle> {
    return new FakeBranch(this, request)
  }

  /** Works in the ambient branch; without one, notes it. */
  ambientPool(ambient: AmbientBranch<FakeHandle>): FakeHandle {
    return {
      work: async () => {
        const branch = ambient.current()
        if (branch === undefined) this.trace.push(`${this.name} plain`)
        else await branch.checkOut().work()
      },
    }
  }

  async list(): Promise<readonly PreparedBranch[]> {
    this.#reach()
    this.record('list')
    return [...this.prepared.values()].map((xid) => ({ id: gid(xid), xid }))
  }

  async settle(xid: Xid, decision: Decision, recorded?: Recorded): Promise<Settlement> {
    this.#reach()
    const { server = SERVER.server } = this.script
    if (recorded?.only === true && recorded.server.server !== server) {
      return { kind: 'other-server', cause: new Error(`this is ${server}`) }
    }
    this.told.set(gid(xid), recorded)
    this.record(`settle ${decision}`)
    if (this.script.settle === 'later') return { kind: 'later', cause: new Error('busy') }
    if (this.script.settle === 'lost') return { kind: 'unknown', cause: new Error('lost') }
    if (!this.prepared.has(gid(xid))) return { kind: 'absent', cause: new Error('no such branch') }
    this.finish(xid, decision)
    return { kind: 'answered' }
  }

  async prove(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    this.record('prove')
    if (this.script.proof !== undefined) return this.script.proof
    if (this.prepared.has(gid(xid))) return { kind: 'look-again' }
    if (!evidence.marker) return { kind: 'none', life: 'same' }
    const kind = this.committed.has(gid(xid)) ? 'committed' : 'rolled-back'
    return { kind, by: 'marker' }
  }

  proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof> {
    return this.prove(xid, evidence)
  }

  async collectMarkers(gtrids: readonly string[]): Promise<void> {
    this.collected.push(...gtrids)
  }

  async listMarkers(): Promise<readonly string[]> {
    return []
  }

  async announce(
    logId: string,
    incarnation: string,
    participants: readonly string[],
  ): Promise<boolean> {
    this.#reach()
    if (this.script.markers !== true) return false
    for (const one of participants) this.rows.add([logId, incarnation, one].join(' '))
    return true
  }

  async announced(logId: string): Promise<readonly Announcement[] | undefined> {
    this.#reach()
    if (this.script.markers !== true) return undefined
    this.record('announced')
    return [...this.rows].flatMap((row) => {
      const [id, incarnation = '', participant = ''] = row.split(' ')
      return id === logId ? [{ incarnation, participant }] : []
    })
  }

  async markersOf(gtrids: readonly string[]): Promise<readonly SeenMarker[]> {
    this.#reach()
    this.record('markers')
    if (this.script.markers !== true) return []
    return gtrids.flatMap((gtrid) =>
      this.committed.has(gid({ gtrid, bqual: this.name }))
        ? [{ gtrid, bqual: this.name, state: 'committed' as const }]
        : [],
    )
  }

  async sessions(): Promise<SeenSessions> {
    this.#reach()
    this.record('sessions')
    return { naming: [], hidden: false, user: 'fake', ...this.script.sessions }
  }

  initStatements(): readonly string[] {
    return []
  }

  async init(): Promise<void> {}

  async close(): Promise<void> {}

  record(verb: string): void {
    this.trace.push(`${this.name} ${verb}`)
  }

  finish(xid: Xid, decision: Decision): void {
    this.prepared.delete(gid(xid))
    const ended = decision === 'commit' ? this.committed : this.rolledBack
    ended.add(gid(xid))
  }

  #reach(): void {
    if (this.script.unreachable) throw new Error('unreachable')
  }
}

class FakeBranch implements Branch<FakeHandle> {
  readonly handle: FakeHandle
  readonly #participant: FakeParticipant
  readonly #request: BranchRequest
  #enlisted = false
  #sealed: (() => Error) | undefined

  constructor(participant: FakeParticipant, request: BranchRequest) {
    this.#participant = participant
    this.#request = request
    this.handle = {
      work: async () => {
        if (this.#sealed !== undefined) throw this.#sealed()
        if (!this.#enlisted) this.#request.enlist()
        this.#enlisted = true
      },
    }
  }

  get participant(): string {
    return this.#participant.name
  }

  checkOut(): FakeHandle {
    return this.handle
  }

  async give(statements: readonly GivenStatement[], when: GiveWhen): Promise<GivenAnswers> {
    if (this.#participant.script.refuseGiven !== undefined) {
      throw this.#participant.script.refuseGiven
    }
    await this.handle.work()
    const texts = statements.map(({ text }) => text)
    this.#participant.record(`given ${texts.join(', ')} ${when}`)
    return () => texts.map((text) => `${this.participant} did ${text}`)
  }

  async endSavepoint(name: string, how: 'release' | 'rollback'): Promise<void> {
    this.#participant.trace.push(`${this.participant} ${how} ${name}`)
  }

  get enlisted(): boolean {
    return this.#enlisted
  }

  get xid(): Xid | undefined {
    return this.#enlisted ? { gtrid: this.#request.gtrid, bqual: this.participant } : undefined
  }

  get #id(): Xid {
    return { gtrid: this.#request.gtrid, bqual: this.participant }
  }

  get #evidence(): BranchEvidence {
    return { server: SERVER, marker: this.#participant.script.markers ?? false }
  }

  seal(because: () => Error): Refusal | undefined {
    this.#sealed ??= because
    return this.#participant.script.obstacle
  }

  probe(): Probed | Promise<Probed> {
    return this.#participant.script.probe ?? 'wrote'
  }

  async vote(): Promise<Vote> {
    const choice = this.#participant.script.vote ?? 'prepared'
    this.#participant.record('vote')
    if (typeof choice === 'object') return { kind: 'refused', refusal: choice }
    if (choice === 'prepared' || choice === 'lost-prepared') {
      this.#participant.prepared.set(gid(this.#id), this.#id)
    }
    if (choice === 'hang') return new Promise(() => undefined)
    if (choice !== 'prepared') return { kind: 'unknown', cause: new Error('connection lost') }
    return { kind: 'prepared', evidence: this.#evidence }
  }

  async commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer> {
    this.#participant.record(wrote ? 'one-phase' : 'end')
    const choice = this.#participant.script.onePhase ?? 'committed'
    if (typeof choice === 'object') return { kind: 'refused', refusal: choice }
    if (choice !== 'lost' && wrote) this.#participant.committed.add(gid(this.#id))
    if (choice === 'committed') return { kind: 'committed', marker: this.#evidence.marker }
    return { kind: 'unknown', cause: new Error('connection lost'), evidence: this.#evidence }
  }

  async commit(): Promise<Settlement> {
    this.#participant.record('commit')
    if (this.#participant.script.beforeCommit) await this.#participant.script.beforeCommit
    const choice = this.#participant.script.commit ?? 'answered'
    if (choice === 'hang') return new Promise(() => undefined)
    if (choice === 'answered' || choice === 'lost-applied') {
      this.#participant.finish(this.#id, 'commit')
    }
    if (choice === 'answered') return { kind: 'answered' }
    if (choice === 'absent') {
      this.#participant.prepared.delete(gid(this.#id))
      return { kind: 'absent', cause: new Error('no such branch') }
    }
    const kind = choice === 'later' ? 'later' : 'unknown'
    return { kind, cause: new Error(choice) }
  }

  async rollback(): Promise<Settlement> {
    this.#participant.record('rollback')
    if (this.#participant.script.rollback === 'lost') {
      return { kind: 'unknown', cause: new Error('connection lost') }
    }
    if (this.#participant.script.rollback === 'absent') {
      return { kind: 'absent', cause: new Error('no such branch') }
    }
    this.#participant.finish(this.#id, 'abort')
    return { kind: 'answered' }
  }

  abandon(): void {
    this.#participant.record('abandon')
    this.#participant.abandoned.add(this.#request.gtrid)
  }
}

export function gid(xid: Xid): string {
  return `${xid.gtrid}:${xid.bqual}`
}
