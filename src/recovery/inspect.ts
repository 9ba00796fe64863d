/**
 * Inspect: looks at the log and at every participant, changes nothing, and says what recovery would
 * do and why.
 *
 *   1. the log                     what was pending before the lists were taken
 *   2. every participant's list    all at once, each for a bounded time (rule 8)
 *   3. the log again               who owns it, and the decisions
 *
 * The order is that of rule 5, argued in protocol/resolution.ts: a branch that was listed at 2 and
 * has no commit record at 3 is presumed aborted, and a commit pending at 1 whose branch is missing
 * at 2 has ended on its server. Both hold only while nobody else decides. If a process held the log
 * at 1 or at 3, then every transaction counts as live there: to be left alone. Only the coordinator
 * that holds the log knows better: it names the live ones, before 1 and between 2 and 3.
 */
import { type Clock, LATE, within } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { InvariantError } from '../invariant.ts'
import type { LoggedDecision, LogOwner, LogSnapshot } from '../log/decision-log.ts'
import type { Participant, PreparedBranch } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { conclude } from '../protocol/outcome.ts'
import { type Resolution, resolve } from '../protocol/resolution.ts'
import type { BranchRecord } from '../protocol/vocabulary.ts'
import { byBegin } from '../xid.ts'
import {
  answeredAdvice,
  liveAdvice,
  resolutionAdvice,
  transactionAdvice,
  unseenAdvice,
} from './advice.ts'
import { type HeuristicCommit, heuristicCommits } from './heuristic-commits.ts'
import type {
  Advice,
  ApartBranch,
  ApartKind,
  InspectedBranch,
  InspectedParticipant,
  InspectedState,
  InspectedTransaction,
  Inspection,
  SeenState,
} from './inspection.ts'

export interface InspectOptions {
  readonly registry: Registry
  readonly clock: Clock
  /** Reads the log as it is at that moment. */
  readLog(): Promise<LogSnapshot>
  /** For the process that holds the log itself: what it works on at that moment. */
  readonly live?: () => ReadonlySet<string>
  /** How long a participant may take to answer, in ms. */
  readonly answerMs: number
  /** Asks only this participant. */
  readonly only?: string | undefined
}

/** A running coordinator's transaction is its own business for this long, in ms. */
const IN_FLIGHT_MS = 60_000

type Look =
  | {
      readonly kind: 'listed'
      readonly server: string
      readonly markers: boolean
      readonly listed: readonly PreparedBranch[]
    }
  | { readonly kind: 'trouble'; readonly trouble: UnanimousError }
  | { readonly kind: 'not asked' }

interface Sight {
  readonly before: LogSnapshot
  readonly looks: ReadonlyMap<string, Look>
  readonly after: LogSnapshot
  readonly owner: LogOwner | undefined
  readonly pending: ReadonlyMap<string, LoggedDecision>
  /** Before the lists and after them; `undefined` when it is another process that knows. */
  readonly live:
    | { readonly before: ReadonlySet<string>; readonly after: ReadonlySet<string> }
    | undefined
  readonly atMs: number
}

/**
 * Observes everything once.
 *
 * @throws UnanimousError of `readLog`; participants that cannot be asked are part of the answer
 */
export async function inspect(options: InspectOptions): Promise<Inspection> {
  const liveBefore = options.live?.()
  const before = await options.readLog()
  const looks = await lookAtAll(options)
  const liveAfter = options.live?.()
  const after = await options.readLog()
  const sight: Sight = {
    before,
    looks,
    after,
    owner: after.owner ?? before.owner,
    pending: new Map(after.pending.map((each) => [each.record.gtrid, each])),
    live:
      liveBefore === undefined || liveAfter === undefined
        ? undefined
        : { before: liveBefore, after: liveAfter },
    atMs: options.clock.now(),
  }
  const apart: ApartBranch[] = []
  const found = new Map<string, InspectedBranch[]>()
  for (const name of options.registry.keys()) {
    for (const resolution of resolveOne(sight, name, options.registry)) {
      const ours = branchOf(sight, name, resolution)
      if (ours !== undefined) add(found, ours.gtrid, ours.branch)
      const stranger = apartOf(name, resolution)
      if (stranger !== undefined) apart.push(stranger)
    }
  }
  addUnseen(sight, found)
  for (const { gtrid, participant, bqual } of await committedAlone(options, sight, found)) {
    const advice = answeredAdvice('heuristic-commit')
    const ended = { participant, bqual, state: 'not listed', answer: 'heuristic-commit' } as const
    const others = found.get(gtrid) ?? []
    found.set(gtrid, [...others.map((one) => ({ ...one, advice: SPLIT })), { ...ended, advice }])
  }
  const transactions = [...found].map(([gtrid, branches]) => transaction(sight, gtrid, branches))
  return {
    atMs: sight.atMs,
    logId: after.logId,
    owner: sight.owner,
    participants: [...looks].map(([name, look]) => participantOf(name, look)),
    transactions: transactions.sort((a, b) => byBegin(a.gtrid, b.gtrid)),
    apart,
    operators: after.operators ?? [],
  }
}

