/**
 * One pass over one participant: observe, resolve, settle, report.
 *
 *   1. logged commits that are pending and not live      (what an absence can be read against)
 *   2. the participant's prepared branches
 *   3. live transactions
 *   4. decisions, one by one as branches ask for them
 *   5. the plan: protocol/resolution.ts, where the order 2-3-4 is argued (rule 5)
 *   6. what is decided is settled, some branches at a time; an answer goes to the log
 *   7. what is undecided is rolled back, unless another branch of it has committed by a hand: that is
 *      left to a person. Last, for it is the others that are asked, and one of them may be down (rule 8).
 *
 * Rule 2: nothing is settled once the log is poisoned. Rule 6: passes go on for ever, for a PREPARE
 * that was queued in a server can appear after its client died. Rule 8: a pass concerns one
 * participant; whatever keeps it waiting delays nobody else.
 */
import type { Clock } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Failpoints } from '../failpoint.ts'
import type { DecisionLog } from '../log/decision-log.ts'
import type { LiveTransactions } from '../participant/live.ts'
import type { Participant, PreparedBranch, Recorded } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import type { Settlements } from '../participant/settle.ts'
import { type Resolution, resolve } from '../protocol/resolution.ts'
import type { BranchAnswer, Decision, Settlement } from '../protocol/vocabulary.ts'
import { type Phases, traced, tracedAnswer } from '../tracing.ts'
import { parseGtrid, type Xid } from '../xid.ts'
import { type HeuristicCommit, heuristicCommits } from './heuristic-commits.ts'

export interface RecoveryContext {
  readonly registry: Registry
  readonly log: DecisionLog
  readonly live: LiveTransactions
  readonly settlements: Settlements
  readonly events: Events
  readonly phases: Phases
  readonly failpoints: Failpoints
  readonly clock: Clock
  /** Whether a log of this id is beside ours under a root: its branches are no orphans. */
  isSibling?(logId: string): Promise<boolean>
  /** The log is a sibling's: a branch is committed only on the server that its record names. */
  readonly sibling?: boolean
  /** Hears of branches that a hand has committed before the others of theirs are left to a person. */
  onSplit?(found: readonly HeuristicCommit[]): Promise<void>
  /** Stops the coordinator: it must not decide any more. */
  stop(cause: unknown): void
}

/** What a pass found and did. */
export interface PassReport {
  readonly participant: string
  readonly committed: number
  readonly rolledBack: number
  /** Branches of ours that this pass should have settled and could not. */
  readonly unsettled: number
  /** Why the first of them could not, where that is known. */
  readonly hindrance: unknown
  /** Branches that are left alone: orphans, of unknown participants, not recorded. */
  readonly reported: readonly Reported[]
}

/** What is left to a later pass, for a person. */
export interface Postponed {
  readonly participant: string
  /** Branches. */
  readonly count: number
  /** Of the first of them, where that is known. */
  readonly why?: string
  readonly hint?: string
}

export function postponedIn(report: PassReport): Postponed | undefined {
  const { participant, unsettled: count, hindrance } = report
  if (count === 0) return undefined
  if (hindrance === undefined) return { participant, count }
  const hint = hindrance instanceof UnanimousError ? hindrance.hint : undefined
  return { participant, count, why: messageOf(hindrance), ...(hint !== undefined && { hint }) }
}

export interface Reported {
  readonly id: string
  readonly why: string
}

/**
 * Recovers one participant.
 *
 * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT when it cannot be listed
 */
export function recoverParticipant(
  context: RecoveryContext,
  participant: Participant,
): Promise<PassReport> {
  return traced('recover', { participant: participant.name }, async (span) => {
    const startedAt = context.clock.monotonic()
    try {
      const report = await pass(context, participant)
      const { committed, rolledBack, unsettled } = report
      Object.assign(span, { committed, rolledBack, unsettled })
      return report
    } finally {
      context.phases.took('recover', startedAt)
    }
  })
}

