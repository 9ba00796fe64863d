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
import type { Registry } from '../participant/registry.ts'
import { conclude } from '../protocol/outcome.ts'
import { byBegin } from '../xid.ts'
import { type Sight, transaction } from './evidence.ts'
import { type HeuristicCommit, heuristicCommits } from './heuristic-commits.ts'
import type {
  ApartBranch,
  InspectedParticipant,
  InspectedState,
  Inspection,
  Outline,
} from './inspection.ts'
import { Listed, type Seen } from './listed.ts'
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
  /** Its transactions are those that were chosen, and of what is apart it has what is shown. */
  readonly inspection: Inspection
  /** Of every transaction, in the order in which they began. */
  readonly outlines: readonly Outline[]
  /** Of every branch that is apart. */
  readonly apart: readonly Pick<ApartBranch, 'kind'>[]
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
 * As {@link inspect}, and puts together the evidence of what is chosen only: there may be tens of
 * thousands, and a person sees a page.
 *
 * @param most - of the branches that are apart, so many are shown
 */
export async function survey(
  options: InspectOptions,
  choose: Choose,
  most: number = Number.POSITIVE_INFINITY,
): Promise<Survey> {
  const sight = await see(options)
  const listed = new Listed(observations(sight, options.registry))
  const alone = new Map<string, HeuristicCommit[]>()
  for (const one of await committedAlone(options, sight, listed)) {
    alone.set(one.gtrid, [...(alone.get(one.gtrid) ?? NONE), one])
  }
  const outlines = outlinesOf(sight, listed, alone)
  const { atMs, owner, looks, after } = sight
  const isIn = (gtrid: string, name: string): boolean =>
    listed.has(gtrid, name) ||
    [...(alone.get(gtrid) ?? NONE), ...(after.find(gtrid)?.record.branches ?? NONE)].some(
      ({ participant }) => participant === name,
    )
  const chosen = choose({ outlines, atMs, logId: after.logId, isIn })
  const gtrids = chosen.map(({ gtrid }) => gtrid)
  const parts = listed.partsOf(new Set(gtrids), settleable(sight, gtrids))
  return {
    outlines,
    apart: listed.apart,
    inspection: {
      atMs,
      logId: after.logId,
      owner,
      participants: [...looks].map(([name, look]) => participantOf(name, look)),
      transactions: chosen.map((outline) => {
        const { gtrid } = outline
        return transaction(sight, outline, parts.get(gtrid) ?? NONE, alone.get(gtrid) ?? NONE)
      }),
      apart: listed.apartBranches(most),
      operators: after.operators ?? [],
    },
  }
}

const NONE: readonly never[] = []

/** As {@link survey}, of what another process has inspected. */
export function narrowed(
  inspection: Inspection,
  choose: Choose,
  most: number = Number.POSITIVE_INFINITY,
): Survey {
  const { transactions, apart, atMs, logId } = inspection
  const all = new Map(transactions.map((each) => [each.gtrid, each]))
  const outlines = transactions.map(({ gtrid, state, sinceMs }) => ({ gtrid, state, sinceMs }))
  const isIn = (gtrid: string, name: string): boolean =>
    all.get(gtrid)?.branches.some(({ participant }) => participant === name) === true
  const chosen = choose({ outlines, atMs, logId, isIn }).flatMap(
    ({ gtrid }) => all.get(gtrid) ?? [],
  )
  const shown = { transactions: chosen, apart: apart.slice(0, most) }
  return { outlines, apart, inspection: { ...inspection, ...shown } }
}

async function see(options: InspectOptions): Promise<Sight> {
  let once = await seeOnce(options)
  for (let more = MORE_LOOKS; more > 0 && cameAndWent(once); more -= 1) {
    once = await seeOnce(options)
  }
  const { before, looks, after, live } = once
  const somebody = cameAndWent(once) ? UNKNOWN_OWNER : undefined
  const owner = after.owner ?? before?.owner ?? somebody
  return { before, looks, after, owner, live, atMs: options.clock.now() }
}

type Once = Pick<Sight, 'before' | 'looks' | 'after' | 'live'>

async function seeOnce(options: InspectOptions): Promise<Once> {
  const liveBefore = options.live?.()
  const marked = options.markLog?.() ?? readAtOnce(options)
  // The log in between, while the servers are busy. All are met before the first is listed: its rows would
  // keep this thread from the many small steps of the others' logins.
  const listing = Promise.all([meetAll(options), marked]).then(([met]) => lookAtAll(met, options))
  const [looks, before] = await Promise.all([listing, marked.then((read) => read())])
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

/** Whether another process may work on what was listed. */
function isOthers({ live, owner }: Sight): boolean {
  return live === undefined && owner !== undefined
}

/** Of every participant that was listed, for the resolution. */
function observations(sight: Sight, registry: Registry): readonly Seen[] {
  const { looks, after, live } = sight
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
      listed,
      live: live?.after ?? new Set(isOthers(sight) ? gtrids() : NONE),
      decision: (gtrid) => after.find(gtrid),
    }
  })
}

/** Of these transactions the logged commits that were pending, and not live, before the lists were taken. */
function settleable(sight: Sight, gtrids: readonly string[]): readonly LoggedDecision[] {
  const { before, live, after } = sight
  if (isOthers(sight)) return NONE
  return gtrids.flatMap((gtrid) => {
    // Of a log that was opened meanwhile nobody knows what was pending before the lists.
    const wasPending = before?.find(gtrid) !== undefined && live?.before.has(gtrid) !== true
    return wasPending ? (after.find(gtrid) ?? NONE) : NONE
  })
}

/** Committed branches of transactions that nobody decided, nor can any more. */
function committedAlone(
  { registry, clock, answerMs }: InspectOptions,
  { looks, owner, live }: Sight,
  { undecided: listed }: Listed,
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
  listed: Listed,
  alone: ReadonlyMap<string, readonly HeuristicCommit[]>,
): readonly Outline[] {
  const outlines: Outline[] = []
  for (const logged of sight.after.pending) {
    const { gtrid, decidedAtMs: sinceMs } = logged.record
    const conclusion = concluded(logged)
    const isOver = conclusion === 'committed' && !listed.has(gtrid)
    const isHeuristic = alone.has(gtrid) || conclusion === 'mixed' || conclusion === 'hazard'
    const state = isHeuristic ? 'heuristic' : isOver ? 'settled' : stateOf(sight, gtrid, sinceMs)
    outlines.push({ gtrid, state, sinceMs })
  }
  for (const [gtrid, sinceMs] of listed.undecided) {
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