async function lookAtAll(options: InspectOptions): Promise<ReadonlyMap<string, Look>> {
  const looks = [...options.registry.values()].map(
    async (participant): Promise<readonly [string, Look]> => {
      const asked = options.only === undefined || options.only === participant.name
      const look: Look = asked ? await lookAt(participant, options) : { kind: 'not asked' }
      return [participant.name, look]
    },
  )
  return new Map(await Promise.all(looks))
}

async function lookAt(
  participant: Participant,
  { clock, answerMs }: InspectOptions,
): Promise<Look> {
  const work = async (): Promise<Look> => {
    const { server, markers } = await participant.contact()
    return { kind: 'listed', server, markers, listed: await participant.list() }
  }
  try {
    const look = await within(clock, answerMs, work())
    if (look !== LATE) return look
    return trouble(`${participant.name} did not answer within ${answerMs} ms`)
  } catch (cause) {
    if (cause instanceof InvariantError) throw cause
    if (cause instanceof UnanimousError) return { kind: 'trouble', trouble: cause }
    return trouble(`${participant.name}: ${messageOf(cause)}`)
  }
}

function trouble(message: string): Look {
  return { kind: 'trouble', trouble: new UnanimousError('PARTICIPANT_UNREACHABLE', message) }
}

function resolveOne(
  sight: Sight,
  name: string,
  registry: Registry,
): readonly Resolution<PreparedBranch>[] {
  const look = sight.looks.get(name)
  if (look?.kind !== 'listed') return []
  const { before, after, owner, pending, live } = sight
  const listedGtrids = look.listed.flatMap(({ xid }) => (xid === undefined ? [] : [xid.gtrid]))
  const isOthers = live === undefined && owner !== undefined
  return resolve({
    participant: name,
    configured: new Set(registry.keys()),
    logId: after.logId,
    standing: (incarnation) => after.standing(incarnation),
    settleable: isOthers
      ? []
      : before.pending
          .filter(({ record }) => live?.before.has(record.gtrid) !== true)
          .flatMap(({ record }) => pending.get(record.gtrid) ?? []),
    listed: look.listed,
    live: live?.after ?? new Set(isOthers ? listedGtrids : []),
    decision: (gtrid) => pending.get(gtrid),
  })
}

/** A branch that the resolution speaks of, as part of its transaction. */
function branchOf(
  sight: Sight,
  participant: string,
  resolution: Resolution<PreparedBranch>,
): { readonly gtrid: string; readonly branch: InspectedBranch } | undefined {
  if (resolution.kind === 'absent') {
    const { gtrid, record } = resolution
    const advice = resolutionAdvice(resolution.kind)
    return { gtrid, branch: { participant, bqual: record.bqual, state: 'not listed', advice } }
  }
  if (!('xid' in resolution)) return undefined
  const { kind, branch, xid } = resolution
  if (kind === 'neighbour' || kind === 'unconfigured' || kind === 'copy') return undefined
  const { gtrid, bqual } = xid
  const decision = sight.pending.get(gtrid)
  const decided = decision !== undefined
  const advice = kind === 'live' ? liveAdvice(sight.owner, decided) : resolutionAdvice(kind)
  const seen = { participant, bqual, state: 'prepared', ...asListed(branch), advice } as const
  return { gtrid, branch: { ...seen, ...answerIn(decision, bqual) } }
}

