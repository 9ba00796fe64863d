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
  Settlement,
} from '../protocol/vocabulary.ts'
import type { Xid } from '../xid.ts'
import type { Branch, BranchRequest } from './branch.ts'

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

/** What an adapter's factory answers. `Handle` is the type that the application works with. */
export interface ParticipantDefinition<Handle = unknown> {
  /** Makes the participant. Connects to nothing yet. */
  create(context: ParticipantContext): Participant<Handle>
}

/** What was learned of a server at first contact. */
export interface Capabilities {
  /** For people: `PostgreSQL 15.18`, `MariaDB 10.11.19`, `MySQL 9.7.4`. */
  readonly server: string
  /** Whether the table `unanimous_branch` exists: branches then carry a marker row. */
  readonly markers: boolean
}

/** A prepared branch as its server lists it. */
export interface PreparedBranch {
  /** The server's own spelling of the id, for people. */
  readonly id: string
  /** `undefined` when the id is not one of ours. */
  readonly xid?: Xid
  /** When the server prepared it, where the server tells (PostgreSQL), in ms since the epoch. */
  readonly preparedAtMs?: number
  readonly owner?: string
}

export interface Participant<Handle = unknown> {
  readonly name: string

  /**
   * Learns what the server is and whether two-phase commit is safe on it. Cached; concurrent calls
   * share one attempt; a failed attempt is made again at the next call.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE, or PARTICIPANT_UNFIT with the statement that
   * mends it
   */
  contact(): Promise<Capabilities>

  /** Makes a branch that has touched nothing yet. */
  branch(request: BranchRequest): Branch<Handle>

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
   * Carries the decision out on a prepared branch whose own connection is not ours any more.
   * Idempotent. Ends the session that keeps an XA branch attached, when the bqual names it and the
   * branch is still listed. Never throws.
   */
  settle(xid: Xid, decision: Decision): Promise<Settlement>

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

/** Per-participant isolation, or one level for all. */
export type IsolationChoice<Names extends string = string> =
  | IsolationLevel
  | { readonly [N in Names]?: IsolationLevel }
