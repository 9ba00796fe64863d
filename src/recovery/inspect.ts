/**
 * Inspect: looks at the log and at every participant, changes nothing, and says what recovery would
 * do and why.
 *
 *   1. the log                     what was pending before the lists were taken; meanwhile every
 *                                  participant says what it is. While nobody holds the log, to mark
 *                                  its end is enough: its bytes are read during 2
 *   2. every participant's list    all at once, each for a bounded time (rule 8)
 *   3. the log again               who owns it, and the decisions
 *
 * The order is that of rule 5, argued in protocol/resolution.ts: a branch that was listed at 2 and
 * has no commit record at 3 is presumed aborted, and a commit pending at 1 whose branch is missing
 * at 2 has ended on its server. Both hold only while nobody else decides. If a process held the log
 * at 1 or at 3, then every transaction counts as live there: to be left alone. If one came and went
 * in between, all is looked at again. Only the coordinator that holds the log knows better: it names
 * the live ones, before 1 and between 2 and 3.
 */
import { type LoggedDecision, type LogSnapshot, UNKNOWN_OWNER } from '../log/decision-log.ts'
import type { PreparedBranch } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { conclude } from '../protocol/outcome.ts'
import { type Observation, resolve, resolveListed } from '../protocol/resolution.ts'
import { byBegin, participantIn } from '../xid.ts'
import { apartOf, isApart, isOwn, type ResolvedPart, type Sight, transaction } from './evidence.ts'
import { type HeuristicCommit, heuristicCommits } from './heuristic-commits.ts'
import type {
  ApartBranch,
  InspectedParticipant,
  InspectedState,
  Inspection,
  Outline,
} from './inspection.ts'
import { type Look, type LookOptions, lookAtAll, meetAll } from './look.ts'

export interface InspectOptions extends LookOptions {
  /** Reads the log as it is at that moment. */
  readLog(): Promise<LogSnapshot>
  /**
   * As `readLog`, and what it answers reads the bytes later; `undefined`: nobody knows any more what
   * they were. Default: they are read at once.
   */
  markLog?(): Promise<() => Promise<LogSnapshot | undefined>>
  /** For the process that holds the log itself: what it works on at that moment. */
  readonly live?: () => ReadonlySet<string>
}

/** A running coordinator's transaction is its own business for this long, in ms. */
const IN_FLIGHT_MS = 60_000

/** Looks after the first one, while owners come and go. Then somebody counts as its owner. */
const MORE_LOOKS = 2

/** A page of what was seen, and an outline of all of it. */
export interface Survey {
  /** Its transactions are those that were chosen. */
  readonly inspection: Inspection
  /** Of every transaction, in the order in which they began. */
  readonly outlines: readonly Outline[]
}

/** What there is to choose from. */
export interface Choice extends Pick<Inspection, 'atMs' | 'logId'> {
  readonly outlines: readonly Outline[]
  /** Whether a transaction has a branch in a participant. */
  readonly isIn: (gtrid: string, participant: string) => boolean
}

/** Which transactions a person will see. */
export type Choose = (choice: Choice) => readonly Outline[]

/**
 * Observes everything once.
 *
 * @throws UnanimousError of `readLog`; participants that cannot be asked are part of the answer
 */
export async function inspect(options: InspectOptions): Promise<Inspection> {
  return (await survey(options, ({ outlines }) => outlines)).inspection
}

/**
 * As {@link inspect}, and puts together the evidence of the chosen transactions only: there may be tens
 * of thousands, and a person sees a page.
 */
export async function survey(options: InspectOptions, choose: Choose): Promise<Survey> {
  const sight = await see(options)
  const seen = observations(sight, options.registry)
  const unlogged = unloggedOf(sight, seen)
  const alone = new Map<string, HeuristicCommit[]>()
  for (const one of await committedAlone(options, sight, unlogged)) {
    alone.set(one.gtrid, [...(alone.get(one.gtrid) ?? NONE), one])
  }
  const listedIn = listings(seen)
  const isListed = (gtrid: string): boolean =>
    seen.some(({ participant }) => listedIn(participant).has(gtrid))
  const outlines = outlinesOf(sight, unlogged, isListed, alone)
  const { atMs, owner, looks, after, pending } = sight
  const isIn = (gtrid: string, name: string): boolean =>
    listedIn(name).has(gtrid) ||
    [...(alone.get(gtrid) ?? NONE), ...(pending.get(gtrid)?.record.branches ?? NONE)].some(
      ({ participant }) => participant === name,
    )
  const chosen = choose({ outlines, atMs, logId: after.logId, isIn })
  const parts = partsOf(seen, new Set(chosen.map(({ gtrid }) => gtrid)))
  return {
    outlines,
    inspection: {
      atMs,
      logId: after.logId,
      owner,
      participants: [...looks].map(([name, look]) => participantOf(name, look)),
      transactions: chosen.map((outline) => {
        const { gtrid } = outline
        return transaction(sight, outline, parts.get(gtrid) ?? NONE, alone.get(gtrid) ?? NONE)
      }),
      apart: unlogged.apart,
      operators: after.operators ?? [],
    },
  }
}

