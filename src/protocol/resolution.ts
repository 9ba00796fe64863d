/**
 * What recovery does with each prepared branch of one participant, and with each logged commit
 * that the participant does not list. Pure: the observations come in, the plan goes out.
 *
 * The observations must have been made in this order (rule 5): prepared branches, then live
 * transactions, then decisions. Then a branch that was listed, whose transaction is not live and
 * has no commit record, can never be committed: a transaction becomes live before its first
 * prepare and stops being live only after its record is durable or impossible. In any other order a
 * transaction that decides between two looks would be taken for an abandoned one.
 *
 * The other way round, a logged commit that was already pending and not live *before* the list was
 * taken, and is not in the list, has ended on its server, one way or the other.
 */
import type { Incarnation, Xid } from '../xid.ts'
import { parseGtrid, participantIn } from '../xid.ts'
import type { BranchAnswer, BranchRecord } from './vocabulary.ts'

/** A logged commit, as far as the plan needs it. */
export interface LoggedCommit {
  readonly record: { readonly gtrid: string; readonly branches: readonly BranchRecord[] }
  readonly answers: ReadonlyMap<string, BranchAnswer>
}

export interface Listed {
  readonly id: string
  readonly xid?: Xid | undefined
}

export interface Observation<L extends Listed = Listed> {
  /** The participant whose list this is, and every configured name. */
  readonly participant: string
  readonly configured: ReadonlySet<string>
  readonly logId: string
  standing(incarnation: Incarnation): 'current' | 'older' | 'forgotten' | 'alien'
  /** Logged commits that were pending, and not live, before the list was taken. */
  readonly settleable: readonly LoggedCommit[]
  /** First. */
  readonly listed: readonly L[]
  /** Second. */
  readonly live: ReadonlySet<string>
  /** Third. */
  decision(gtrid: string): LoggedCommit | undefined
}

export type Resolution<L extends Listed = Listed> =
  /** Logged as commit. */
  | {
      readonly kind: 'commit'
      readonly branch: L
      readonly xid: Xid
      readonly record: BranchRecord
    }
  /** Ours, not live, and no commit record: presumed abort. */
  | { readonly kind: 'rollback'; readonly branch: L; readonly xid: Xid }
  /** Ours, and its transaction is running in this process. */
  | { readonly kind: 'live'; readonly branch: L; readonly xid: Xid }
  /** A branch that no decision of this log can speak for: never touched. */
  | { readonly kind: 'orphan'; readonly branch: L; readonly why: OrphanReason }
  /** Not spelled by this library. */
  | { readonly kind: 'foreign'; readonly branch: L }
  /** Of another participant that shares this database: its own list deals with it. */
  | { readonly kind: 'neighbour'; readonly branch: L; readonly xid: Xid }
  /** Names a participant that the configuration lacks: kept and reported for ever. */
  | { readonly kind: 'unconfigured'; readonly branch: L; readonly xid: Xid }
  /** Proves that this log is a copy: nothing may be decided any more. */
  | { readonly kind: 'copy'; readonly branch: L; readonly xid: Xid }
  /** Its transaction was committed, but the record does not hold this branch. */
  | { readonly kind: 'unrecorded'; readonly branch: L; readonly xid: Xid }
  /** Logged as commit, unanswered, and not in the list: how did it end? */
  | { readonly kind: 'absent'; readonly gtrid: string; readonly record: BranchRecord }

type Absent = Extract<Resolution, { readonly kind: 'absent' }>

export type OrphanReason = 'another log' | 'an incarnation that the log no longer keeps'

/** Plans one pass over one participant. */
export function resolve<L extends Listed>(seen: Observation<L>): Resolution<L>[] {
  return [
    ...seen.listed.map((branch) => resolveListed(seen, branch, branch.xid)),
    ...resolveAbsent(seen),
  ]
}

/** Logged commits of which the participant should list a branch, and does not. */
function resolveAbsent(seen: Observation): Absent[] {
  const plan: Absent[] = []
  if (seen.settleable.length === 0) return plan
  const isListed = indexOf(seen.listed)
  for (const { record, answers } of seen.settleable) {
    for (const branch of record.branches) {
      if (branch.participant !== seen.participant || answers.has(branch.bqual)) continue
      if (isListed(record.gtrid, branch.bqual)) continue
      plan.push({ kind: 'absent', gtrid: record.gtrid, record: branch })
    }
  }
  return plan
}

/**
 * What a branch is that the participant lists.
 *
 * @param xid - that of the branch, which may be spelled whenever it is asked for
 */
export function resolveListed<L extends Listed>(
  seen: Observation<L>,
  branch: L,
  xid: Xid | undefined,
): Exclude<Resolution<L>, Absent> {
  const gtrid = xid === undefined ? undefined : parseGtrid(xid.gtrid)
  if (xid === undefined || gtrid === undefined) return { kind: 'foreign', branch }
  if (gtrid.logId !== seen.logId) return { kind: 'orphan', branch, why: 'another log' }
  const standing = seen.standing(gtrid.incarnation)
  if (standing === 'alien') return { kind: 'copy', branch, xid }
  // A copy that was taken over forgets its incarnations, and keeps what they had committed.
  if (standing === 'forgotten' && seen.decision(xid.gtrid) === undefined) {
    return { kind: 'orphan', branch, why: 'an incarnation that the log no longer keeps' }
  }
  const participant = participantIn(xid.bqual)
  if (participant !== seen.participant) {
    const kind = seen.configured.has(participant) ? 'neighbour' : 'unconfigured'
    return { kind, branch, xid }
  }
  if (seen.live.has(xid.gtrid)) return { kind: 'live', branch, xid }
  const decision = seen.decision(xid.gtrid)
  if (decision === undefined) return { kind: 'rollback', branch, xid }
  const record = decision.record.branches.find(({ bqual }) => bqual === xid.bqual)
  if (record === undefined) return { kind: 'unrecorded', branch, xid }
  return { kind: 'commit', branch, xid, record }
}

/** There may be tens of thousands, and hardly ever two of one transaction: no text is made for each. */
function indexOf(listed: readonly Listed[]): (gtrid: string, bqual: string) => boolean {
  const first = new Map<string, string>()
  const others: Xid[] = []
  for (const { xid } of listed) {
    if (xid === undefined) continue
    if (first.has(xid.gtrid)) others.push(xid)
    else first.set(xid.gtrid, xid.bqual)
  }
  return (gtrid, bqual) =>
    first.get(gtrid) === bqual || others.some((xid) => xid.gtrid === gtrid && xid.bqual === bqual)
}
