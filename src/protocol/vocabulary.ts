/**
 * The words of the protocol, as types. One word each, everywhere: in code, docs, errors and CLI.
 *
 *   coordinator         us: runs the protocol, owns the log
 *   participant         one database behind an adapter
 *   global transaction  the whole, named by its gtrid
 *   branch              the part of it in one participant, named by gtrid and bqual
 *   vote                a branch's answer in phase one
 *   decision            commit or abort, made durable once; its durable record is the commit point
 *   force               write and fsync
 *   settle              carry the decision out on a branch and learn how it ended
 *   outcome             what happened to the data
 *   unsettled           prepared, whatever is known of the decision
 *   in doubt            unsettled, and the decision is not known here
 *   presumed abort      no commit record means abort
 *   heuristic           a branch ended against or without the decision
 *
 * Abort is the decision; rollback is the verb sent to a database. Recover lists and settles
 * branches; replay reads our own log.
 */

/** Made once for a global transaction. Absence of a commit decision means abort. */
export type Decision = 'commit' | 'abort'

/** What happened to the data of a global transaction, as far as is known. */
export type Outcome = 'committed' | 'rolled-back' | 'in-doubt' | 'heuristic'

/** Isolation of a branch in its own database; there is none across databases. */
export type IsolationLevel =
  | 'read uncommitted'
  | 'read committed'
  | 'repeatable read'
  | 'serializable'

/** Which server, and which life of it, worked on a branch. */
export interface ServerIdentity {
  /** PostgreSQL: system identifier. MySQL: @@server_uuid. MariaDB: uid, host name and datadir. */
  readonly server: string
  /**
   * When this life of the server began, by its own clock, in milliseconds since the epoch. No two lives
   * of a server have the same.
   */
  readonly startedAtMs: number
  /** PostgreSQL: the timeline as eight hexadecimal digits. */
  readonly timeline?: string
}

/** What must be remembered about a branch to learn, after a crash, how it ended. */
export interface BranchEvidence {
  readonly server: ServerIdentity
  /** PostgreSQL: the branch's own full transaction id, for `pg_xact_status`. */
  readonly xid8?: string
  /** Whether the branch carries a row in `unanimous_branch`. */
  readonly marker: boolean
}

/** A branch of a logged commit decision. */
export interface BranchRecord extends BranchEvidence {
  readonly participant: string
  readonly bqual: string
}

/** A branch's answer in phase one. */
export type Vote =
  | { readonly kind: 'prepared'; readonly evidence: BranchEvidence }
  /** Proven: nothing is prepared, and nothing of the branch has been or will be committed. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The answer was lost: the branch may be prepared, now or later. */
  | { readonly kind: 'unknown'; readonly cause: unknown }

/** Why a branch cannot be committed. */
export interface Refusal {
  readonly code: RefusalCode
  /** One factual line, lower case, no full stop. */
  readonly reason: string
  /** The same work may succeed when it is run again. */
  readonly retryable: boolean
  readonly hint?: string
  readonly cause?: unknown
}

export type RefusalCode =
  /** The server refused to prepare or to commit: a deferred constraint, a serialization failure… */
  | 'PREPARE_REFUSED'
  /** The server cannot prepare what was done: temporary tables, LISTEN, exported snapshots… */
  | 'NOT_PREPARABLE'
  /** A statement failed in a way that leaves nothing to commit, and the callback went on. */
  | 'STATEMENT_FAILED'
  /** The application ended the branch by itself; what it did before may be committed. */
  | 'ENDED_BY_APPLICATION'
  /** Statements were still running when the callback returned. */
  | 'WORK_STILL_RUNNING'
  | 'CONNECTION_LOST'

/** How a branch without a prepare answered its COMMIT. */
export type OnePhaseAnswer =
  /** `marker`: a marker row was committed with it, and may be collected. */
  | { readonly kind: 'committed'; readonly marker: boolean }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The answer was lost; the evidence, where there is any, may still tell. */
  | { readonly kind: 'unknown'; readonly cause: unknown; readonly evidence: BranchEvidence }

/** A server's answer to a decision carried out on a prepared branch. */
export type Settlement =
  /** The server said that it did it. */
  | { readonly kind: 'answered' }
  /** The server does not know the branch (any more). Proves nothing by itself. */
  | { readonly kind: 'absent'; readonly cause: unknown }
  /** Certainly not done yet, and worth another try: busy, attached to a session, no permission. */
  | { readonly kind: 'later'; readonly cause: unknown }
  /** Another server than the one that was named is there: it was told nothing. */
  | { readonly kind: 'other-server'; readonly cause: unknown }
  /** The answer was lost. */
  | { readonly kind: 'unknown'; readonly cause: unknown }

/** How a branch that is absent from its server's list ended. */
export type Proof =
  | { readonly kind: 'committed'; readonly by: 'marker' | 'transaction id' }
  | { readonly kind: 'rolled-back'; readonly by: 'marker' | 'transaction id' }
  /** Listed after all, still in progress, locked, or the server could not be asked. */
  | { readonly kind: 'look-again'; readonly cause?: unknown }
  /** There is no proof; what remains is how the server's life compares with the recorded one. */
  | { readonly kind: 'none'; readonly life: ServerLife }

/** The server that answers now against the one that was recorded. */
export type ServerLife = 'same' | 'restarted' | 'other-server'

/** How a committed branch's story ended, as the log keeps it. */
export type BranchAnswer =
  /** The server confirmed, or proof stands for its answer. */
  | 'committed'
  /** Absent in the server life that prepared it, without proof: taken as committed by the protocol. */
  | 'committed-unproven'
  /** Proven to have ended against the decision. */
  | 'heuristic-rollback'
  /** May have ended against the decision: absent, no proof, and the server was restarted since. */
  | 'heuristic-hazard'