async function pass(context: RecoveryContext, participant: Participant): Promise<PassReport> {
  const { unsettled: followed } = context.settlements
  const mark = followed.mark()
  const plan = await observe(context, participant)
  const copy = plan.find((resolution) => resolution.kind === 'copy')
  if (copy !== undefined) {
    context.stop(copiedLog(participant.name, copy.branch.id))
    return { ...EMPTY, participant: participant.name }
  }
  const tally = { committed: 0, rolledBack: 0, unsettled: 0, hindrance: undefined as unknown }
  const postpone = ({ hindrance }: Hindered): void => {
    tally.unsettled += 1
    tally.hindrance ??= hindrance
  }
  const notRolledBack = new Set<string>()
  const reported: Reported[] = []
  const undecided = plan.filter((resolution) => resolution.kind === 'rollback')
  await someAtATime(context, plan, async (resolution) => {
    switch (resolution.kind) {
      case 'commit':
      case 'absent': {
        const hindered = await commitBranch(context, participant, resolution)
        if (hindered === undefined) tally.committed += 1
        else postpone(hindered)
        break
      }
      case 'orphan':
        if (await isSiblings(context, resolution.branch)) break
        reported.push({ id: resolution.branch.id, why: `of ${resolution.why}` })
        break
      case 'unconfigured':
        reported.push({ id: resolution.branch.id, why: 'of a participant that is not configured' })
        break
      case 'unrecorded':
        reported.push({ id: resolution.branch.id, why: 'missing in its commit record' })
        break
      case 'rollback':
      case 'copy':
      case 'live':
      case 'foreign':
      case 'neighbour':
        break
    }
  })
  const spared = await splitByHand(context, participant, undecided)
  await someAtATime(context, undecided, async ({ branch, xid }) => {
    if (spared.has(xid.gtrid)) {
      reported.push({ id: branch.id, why: 'of a transaction split by hand' })
      notRolledBack.add(xid.gtrid)
      return
    }
    const hindered = await rollBack(context, participant, xid)
    if (hindered === undefined) tally.rolledBack += 1
    else {
      postpone(hindered)
      notRolledBack.add(xid.gtrid)
    }
  })
  if (context.log.poison === undefined) followed.passed(participant.name, mark, notRolledBack)
  return { participant: participant.name, ...tally, reported }
}

/** While a server ends one branch, what its last answer means is worked out, and the next verb waits. */
const IN_FLIGHT = 4