const NONE: readonly never[] = []

/** A survey of what another process has inspected. */
export function narrowed(inspection: Inspection, choose: Choose): Survey {
  const { transactions, atMs, logId } = inspection
  const all = new Map(transactions.map((each) => [each.gtrid, each]))
  const outlines = transactions.map(({ gtrid, state, sinceMs }) => ({ gtrid, state, sinceMs }))
  const isIn = (gtrid: string, name: string): boolean =>
    all.get(gtrid)?.branches.some(({ participant }) => participant === name) === true
  const chosen = choose({ outlines, atMs, logId, isIn }).flatMap(
    ({ gtrid }) => all.get(gtrid) ?? [],
  )
  return { outlines, inspection: { ...inspection, transactions: chosen } }
}

async function see(options: InspectOptions): Promise<Sight> {
  let once = await seeOnce(options)
  for (let more = MORE_LOOKS; more > 0 && cameAndWent(once); more -= 1) {
    once = await seeOnce(options)
  }
  const { before, looks, after, live } = once
  const somebody = cameAndWent(once) ? UNKNOWN_OWNER : undefined
  const pending = new Map(after.pending.map((each) => [each.record.gtrid, each]))
  return {
    // Of a log that was opened meanwhile nobody knows what was pending before the lists.
    settleable: (before?.pending ?? NONE).flatMap(({ record: { gtrid } }) =>
      live?.before.has(gtrid) === true ? NONE : (pending.get(gtrid) ?? NONE),
    ),
    looks,
    after,
    owner: after.owner ?? before?.owner ?? somebody,
    pending,
    live,
    atMs: options.clock.now(),
  }
}

interface Once extends Pick<Sight, 'looks' | 'after' | 'live'> {
  readonly before: LogSnapshot | undefined
}

async function seeOnce(options: InspectOptions): Promise<Once> {
  const liveBefore = options.live?.()
  const marked = options.markLog?.() ?? readAtOnce(options)
  const [met, read] = await Promise.all([meetAll(options), marked])
  // The lists first: to read the log keeps this thread, while the servers put them together.
  const [looks, before] = await Promise.all([lookAtAll(met, options), read()])
  const liveAfter = options.live?.()
  const after = await options.readLog()
  const isKnown = liveBefore !== undefined && liveAfter !== undefined
  return {
    before,
    looks,
    after,
    live: isKnown ? { before: liveBefore, after: liveAfter } : undefined,
  }
}

/**
 * Whether somebody held the log between 1 and 3 and at neither: what was listed may have been
 * committed and forgotten since.
 */
function cameAndWent({ before, after }: Once): boolean {
  if (before?.owner !== undefined || after.owner !== undefined) return false
  return before === undefined || before.lastEpoch !== after.lastEpoch
}

async function readAtOnce(options: InspectOptions): Promise<() => Promise<LogSnapshot>> {
  const snapshot = await options.readLog()
  return () => Promise.resolve(snapshot)
}

type Seen = Observation<PreparedBranch>

/** Of every participant that was listed, for the resolution. */
function observations(
  { looks, after, owner, pending, live, settleable }: Sight,
  registry: Registry,
): readonly Seen[] {
  const isOthers = live === undefined && owner !== undefined
  const configured = new Set(registry.keys())
  return [...configured].flatMap((participant) => {
    const look = looks.get(participant)
    if (look?.kind !== 'listed') return NONE
    const { listed } = look
    const gtrids = (): string[] => listed.flatMap(({ xid }) => xid?.gtrid ?? [])
    return {
      participant,
      configured,
      logId: after.logId,
      standing: (incarnation) => after.standing(incarnation),
      settleable: isOthers ? NONE : settleable,
      listed,
      live: live?.after ?? new Set(isOthers ? gtrids() : NONE),
      decision: (gtrid) => pending.get(gtrid),
    }
  })
}

/** What was listed, and is of no logged decision. There may be tens of thousands: little is kept. */
interface Unlogged {
  /** Transactions of this log, each with the first prepare that a server dates. */
  readonly undecided: ReadonlyMap<string, number | undefined>
  readonly apart: readonly ApartBranch[]
}

function unloggedOf({ pending }: Sight, seen: readonly Seen[]): Unlogged {
  const undecided = new Map<string, number | undefined>()
  const apart: ApartBranch[] = []
  for (const observation of seen) {
    for (const branch of observation.listed) {
      if (isLogged(pending, observation, branch)) continue
      const resolution = resolveListed(observation, branch)
      if (isApart(resolution)) apart.push(apartOf(observation.participant, resolution))
      else if (resolution.kind === 'rollback' || resolution.kind === 'live') {
        const { gtrid } = resolution.xid
        undecided.set(gtrid, earlier(undecided.get(gtrid), branch))
      }
    }
  }
  return { undecided, apart }
}