/** A branch that stands apart from the transactions of this log. */
function apartOf(
  participant: string,
  resolution: Resolution<PreparedBranch>,
): ApartBranch | undefined {
  switch (resolution.kind) {
    case 'orphan':
    case 'foreign':
    case 'unconfigured':
    case 'copy': {
      const { kind, branch } = resolution
      const why = kind === 'orphan' ? `of ${resolution.why}` : WHY_APART[kind]
      return { participant, ...asListed(branch), kind, why }
    }
    default:
      return undefined
  }
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

function add(found: Map<string, InspectedBranch[]>, gtrid: string, branch: InspectedBranch): void {
  const branches = found.get(gtrid) ?? []
  branches.push(branch)
  found.set(gtrid, branches)
}

/** Branches of logged commits that no list has shown. */
function addUnseen(sight: Sight, found: Map<string, InspectedBranch[]>): void {
  for (const decision of sight.pending.values()) {
    const { gtrid, branches } = decision.record
    const seen = new Set(found.get(gtrid)?.map(({ bqual }) => bqual))
    for (const branch of branches) {
      if (!seen.has(branch.bqual)) add(found, gtrid, unseenBranch(sight, branch, decision))
    }
  }
}

/** Rolled back, it would make for good what a hand began; a person may still follow it. */
const SPLIT: Advice = { action: 'report', why: 'another branch of it has committed by hand' }

/** Committed branches of transactions that nobody decided, nor can any more. */
function committedAlone(
  { registry, clock, answerMs }: InspectOptions,
  { looks, pending, owner }: Sight,
  found: ReadonlyMap<string, readonly InspectedBranch[]>,
): Promise<readonly HeuristicCommit[]> {
  const undecided = owner === undefined ? [...found.keys()].filter((id) => !pending.has(id)) : []
  const marked = [...registry.values()].filter(({ name }) => {
    const look = looks.get(name)
    return look?.kind === 'listed' && look.markers
  })
  return heuristicCommits(marked, undecided, clock, answerMs)
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

function transaction(
  sight: Sight,
  gtrid: string,
  branches: readonly InspectedBranch[],
): InspectedTransaction {
  const logged = sight.pending.get(gtrid)
  const record = logged?.record
  const dated = branches.flatMap(({ preparedAtMs }) => preparedAtMs ?? [])
  const sinceMs = record?.decidedAtMs ?? (dated.length > 0 ? Math.min(...dated) : undefined)
  const sorted = [...branches].sort((a, b) => order(a.participant, b.participant))
  return {
    gtrid,
    ...(record?.name === undefined ? {} : { name: record.name }),
    ...(record?.meta === undefined ? {} : { meta: record.meta }),
    state: stateOf(sight, gtrid, sorted, sinceMs),
    decision: record === undefined ? 'none' : 'commit',
    ...(record === undefined ? {} : { decidedAtMs: record.decidedAtMs }),
    ...(logged?.place === undefined ? {} : { place: logged.place }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    branches: sorted,
    advice: transactionAdvice(sorted),
  }
}

function stateOf(
  { owner, pending, live, atMs }: Sight,
  gtrid: string,
  branches: readonly InspectedBranch[],
  sinceMs: number | undefined,
): InspectedState {
  const decision = pending.get(gtrid)
  if (branches.some(({ answer }) => answer === 'heuristic-commit')) return 'heuristic'
  const answers = decision?.record.branches.map(({ bqual }) => decision.answers.get(bqual)) ?? []
  const conclusion = decision === undefined ? 'unfinished' : conclude(answers)
  if (conclusion === 'mixed' || conclusion === 'hazard') return 'heuristic'
  if (conclusion === 'committed' && branches.every(({ state }) => state !== 'prepared')) {
    return 'settled'
  }
  if (live !== undefined) return live.after.has(gtrid) ? 'live' : 'unsettled'
  const young = sinceMs === undefined || atMs - sinceMs < IN_FLIGHT_MS
  return owner !== undefined && young ? 'live' : 'unsettled'
}

function participantOf(name: string, look: Look): InspectedParticipant {
  switch (look.kind) {
    case 'listed':
      return { name, server: look.server, markers: look.markers, prepared: look.listed.length }
    case 'trouble':
      return { name, trouble: look.trouble }
    case 'not asked':
      return { name }
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
