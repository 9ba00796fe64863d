/**
 * Participant: one database behind an adapter.
 *
 * An adapter's factory (`postgres(pool)`) answers a {@link ParticipantDefinition}; the coordinator
 * gives it its name. Listing, settling and proving run on connections of their own that application
 * code cannot take (rule 9). They never wait for a transaction of this process.
 */
import type { Clock } from '../clock.ts'
import type {
  BranchEvidence,
  Decision,
  IsolationLevel,
  Proof,
  ServerIdentity,
  Settlement,
} from '../protocol/vocabulary.ts'
import type { Xid } from '../xid.ts'
import type { AmbientBranch, Branch, BranchRequest } from './branch.ts'

/** What a participant is told when it is made. */
export interface ParticipantContext {
  readonly name: string
  readonly clock: Clock
  /** Something an operator should read once: code, one line, the statement that mends it. */
  warn(warning: ParticipantWarning): void
}

export interface ParticipantWarning {
  readonly code: string
  readonly message: string
  readonly hint?: string
}

/**
 * What an adapter's factory answers. `Handle` is the type that the application works with in a
 * transaction, `Pool` that of the pool which it gave.
 */
export interface ParticipantDefinition<Handle = unknown, Pool = unknown, Answer = unknown> {
  /** What a statement given in advance answers. For the compiler alone. */
  readonly answers?: Answer
  /** Makes the participant. Connects to nothing yet. */
  create(context: ParticipantContext): Participant<Handle, Pool>
}

/** What was learned of a server at first contact. */
export interface Capabilities {
  /** For people: `PostgreSQL 15.18`, `MariaDB 10.11.19`, `MySQL 9.7.4`. */
  readonly server: string
  /** Whether the table `unanimous_branch` exists: branches then carry a marker row. */
  readonly markers: boolean
}

/**
 * - `unfit`: two-phase commit is not safe, or not possible: the participant is refused
 * - `allowed`: would be `unfit`, and the configuration takes it by name
 * - `unwise`: safe, and worth a change
 * - `unread`: could not be looked at
 */
export type Severity = 'unfit' | 'allowed' | 'unwise' | 'unread'

/** What two-phase commit would trip over, in a server, a pool or between them. */
export interface Finding {
  /** Stable: match on it. */
  readonly code: string
  readonly severity: Severity
  /** One factual line. */
  readonly message: string
  /** What mends it: statements for the server, parted by `; `, or an option. */
  readonly mend: string
  /** The mend takes effect when the server starts again. */
  readonly restart?: true
}

/** Everything that can be learned of a participant without changing it. */
export interface Examination extends Capabilities {
  /** The server's clock less ours, in ms; exact to one round trip. */
  readonly clockSkewMs: number
  /** Settings that bear on two-phase commit, as the server spells them; `null` when hidden from us. */
  readonly settings: Readonly<Record<string, string | null>>
  readonly findings: readonly Finding[]
}

/** A prepared branch as its server lists it. */
export interface PreparedBranch {
  /** The server's own spelling of the id, for people. */
  readonly id: string
  /** `undefined` when the id is not one of ours. */
  readonly xid?: Xid | undefined
  /** When the server prepared it, where the server tells (PostgreSQL), in ms since the epoch. */
  readonly preparedAtMs?: number
  readonly owner?: string
}

/** What a server is, and a way to its prepared branches on the connection that said so. */
export interface Glance extends Capabilities {
  /**
   * As {@link Participant.list}.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT (a missing grant)
   */
  list(): Promise<readonly PreparedBranch[]>
}

/** A session that waits for a lock. */
export interface SeenWait {
  /** The server's own id of it: what `pg_terminate_backend` or `KILL` takes. */
  readonly session: string
  readonly user?: string
  readonly waitingMs?: number
}

/** What a prepared branch keeps from others, as far as its server tells. */
export interface SeenHold {
  /** As {@link PreparedBranch.id}. `undefined`: of some prepared branch, and nobody can tell which. */
  readonly id: string | undefined
  readonly locks?: number
  readonly tables?: readonly string[]
  /** Rows that it has changed. */
  readonly rows?: number
  /** Sessions that wait for it. */
  readonly waiting: readonly SeenWait[]
}

/** What a person types on the server to end a prepared branch. */
export interface ByHand {
  readonly commit: string
  readonly rollBack: string
}

/** A row of `unanimous_log`: a branch of this incarnation may be in this participant. */
export interface Announcement {
  /** As a gtrid spells it. */
  readonly incarnation: string
  readonly participant: string
}

/** What is on record of where a branch was prepared. */
export interface Recorded {
  /** In which life of which server: the session that an XA bqual names was there, and then. */
  readonly server: ServerIdentity
  /** Does nothing on any other server, whichever life of it is there; read on the connection that is used. */
  readonly only: boolean
}

/** A row of `unanimous_branch`. */
export interface SeenMarker {
  readonly gtrid: string
  readonly bqual: string
  /** `open`: it is there, and its branch has not committed so far. Only where a server shows that. */
  readonly state: 'committed' | 'open'
  /** `open` (XA): the session that prepared the branch, while it is connected: it may commit next. */
  readonly session?: string
}

