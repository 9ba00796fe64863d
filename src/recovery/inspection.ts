/** What an inspection answers: every unsettled transaction with the evidence and the advice. */
import type { UnanimousError } from '../errors.ts'
import type { LogOwner, LogPlace, OperatorNote } from '../log/decision-log.ts'
import type { SeenHold, SeenWait } from '../participant/participant.ts'
import type { BranchAnswer } from '../protocol/vocabulary.ts'

/** What may be done about a branch; recovery does the first three, and a person reads the others. */
export type Action = 'commit' | 'roll back' | 'prove' | 'leave' | 'report'

export interface Advice {
  readonly action: Action
  /** One factual line, lower case, no full stop. */
  readonly why: string
}

/** What the branch's own database says of it now. */
export type SeenState =
  | 'prepared'
  /** Its participant answered, and lists no such branch. */
  | 'not listed'
  | 'unreachable'
  | 'not configured'
  /** Left out by the caller. */
  | 'not asked'

export interface InspectedBranch {
  readonly participant: string
  readonly bqual: string
  readonly state: SeenState
  /** The server's own spelling of the id, while it is listed. */
  readonly id?: string
  /** When the server prepared it, in ms since the epoch, where the server tells. */
  readonly preparedAtMs?: number
  readonly owner?: string
  /** How it ended: what the log holds of it, or a marker row that proves a commit nobody decided. */
  readonly answer?: BranchAnswer | 'heuristic-commit'
  /** When the log was told of that end, in ms since the epoch. */
  readonly answeredAtMs?: number
  /** What it keeps from others; known after {@link addHolds}, where the server tells. */
  readonly holds?: SeenHold
  readonly advice: Advice
}

/**
 *  - `unsettled`: recovery, or a person, has something to do
 *  - `live`: a running coordinator works on it, and has not had it for long
 *  - `heuristic`: a branch ended against the decision, or may have
 *  - `settled`: every branch has answered; only the log's record of it remains
 */
export type InspectedState = 'unsettled' | 'live' | 'heuristic' | 'settled'

export interface InspectedTransaction {
  readonly gtrid: string
  readonly name?: string
  /** JSON text. */
  readonly meta?: string
  readonly state: InspectedState
  /** `none`: no commit record, which means abort unless the transaction is live. */
  readonly decision: 'commit' | 'none'
  readonly decidedAtMs?: number
  /** Where the commit record lies. */
  readonly place?: LogPlace
  /** The decision, else the first prepare that a server dates, in ms since the epoch. */
  readonly sinceMs?: number
  readonly branches: readonly InspectedBranch[]
  readonly advice: Advice
}

/** What there is to know of a transaction before its evidence is put together. */
export interface Outline {
  readonly gtrid: string
  readonly state: InspectedState
  /** As {@link InspectedTransaction.sinceMs}. */
  readonly sinceMs: number | undefined
}

export interface InspectedParticipant {
  readonly name: string
  /** `PostgreSQL 15.18`; unknown when it could not be asked. */
  readonly server?: string
  readonly markers?: boolean
  /** Prepared branches that it lists, everybody's. */
  readonly prepared?: number
  /** Sessions that wait for some prepared branch, where the server does not tell for which. */
  readonly waiting?: readonly SeenWait[]
  /** Why it could not be asked: PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT. */
  readonly trouble?: UnanimousError
}

/**
 *  - `orphan`: of another log, or of an incarnation that the log no longer keeps
 *  - `foreign`: not spelled by this library
 *  - `unconfigured`: ours, of a participant that the configuration lacks
 *  - `copy`: proves that this log is a copy of another one
 */
export type ApartKind = 'orphan' | 'foreign' | 'unconfigured' | 'copy'

/** A prepared branch that no decision of this log can speak for: listed, and never touched. */
export interface ApartBranch {
  readonly participant: string
  readonly id: string
  readonly kind: ApartKind
  readonly why: string
  readonly preparedAtMs?: number | undefined
  readonly owner?: string | undefined
}

export interface Inspection {
  /** When the look ended, in ms since the epoch. */
  readonly atMs: number
  readonly logId: string
  /** The process that held the log during the look. */
  readonly owner: LogOwner | undefined
  readonly participants: readonly InspectedParticipant[]
  /** In the order in which they began. */
  readonly transactions: readonly InspectedTransaction[]
  readonly apart: readonly ApartBranch[]
  /** What operators did, oldest first, as far as the log keeps it. */
  readonly operators: readonly OperatorNote[]
}