/** Rejects when what had begun has ended. Begins nothing more once the log is poisoned (rule 2). */
async function someAtATime<T>(
  { log }: RecoveryContext,
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  if (items.length === 0) return
  const left = items.values()
  const lanes = Array.from({ length: Math.min(IN_FLIGHT, items.length) }, async () => {
    for (const item of left) if (log.poison === undefined) await work(item)
  })
  const ends = await Promise.allSettled(lanes)
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

/** How long another participant may take to tell of a hand's commit: its silence keeps nothing (rule 8). */
const WITNESS_MS = 1_000

/** Of what would be rolled back, the transactions of which another branch has committed by hand. */
async function splitByHand(
  context: RecoveryContext,
  participant: Participant,
  undecided: readonly { readonly xid: Xid }[],
): Promise<ReadonlySet<string>> {
  if (undecided.length === 0 || context.log.poison !== undefined) return new Set()
  const gtrids = undecided.map(({ xid }) => xid.gtrid)
  const others = [...context.registry.values()].filter((one) => one !== participant)
  const found = await heuristicCommits(others, gtrids, context.clock, WITNESS_MS)
  if (found.length > 0) await context.onSplit?.(found)
  return new Set(found.map(({ gtrid }) => gtrid))
}

async function isSiblings(context: RecoveryContext, { xid }: PreparedBranch): Promise<boolean> {
  const logId = xid === undefined ? undefined : parseGtrid(xid.gtrid)?.logId
  if (logId === undefined || logId === context.log.logId) return false
  return (await context.isSibling?.(logId)) ?? false
}

const EMPTY: Omit<PassReport, 'participant'> = {
  committed: 0,
  rolledBack: 0,
  unsettled: 0,
  hindrance: undefined,
  reported: [],
}

/** The error that says that this log is not the only one of its identity. */
export function copiedLog(participant: string, id: string): UnanimousError {
  return new UnanimousError(
    'LOG_COPIED',
    `${participant} holds ${id}, of an incarnation that this log never had`,
    {
      hint: 'This log directory is a copy, or was restored from one. Find the original and use that; `unanimous log adopt` takes a copy over once the original is gone and its branches are settled.',
    },
  )
}

async function observe(
  context: RecoveryContext,
  participant: Participant,
): Promise<Resolution<PreparedBranch>[]> {
  const { log, settlements } = context
  const before = context.live.snapshot()
  // The log learns of answers up to a second late; under load that is hundreds of ended branches.
  const settleable = log
    .pending()
    .filter(({ record: { gtrid } }) => !before.has(gtrid) && settlements.isOpen(gtrid))
  await context.failpoints('recover:before-list')
  const listed = await participant.list()
  await context.failpoints('recover:listed')
  const live = context.live.snapshot()
  return resolve({
    participant: participant.name,
    configured: new Set(context.registry.keys()),
    logId: log.logId,
    standing: (incarnation) => log.standing(incarnation),
    settleable,
    listed,
    live,
    decision: (gtrid) => log.find(gtrid),
  })
}

/** A branch that could not be settled, and why, where that is known. */
interface Hindered {
  readonly hindrance: unknown
}

async function commitBranch(
  context: RecoveryContext,
  participant: Participant,
  resolution: Extract<Resolution<PreparedBranch>, { kind: 'commit' | 'absent' }>,
): Promise<Hindered | undefined> {
  const { record } = resolution
  const gtrid = resolution.kind === 'commit' ? resolution.xid.gtrid : resolution.gtrid
  const xid = { gtrid, bqual: record.bqual }
  await context.failpoints('recover:before-settle')
  let answer: BranchAnswer | undefined
  let hindrance: unknown
  if (resolution.kind === 'absent') {
    answer = await context.settlements.proveAbsent(participant, xid, record)
  } else {
    const recorded = { server: record.server, only: context.sibling === true }
    const settlement = await settle(context, participant, xid, 'commit', recorded)
    await context.failpoints('recover:after-settle')
    if (settlement.kind !== 'answered') hindrance = settlement.cause
    answer = await context.settlements.answerOf(participant, xid, record, settlement)
  }
  if (answer === undefined) return { hindrance }
  await context.failpoints('recover:before-answered')
  context.settlements.answer(gtrid, record.bqual, answer, 'recovery')
  return undefined
}

async function rollBack(
  context: RecoveryContext,
  participant: Participant,
  xid: Xid,
): Promise<Hindered | undefined> {
  await context.failpoints('recover:before-settle')
  const settlement = await settle(context, participant, xid, 'abort')
  await context.failpoints('recover:after-settle')
  switch (settlement.kind) {
    case 'answered':
      context.events.emit('branch:rolled-back', { ...xid, participant: participant.name })
      return undefined
    case 'absent':
      // It was listed and is gone: its own session, or another one, rolled it back meanwhile.
      return undefined
    case 'later':
    case 'other-server':
    case 'unknown':
      return { hindrance: settlement.cause }
  }
}

async function settle(
  { clock, phases }: RecoveryContext,
  participant: Participant,
  xid: Xid,
  decision: Decision,
  recorded?: Recorded,
): Promise<Settlement> {
  const { name } = participant
  const span = { gtrid: xid.gtrid, participant: name, decision, by: 'recovery' } as const
  const startedAt = clock.monotonic()
  const answer = await tracedAnswer('settle', span, () =>
    participant.settle(xid, decision, recorded),
  )
  phases.took('settle', startedAt)
  return answer
}
