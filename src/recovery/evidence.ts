/**
 * The evidence of one transaction, put together for a person from what was seen: each branch's state as
 * its database sees it, how it ended as the log holds it, and what recovery would do and why. Pure.
 */
import type { LoggedDecision, LogOwner, LogSnapshot } from '../log/decision-log.ts'
import type { PreparedBranch } from '../participant/participant.ts'
import type { Resolution } from '../protocol/resolution.ts'
import type { BranchRecord } from '../protocol/vocabulary.ts'
import {
  answeredAdvice,
  liveAdvice,
  resolutionAdvice,
  transactionAdvice,
  unseenAdvice,
} from './advice.ts'
import type { HeuristicCommit } from './heuristic-commits.ts'
import type {
  Advice,
  ApartBranch,
  ApartKind,
  InspectedBranch,
  InspectedTransaction,
  Outline,
  SeenState,
} from './inspection.ts'
import type { Look } from './look.ts'

/** What the log and the participants showed, in the order of inspect.ts. */
export interface Sight {
  /** The log before the lists were taken; `undefined` when somebody has opened it since. */
  readonly before: LogSnapshot | undefined
  readonly looks: ReadonlyMap<string, Look>
  readonly after: LogSnapshot
  readonly owner: LogOwner | undefined
  /** Before the lists and after them; `undefined` when it is another process that knows. */
  readonly live:
    | { readonly before: ReadonlySet<string>; readonly after: ReadonlySet<string> }
    | undefined
  readonly atMs: number
}

/** A branch that a participant listed, or should have. */
export interface ResolvedPart {
  readonly participant: string
  readonly resolution: OwnResolution
}

/** Of a branch of this log and of the participant that was asked. */
type OwnResolution = Extract<
  Resolution<PreparedBranch>,
  { readonly kind: 'commit' | 'rollback' | 'live' | 'unrecorded' | 'absent' }
>

export function isOwn(resolution: Resolution<PreparedBranch>): resolution is OwnResolution {
  return resolution.kind !== 'neighbour' && !isApart(resolution)
}

/** Of a branch that stands apart from the transactions of this log. */
export type ApartResolution = Extract<Resolution<PreparedBranch>, { readonly kind: ApartKind }>

export function isApart(resolution: Resolution<PreparedBranch>): resolution is ApartResolution {
  const { kind } = resolution
  return kind === 'foreign' || kind === 'orphan' || kind === 'unconfigured' || kind === 'copy'
}

/** Everything that there is to know of it. */
export function transaction(
  sight: Sight,
  { gtrid, state, sinceMs }: Outline,
  found: readonly ResolvedPart[],
  alone: readonly HeuristicCommit[],
): InspectedTransaction {
  const logged = sight.after.find(gtrid)
  const record = logged?.record
  const place = sight.after.placeOf?.(gtrid)
  const branches = branchesOf(sight, logged, found, alone)
  return {
    gtrid,
    ...(record?.name === undefined ? {} : { name: record.name }),
    ...(record?.meta === undefined ? {} : { meta: record.meta }),
    state,
    decision: record === undefined ? 'none' : 'commit',
    ...(record === undefined ? {} : { decidedAtMs: record.decidedAtMs }),
    ...(place === undefined ? {} : { place }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    branches,
    advice: transactionAdvice(branches),
  }
}

function branchesOf(
  sight: Sight,
  logged: LoggedDecision | undefined,
  found: readonly ResolvedPart[],
  alone: readonly HeuristicCommit[],
): readonly InspectedBranch[] {
  const isSplit = alone.length > 0
  const seen = found.map((part) => {
    const branch = branchOf(sight, part)
    return isSplit ? { ...branch, advice: SPLIT } : branch
  })
  const ended = alone.map(({ participant, bqual }): InspectedBranch => {
    const advice = answeredAdvice('heuristic-commit')
    return { participant, bqual, state: 'not listed', answer: 'heuristic-commit', advice }
  })
  const unseen = (logged?.record.branches ?? []).filter(
    ({ bqual }) => !seen.some((branch) => branch.bqual === bqual),
  )
  const rest = logged === undefined ? [] : unseen.map((one) => unseenBranch(sight, one, logged))
  return [...seen, ...ended, ...rest].sort((a, b) => order(a.participant, b.participant))
}

/** Rolled back, it would make for good what a hand began; a person may still follow it. */
const SPLIT: Advice = { action: 'report', why: 'another branch of it has committed by hand' }

/** A branch that the resolution speaks of, as part of its transaction. */
function branchOf(sight: Sight, { participant, resolution }: ResolvedPart): InspectedBranch {
  if (resolution.kind === 'absent') {
    const advice = resolutionAdvice(resolution.kind)
    return { participant, bqual: resolution.record.bqual, state: 'not listed', advice }
  }
  const { kind, branch, xid } = resolution
  const { gtrid, bqual } = xid
  const decision = sight.after.find(gtrid)
  const decided = decision !== undefined
  const advice = kind === 'live' ? liveAdvice(sight.owner, decided) : resolutionAdvice(kind)
  const seen = { participant, bqual, state: 'prepared', ...asListed(branch), advice } as const
  return { ...seen, ...answerIn(decision, bqual) }
}

export function apartOf(participant: string, resolution: ApartResolution): ApartBranch {
  const { kind, branch } = resolution
  const why = kind === 'orphan' ? `of ${resolution.why}` : WHY_APART[kind]
  // One object each, and nothing in between: there may be tens of thousands.
  const { id, preparedAtMs, owner } = branch
  return { participant, id, kind, why, preparedAtMs, owner }
}

const WHY_APART: { readonly [K in Exclude<ApartKind, 'orphan'>]: string } = {
  foreign: 'not made by this library',
  unconfigured: 'of a participant that is not configured',
  copy: 'of an incarnation that this log never had: the log is a copy',
}

function asListed(branch: PreparedBranch): { id: string; preparedAtMs?: number; owner?: string } {
  const { id, preparedAtMs, owner } = branch
  return {
    id,
    ...(preparedAtMs === undefined ? {} : { preparedAtMs }),
    ...(owner === undefined ? {} : { owner }),
  }
}

function unseenBranch(
  sight: Sight,
  { participant, bqual }: BranchRecord,
  decision: LoggedDecision,
): InspectedBranch {
  const state = unseenState(sight, participant)
  const answered = answerIn(decision, bqual)
  const advice =
    answered.answer === undefined
      ? unseenAdvice(state, sight.owner)
      : answeredAdvice(answered.answer)
  return { participant, bqual, state, ...answered, advice }
}

/** What the log holds of the branch's end. */
function answerIn(
  decision: LoggedDecision | undefined,
  bqual: string,
): Pick<InspectedBranch, 'answer' | 'answeredAtMs'> {
  const answer = decision?.answers.get(bqual)
  if (answer === undefined) return {}
  const answeredAtMs = decision?.answeredAtMs?.get(bqual)
  return answeredAtMs === undefined ? { answer } : { answer, answeredAtMs }
}

function unseenState(sight: Sight, participant: string): SeenState {
  switch (sight.looks.get(participant)?.kind) {
    case 'listed':
      return 'not listed'
    case 'trouble':
      return 'unreachable'
    case 'not asked':
      return 'not asked'
    case undefined:
      return 'not configured'
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