/** Whether the log speaks for the branch, whatever it says: less to ask than how it is resolved. */
function isLogged(
  pending: Sight['pending'],
  { participant }: Seen,
  { xid }: PreparedBranch,
): boolean {
  return xid !== undefined && pending.has(xid.gtrid) && participantIn(xid.bqual) === participant
}

function earlier(known: number | undefined, { preparedAtMs }: PreparedBranch): number | undefined {
  if (known === undefined || preparedAtMs === undefined) return known ?? preparedAtMs
  return Math.min(known, preparedAtMs)
}

/** Which transactions of this log a participant lists, worked out when it is asked for. */
function listings(seen: readonly Seen[]): (participant: string) => ReadonlySet<string> {
  const known = new Map<string, ReadonlySet<string>>()
  return (name) => {
    const its = known.get(name) ?? new Set(seen.flatMap((one) => ownIn(one, name)))
    known.set(name, its)
    return its
  }
}

function ownIn(observation: Seen, name: string): readonly string[] {
  if (observation.participant !== name) return NONE
  return observation.listed.flatMap((branch) => {
    const resolution = resolveListed(observation, branch)
    return isOwn(resolution) ? resolution.xid.gtrid : NONE
  })
}

/** What was seen of a few transactions, by gtrid. */
function partsOf(
  seen: readonly Seen[],
  gtrids: ReadonlySet<string>,
): ReadonlyMap<string, readonly ResolvedPart[]> {
  const parts = new Map<string, ResolvedPart[]>()
  for (const observation of seen) {
    const { participant, listed, settleable } = observation
    const plan = resolve({
      ...observation,
      listed: listed.filter(({ xid }) => xid !== undefined && gtrids.has(xid.gtrid)),
      settleable: settleable.filter(({ record }) => gtrids.has(record.gtrid)),
    })
    for (const resolution of plan) {
      if (!isOwn(resolution)) continue
      const gtrid = resolution.kind === 'absent' ? resolution.gtrid : resolution.xid.gtrid
      const its = parts.get(gtrid)
      if (its === undefined) parts.set(gtrid, [{ participant, resolution }])
      else its.push({ participant, resolution })
    }
  }
  return parts
}

/** Committed branches of transactions that nobody decided, nor can any more. */
function committedAlone(
  { registry, clock, answerMs }: InspectOptions,
  { looks, owner, live }: Sight,
  { undecided: listed }: Unlogged,
): Promise<readonly HeuristicCommit[]> {
  // In another process any of them may be live, and be decided in a moment.
  const isKnown = owner === undefined || live !== undefined
  const undecided = isKnown ? [...listed.keys()].filter((id) => live?.after.has(id) !== true) : NONE
  const marked = [...registry.values()].filter(({ name }) => {
    const look = looks.get(name)
    return look?.kind === 'listed' && look.markers
  })
  return heuristicCommits(marked, undecided, clock, answerMs)
}

function outlinesOf(
  sight: Sight,
  { undecided }: Unlogged,
  isListed: (gtrid: string) => boolean,
  alone: ReadonlyMap<string, readonly HeuristicCommit[]>,
): readonly Outline[] {
  const outlines: Outline[] = []
  for (const [gtrid, logged] of sight.pending) {
    const sinceMs = logged.record.decidedAtMs
    const conclusion = concluded(logged)
    const isOver = conclusion === 'committed' && !isListed(gtrid)
    const isHeuristic = alone.has(gtrid) || conclusion === 'mixed' || conclusion === 'hazard'
    const state = isHeuristic ? 'heuristic' : isOver ? 'settled' : stateOf(sight, gtrid, sinceMs)
    outlines.push({ gtrid, state, sinceMs })
  }
  for (const [gtrid, sinceMs] of undecided) {
    const state = alone.has(gtrid) ? 'heuristic' : stateOf(sight, gtrid, sinceMs)
    outlines.push({ gtrid, state, sinceMs })
  }
  return outlines.sort((a, b) => byBegin(a.gtrid, b.gtrid))
}

/** Of a transaction that is not over. */
function stateOf(
  { owner, live, atMs }: Sight,
  gtrid: string,
  sinceMs: number | undefined,
): InspectedState {
  if (live !== undefined) return live.after.has(gtrid) ? 'live' : 'unsettled'
  const young = sinceMs === undefined || atMs - sinceMs < IN_FLIGHT_MS
  return owner !== undefined && young ? 'live' : 'unsettled'
}

function concluded({ record, answers }: LoggedDecision): ReturnType<typeof conclude> {
  if (answers.size === 0) return 'unfinished'
  return conclude(record.branches.map(({ bqual }) => answers.get(bqual)))
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