/** Who else talks to the server. */
export interface SeenSessions {
  /**
   * Sessions that run a statement with the text in it, and those whose next statement may have it:
   * an idle one that has voted, where the server shows it.
   */
  readonly naming: readonly { readonly id: string; readonly statement: string }[]
  /** The server withholds from us what some sessions run. */
  readonly hidden: boolean
  /** Who we are, as the server names the owner of a branch; we always see our own sessions. */
  readonly user: string
}

export interface Participant<Handle = unknown, Pool = unknown> {
  readonly name: string

  /**
   * Learns what the server is and whether two-phase commit is safe on it. Cached until the server
   * is another one or has another start; concurrent calls share one attempt; a failed attempt is
   * made again at the next call. What is unwise is warned of, once.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE, or PARTICIPANT_UNFIT with the statement that
   * mends it
   */
  contact(): Promise<Capabilities>

  /**
   * Looks again, at everything, for a person. What is wrong with the server is part of the answer.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE
   */
  examine(): Promise<Examination>

  /** Makes a branch that has touched nothing yet. */
  branch(request: BranchRequest): Branch<Handle>

  /**
   * A drop-in for the user's pool. While there is an ambient branch, every call belongs to it; while
   * there is none, the call goes to the plain pool as it is.
   */
  ambientPool(ambient: AmbientBranch<Handle>): Pool

  /** Whether the driver's error is of a kind that may not come again: a deadlock, a serialization failure… */
  isTransient(cause: unknown): boolean

  /**
   * Every prepared branch that this participant could settle: its database (PostgreSQL), its server
   * (XA). Ours and others'.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT (a missing grant)
   */
  list(): Promise<readonly PreparedBranch[]>

  /**
   * For a person who wants a list at once: as contact and list, in fewer trips, and nothing is judged,
   * warned of or kept. Absent where contact and list are as quick.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE
   */
  glance?(): Promise<Glance>

  /**
   * Carries the decision out on a prepared branch whose own connection is not ours any more, and of which
   * no live transaction will touch anything. Idempotent. Ends the session that keeps an XA branch
   * attached, when the bqual names it and the branch is still listed. Never throws.
   *
   * @param recorded - what its record says; `undefined` for a branch without one
   */
  settle(xid: Xid, decision: Decision, recorded?: Recorded): Promise<Settlement>

  /**
   * How a branch that voted `prepared` ended, by PROOF.md §3: lists first, then reads the marker in
   * a new snapshot, then the transaction id while identity and timeline are those recorded. Never
   * throws.
   */
  prove(xid: Xid, evidence: BranchEvidence): Promise<Proof>

  /**
   * How a branch that was committed in one phase ended, when its answer was lost: by the fence on
   * its marker row, or by its transaction id. Never throws.
   */
  proveOnePhase(xid: Xid, evidence: BranchEvidence): Promise<Proof>

  /**
   * Deletes marker rows. Called only after every branch of these transactions answered, durably.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE
   */
  collectMarkers(gtrids: readonly string[]): Promise<void>

  /**
   * Markers whose gtrid begins with the prefix, at most `limit`.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE
   */
  listMarkers(gtridPrefix: string, limit: number): Promise<readonly string[]>

  /**
   * Names participants of an incarnation in `unanimous_log`, on the participant's own connection.
   * Resolves once the rows are durable; rows that are there already stay. `false`, and nothing is
   * written, where one of the two tables is missing.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  announce(logId: string, incarnation: string, participants: readonly string[]): Promise<boolean>

  /**
   * Every row of `unanimous_log` of a log; `undefined` where one of the two tables is missing.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  announced(logId: string): Promise<readonly Announcement[] | undefined>

  /**
   * The markers of these transactions, read in a new snapshot and waiting for no branch. A fence is
   * no marker.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  markersOf(gtrids: readonly string[]): Promise<readonly SeenMarker[]>

  /**
   * Sessions of the server, less our own, whose statements contain the text.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  sessions(naming: string): Promise<SeenSessions>

  /**
   * What these prepared branches hold, and who waits for them: for a person, and no decision is based
   * on it. Empty where the server does not tell; absent where it never does.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  holds?(branches: readonly PreparedBranch[]): Promise<readonly SeenHold[]>

  /** The statements that would end a prepared branch of whatever origin. They are never run. */
  byHand?(branch: Pick<PreparedBranch, 'id'>): ByHand

  /** The statements that create the tables of `unanimous init`, for a DBA to read or run. */
  initStatements(): readonly string[]

  /**
   * Runs {@link initStatements}. Idempotent.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT (missing privilege)
   */
  init(): Promise<void>

  /** Ends the participant's own connections. The user's pool stays open. */
  close(): Promise<void>
}

/** The handle type behind a definition. */
export type HandleOf<D> = D extends ParticipantDefinition<infer Handle> ? Handle : never

/** The pool type behind a definition. */
export type PoolOf<D> = D extends ParticipantDefinition<unknown, infer Pool> ? Pool : never

/** What a statement answers behind a definition. */
export type AnswerOf<D> =
  D extends ParticipantDefinition<unknown, unknown, infer Answer> ? Answer : never

/** Per-participant isolation, or one level for all. */
export type IsolationChoice<Names extends string = string> =
  | IsolationLevel
  | { readonly [N in Names]?: IsolationLevel }
