/**
 * Two-phase commit with presumed abort.
 *
 *   before      every participant durably knows the others: PROOF.md §5
 *   phase one   every branch votes          one refuses or is silent -> abort, log nothing
 *   decision    one commit record is forced the force fails          -> in doubt, touch no branch
 *   phase two   commit every branch         one is silent            -> recovery finishes it
 *
 * The commit record is the commit point. Before it, silence means abort; after it, silence means
 * commit. Every line below stands on one side of that point.
 *
 * Rule 1: a prepared branch is committed only after the record is durable, and rolled back only
 * once a record has become impossible. Rule 2: a force that failed is in doubt. Rule 10: from the
 * hand-over on nothing turns back, and a force that is late answers `in-doubt`.
 */
import { isPending, LATE, within } from '../clock.ts'
import { messageOf, TransactionError, UnanimousError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import type { CommitRecord } from '../log/decision-log.ts'
import type { Unannounced } from '../participant/announcements.ts'
import type { Branch } from '../participant/branch.ts'
import { conclude } from '../protocol/outcome.ts'
import type { BranchRecord, Decision, Settlement, Vote } from '../protocol/vocabulary.ts'
import { traced, tracedAnswer } from '../tracing.ts'
import type { Xid } from '../xid.ts'
import { refusalError } from './abort.ts'
import type { CommitContext } from './context.ts'
import { type Answers, heuristic, inDoubt } from './decided-errors.ts'
import type { Transaction } from './transaction.ts'

/** A branch whose server said that it is prepared. */
interface Prepared {
  readonly branch: Branch
  readonly xid: Xid
  /** What the commit record says of it. */
  readonly record: BranchRecord
}

/**
 * Commits branches that have all written.
 *
 * @throws TransactionError a refusal, DECISION_IN_DOUBT, COMMIT_UNCONFIRMED, HEURISTIC_MIXED or
 * HEURISTIC_HAZARD. Only a refusal leaves the transaction to be aborted by the caller.
 */
export async function commitInTwoPhases(
  context: CommitContext,
  tx: Transaction,
  branches: readonly Branch[],
): Promise<void> {
  invariant(branches.length > 1, 'a single branch takes the one-phase path')
  // Nothing is prepared yet.
  const toldEach = context.announcements.ensure(branches.map(({ participant }) => participant))
  if (toldEach !== undefined) await announce(tx, toldEach)
  if (!context.inert) await context.failpoints('prepare:before')
  const prepared = await tx.unlessAborted(vote(context, tx, branches))
  if (!context.inert) await context.failpoints('prepare:after-all')
  const decidingAt = context.clock.monotonic()
  try {
    await traced('decide', { gtrid: tx.gtrid }, () => decide(context, tx, prepared))
  } finally {
    context.phases.took('decide', decidingAt)
  }
  if (!context.inert) await context.failpoints('decide:after')
  const settling = phaseTwo(context, tx, prepared)
  // With a marker no caller may hear of a commit that no database is known to have.
  const behind = tx.options.settle === 'behind' && !isMarked(prepared)
  const answered = (): Promise<void> => context.settlements.whenAnswered(tx.gtrid)
  if (!behind || !context.behind.take(settling, answered)) await settling
}

/** A participant that cannot be told refuses the transaction. */
async function announce(
  tx: Transaction,
  toldEach: Promise<Unannounced | undefined>,
): Promise<void> {
  const failed = await tx.unlessAborted(toldEach)
  if (failed === undefined) return
  throw refusalError(tx, failed.participant, {
    code: 'PREPARE_REFUSED',
    reason: `the participants could not be announced: ${messageOf(failed.cause)}`,
    retryable: true,
    ...(failed.cause instanceof UnanimousError && failed.cause.hint !== undefined
      ? { hint: failed.cause.hint }
      : {}),
    cause: failed.cause,
  })
}

function vote(
  context: CommitContext,
  tx: Transaction,
  branches: readonly Branch[],
): Promise<Prepared[]> {
  let first = true
  return Promise.all(
    branches.map(async (branch) => {
      const startedAt = context.clock.monotonic()
      const answer = await votePhase(tx, branch)
      context.phases.took('prepare', startedAt)
      const prepared = preparedOf(context, tx, branch, answer)
      if (first) {
        first = false
        if (!context.inert) await context.failpoints('prepare:after-first')
      }
      return prepared
    }),
  )
}

/** @throws TransactionError when the branch may not be committed */
function preparedOf(
  context: CommitContext,
  tx: Transaction,
  branch: Branch,
  answer: Vote,
): Prepared {
  const { participant, xid } = branch
  if (answer.kind === 'refused') throw refusalError(tx, participant, answer.refusal)
  if (answer.kind === 'unknown') {
    throw refusalError(tx, participant, {
      code: 'CONNECTION_LOST',
      reason: `the answer to the vote was lost: ${messageOf(answer.cause)}`,
      retryable: true,
      cause: answer.cause,
    })
  }
  if (context.announcements.isMarked(participant) && !answer.evidence.marker) {
    throw refusalError(tx, participant, {
      code: 'PREPARE_REFUSED',
      reason: 'the branch carries no marker, although its tables were announced',
      retryable: true,
      hint: 'The table unanimous_branch is gone: run `unanimous init`.',
    })
  }
  invariant(xid !== undefined, 'a prepared branch without an xid')
  return { branch, xid, record: { participant, bqual: xid.bqual, ...answer.evidence } }
}

function votePhase({ gtrid }: Transaction, branch: Branch): Promise<Vote> {
  const { participant } = branch
  return tracedAnswer('prepare', { gtrid, participant }, () => branch.vote())
}

/** Returns only when the commit decision is durable. */
async function decide(
  context: CommitContext,
  tx: Transaction,
  prepared: readonly Prepared[],
): Promise<void> {
  const stopped = context.stopped()
  if (stopped !== undefined) {
    throw new TransactionError(stopped.code, stopped.message, {
      outcome: 'rolled-back',
      gtrid: tx.gtrid,
      hint: stopped.hint,
      cause: stopped,
    })
  }
  tx.proceed('deciding')
  tx.disarm()
  if (!context.inert) await context.failpoints('decide:before')
  const force = context.log.decide(commitRecord(context, tx, prepared))
  let decided: Decision | typeof LATE
  try {
    decided = await context.waits.force.within(force)
  } catch (cause) {
    if (context.log.register(tx.gtrid) === 'open') throw notHandedOver(tx, cause)
    tx.move('in-doubt')
    abandon(context, tx, prepared)
    throw inDoubt(tx, prepared, 'DECISION_IN_DOUBT', 'the commit record could not be forced', {
      cause,
      hint: 'Restart the process: recovery reads what the disk holds and settles every branch alike.',
    })
  }
  if (decided === LATE) {
    finishBehind(context, tx, prepared, force)
    throw inDoubt(tx, prepared, 'DECISION_IN_DOUBT', 'the commit record is not durable yet', {
      hint: 'The disk of the decision log is slow. `coordinator.outcome(gtrid)` answers later.',
    })
  }
  if (decided === 'abort') {
    tx.move('aborting')
    throw new TransactionError('ROLLED_BACK', 'abort was decided before the commit', {
      outcome: 'rolled-back',
      gtrid: tx.gtrid,
    })
  }
}

/** The log refused the record before it took it: abort is still certain. */
function notHandedOver(tx: Transaction, cause: unknown): TransactionError {
  tx.move('aborting')
  const known = cause instanceof UnanimousError ? cause : undefined
  return new TransactionError(known?.code ?? 'LOG_POISONED', messageOf(cause), {
    outcome: 'rolled-back',
    gtrid: tx.gtrid,
    hint: known?.hint,
    cause,
  })
}

/** The caller has been answered; the force may still return, and then its decision is carried out. */
function finishBehind(
  context: CommitContext,
  tx: Transaction,
  prepared: readonly Prepared[],
  force: Promise<Decision>,
): void {
  tx.move('in-doubt')
  force
    .then(
      (decided) => {
        invariant(decided === 'commit', 'a handed-over commit became an abort')
        return phaseTwo(context, tx, prepared)
      },
      () => abandon(context, tx, prepared),
    )
    // The caller has its answer; a heuristic is in the log and among the events.
    .catch(() => undefined)
}

/** Rule 2: touch no branch. Only a restart can learn what the disk holds. */
function abandon(context: CommitContext, tx: Transaction, prepared: readonly Prepared[]): void {
  for (const { branch } of prepared) {
    branch.abandon()
    // Nobody here may look for it as if it were aborted.
    context.settlements.unsettled.decided(branch.participant, tx.gtrid, 'commit')
    context.settlements.leave(branch.participant, tx.gtrid)
  }
  tx.finish()
}

async function phaseTwo(
  context: CommitContext,
  tx: Transaction,
  prepared: readonly Prepared[],
): Promise<void> {
  const { gtrid } = tx
  tx.move('committing')
  context.settlements.follow(gtrid, prepared.map(recordOf))
  if (!context.inert) await context.failpoints('commit:before')
  const deadline = context.clock.monotonic() + context.limits.settleMs
  // Own connections go back to their pools before the caller goes on, unless one is stuck.
  await context.waits.settle.within(settleAll(context, tx, prepared))
  let answers = answersOf(context, gtrid, prepared)
  // A heuristic is told at once. Poisoned: nobody here settles any more.
  while (conclude(answers) === 'unfinished' && context.log.poison === undefined) {
    const left = deadline - context.clock.monotonic()
    if (left <= 0) break
    await within(context.clock, left, context.settlements.nextAnswer(gtrid))
    answers = answersOf(context, gtrid, prepared)
  }
  const conclusion = conclude(answers)
  const known = answers.includes('committed')
  if (conclusion === 'mixed' || conclusion === 'hazard') {
    tx.move('heuristic')
    throw heuristic(tx, prepared, answers)
  }
  // With markers the log is expendable, but only for what some database is known to hold.
  if (conclusion === 'unfinished' && !known && isMarked(prepared)) {
    tx.move('in-doubt')
    throw inDoubt(
      tx,
      prepared,
      'COMMIT_UNCONFIRMED',
      'decided, but no database has confirmed yet',
      {
        hint: 'The decision is in the log and recovery carries it out. `coordinator.outcome(gtrid)` answers later.',
      },
    )
  }
  tx.move('committed')
}

/** Every branch on its own connection; what does not answer there is left to recovery. */
async function settleAll(
  context: CommitContext,
  tx: Transaction,
  prepared: readonly Prepared[],
): Promise<void> {
  let first = true
  const silent: string[] = []
  await Promise.all(
    prepared.map(async ({ branch, xid, record }) => {
      const participant = context.registry.get(branch.participant)
      invariant(participant !== undefined, 'a branch of no participant')
      // Rule 2: after a failed write this process settles nothing more.
      if (context.log.poison !== undefined) return branch.abandon()
      const startedAt = context.clock.monotonic()
      const settlement = await commitPhase(tx, branch)
      context.phases.took('settle', startedAt)
      if (first) {
        first = false
        if (!context.inert) await context.failpoints('commit:after-first')
      }
      const told = context.settlements.answerOf(participant, xid, record, settlement)
      const answer = isPending(told) ? await told : told
      if (!context.inert) await context.failpoints('commit:before-answered')
      if (answer === undefined) silent.push(branch.participant)
      else context.settlements.answer(tx.gtrid, xid.bqual, answer, 'live')
    }),
  )
  if (!context.inert) await context.failpoints('commit:after-all')
  // In this order: recovery leaves a live transaction alone.
  tx.finish()
  for (const participant of silent) {
    context.settlements.leave(participant, tx.gtrid)
    context.nudge(participant)
  }
}

function commitPhase({ gtrid }: Transaction, branch: Branch): Promise<Settlement> {
  const { participant } = branch
  const span = { gtrid, participant, decision: 'commit', by: 'live' } as const
  return tracedAnswer('settle', span, () => branch.commit())
}

function answersOf(context: CommitContext, gtrid: string, prepared: readonly Prepared[]): Answers {
  const answers = context.settlements.answersOf(gtrid)
  // Ended: every branch answered `committed`, and the decision is being forgotten.
  return answers.length === 0 ? prepared.map(() => 'committed') : answers
}

function commitRecord(
  context: CommitContext,
  tx: Transaction,
  prepared: readonly Prepared[],
): CommitRecord {
  const { name, meta } = tx.options
  return {
    gtrid: tx.gtrid,
    decidedAtMs: context.clock.now(),
    ...(name === undefined ? {} : { name }),
    ...(meta === undefined ? {} : { meta }),
    branches: prepared.map(recordOf),
  }
}

function recordOf({ record }: Prepared): BranchRecord {
  return record
}

function isMarked(prepared: readonly Prepared[]): boolean {
  return prepared.some(({ record }) => record.marker)
}
