/**
 * What an operator may decide, and how it is carried out: on a log that the caller owns.
 *
 * Rule 12: the register decides abort before anything is touched, and a logged commit wins over it.
 * The opposite of what the log holds is done only when the operator insists. Who, when, where and why
 * is durable before the first verb is sent, so that no branch ever ends by a hand that nobody knows.
 *
 *   the log holds    the operator wants    then
 *   commit           commit                what recovery would do
 *   commit           roll back             refused; when forced, the branch is a heuristic rollback
 *   nothing          roll back             presumed abort: what recovery would do
 *   nothing          commit                refused; when forced, nothing else says so but the record
 */
import type { Clock } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import { invariant } from '../invariant.ts'
import type { OperatedLog, OperatorEntry } from '../log/decision-log.ts'
import { MarkerCollector } from '../participant/marker-collector.ts'
import type { Participant } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { Settlements } from '../participant/settle.ts'
import type { BranchAnswer, BranchRecord, Decision } from '../protocol/vocabulary.ts'
import type { InspectedBranch, InspectedTransaction } from './inspection.ts'

export interface Wish {
  readonly decision: Decision
  /** Only the branch in this participant. */
  readonly branch?: string | undefined
  /** The operator insists on the opposite of what the log holds. */
  readonly against: boolean
}

/** A branch that the wish ends. */
export interface OperatorStep {
  readonly participant: string
  readonly bqual: string
  readonly decision: Decision
  /** Whether that is the opposite of what the log holds. */
  readonly against: boolean
}

/** Who it is, and why: every step is recorded with it. */
export type OperatorWord = Pick<OperatorEntry, 'who' | 'host' | 'reason'>

/** What became of a step. */
export interface Acted {
  readonly participant: string
  readonly bqual: string
  /** `undefined`: not known, or not done yet. */
  readonly did: BranchAnswer | 'rolled-back' | 'committed-against' | undefined
  /** What the server said where nothing was done. */
  readonly trouble?: string
  /** What may help. */
  readonly hint?: string
}

export interface OperateParts {
  readonly registry: Registry
  /** Owned and started; closed when this is over. */
  readonly log: OperatedLog
  readonly events: Events
  readonly clock: Clock
}

/**
 * The branches that a wish would end.
 *
 * @throws UnanimousError AGAINST_DECISION, INVALID_OPTION when there is nothing to end, or
 * PARTICIPANT_UNREACHABLE when that cannot be seen
 */
export function planWish(transaction: InspectedTransaction, wish: Wish): readonly OperatorStep[] {
  const { branch, decision } = wish
  const against = (transaction.decision === 'commit') !== (decision === 'commit')
  const meant = transaction.branches.filter((one) => !branch || one.participant === branch)
  if (meant.length === 0) {
    const names = transaction.branches.map(({ participant }) => participant).join(', ')
    throw new UnanimousError('INVALID_OPTION', `${transaction.gtrid} has no branch in ${branch}`, {
      hint: `It has branches in ${names}.`,
    })
  }
  const prepared = meant.filter(({ state }) => state === 'prepared')
  if (prepared.length === 0) throw nothingPrepared(meant)
  if (against && !wish.against) throw againstDecision(transaction)
  return prepared.map(({ participant, bqual }) => ({ participant, bqual, decision, against }))
}

function nothingPrepared(branches: readonly InspectedBranch[]): UnanimousError {
  const silent = branches.find(({ state }) => state === 'unreachable')
  if (silent !== undefined) {
    return new UnanimousError(
      'PARTICIPANT_UNREACHABLE',
      `${silent.participant} cannot be asked: it is not known whether its branch is prepared`,
      { hint: 'Run the command again when it answers.' },
    )
  }
  const names = branches.map(({ participant }) => participant).join(' and ')
  return new UnanimousError('INVALID_OPTION', `no branch is prepared in ${names}`, {
    hint: 'What is not prepared has ended: `unanimous recover --apply` finds out how.',
  })
}

function againstDecision({ decision, gtrid, state }: InspectedTransaction): UnanimousError {
  const message =
    decision === 'commit'
      ? `the commit of ${gtrid} is logged: rolling a branch back would split the transaction`
      : `no commit of ${gtrid} is logged, which means abort: committing a branch may split the transaction`
  return new UnanimousError('AGAINST_DECISION', message, {
    hint: `${state === 'heuristic' ? 'Another branch of it has committed by hand.' : '`unanimous recover --apply` carries out what was decided.'} To act against it all the same: --force-against-log --confirm ${gtrid}.`,
  })
}

/**
 * Carries the steps out, one after the other, each recorded first. The log is closed at the end, so
 * what this answers is durable.
 *
 * @throws UnanimousError AGAINST_DECISION when the log has come to hold something else than the plan
 * went by, and what the log throws
 */
export async function carryOutWish(
  parts: OperateParts,
  gtrid: string,
  steps: readonly OperatorStep[],
  word: OperatorWord,
): Promise<readonly Acted[]> {
  const { registry, log, events, clock } = parts
  const markers = new MarkerCollector(registry, clock)
  const settlements = new Settlements(log, events, clock, (id, names) => markers.collect(id, names))
  const acted: Acted[] = []
  try {
    const decided = await log.abort(gtrid)
    if (steps.some(({ decision, against }) => (decision !== decided) !== against)) {
      throw new UnanimousError('AGAINST_DECISION', `what the log holds of ${gtrid} has changed`, {
        hint: 'Nothing was done. Look again: `unanimous show`.',
      })
    }
    const pending = log.find(gtrid)
    if (pending !== undefined) settlements.resume([pending], clock.now())
    for (const step of steps) {
      const participant = registry.get(step.participant)
      invariant(participant !== undefined, 'a step is of a branch that its participant listed')
      await log.operator({ ...word, action: actionOf(step), gtrid, bqual: step.bqual })
      const record = pending?.record.branches.find(({ bqual }) => bqual === step.bqual)
      acted.push(await act(settlements, participant, gtrid, step, record))
    }
    await log.close()
    await markers.flush()
    return acted
  } finally {
    await log.close()
  }
}

/** As the log keeps it. */
export function actionOf({ decision, against }: OperatorStep): string {
  const verb = decision === 'commit' ? 'commit' : 'roll back'
  return against ? `${verb} against the log` : verb
}

async function act(
  settlements: Settlements,
  participant: Participant,
  gtrid: string,
  { bqual, decision, against }: OperatorStep,
  record: BranchRecord | undefined,
): Promise<Acted> {
  const xid = { gtrid, bqual }
  const its = { participant: participant.name, bqual }
  const recorded = record === undefined ? undefined : { server: record.server, only: false }
  const settlement = await participant.settle(xid, decision, recorded)
  const note = (answer: BranchAnswer): Acted => {
    settlements.answer(gtrid, bqual, answer, 'operator')
    return { ...its, did: answer }
  }
  if (settlement.kind === 'answered') {
    if (record !== undefined) return note(against ? 'heuristic-rollback' : 'committed')
    if (decision === 'abort') return { ...its, did: 'rolled-back' }
    return { ...its, did: against ? 'committed-against' : 'committed' }
  }
  if (record !== undefined) {
    const answer = await settlements.answerOf(participant, xid, record, settlement)
    if (answer !== undefined) return note(answer)
  }
  const { cause } = settlement
  const hint = cause instanceof UnanimousError ? cause.hint : undefined
  return { ...its, did: undefined, trouble: messageOf(cause), ...(hint !== undefined && { hint }) }
}

/**
 * Refuses to forget what is still needed.
 *
 * @param confirmed - the operator takes branches that have not answered for lost with their database
 * @throws UnanimousError INVALID_OPTION
 */
export function checkForget(transaction: InspectedTransaction, confirmed: boolean): void {
  const { gtrid, branches, decision, state } = transaction
  if (decision !== 'commit' || state === 'settled') {
    throw new UnanimousError('INVALID_OPTION', `there is nothing to forget of ${gtrid}`, {
      hint:
        state === 'settled'
          ? 'Every branch has committed: the log forgets it by itself.'
          : 'No decision of it is logged: `unanimous recover --apply` rolls its branches back.',
    })
  }
  const prepared = branches.filter((one) => one.state === 'prepared')
  if (prepared.length > 0) {
    const names = prepared.map(({ participant }) => participant).join(' and ')
    throw new UnanimousError('INVALID_OPTION', `${gtrid} is still prepared in ${names}`, {
      hint: 'Forgotten, its branches would be rolled back. `unanimous recover --apply` first.',
    })
  }
  const open = branches.filter(({ answer }) => answer === undefined)
  if (open.length === 0 || confirmed) return
  const names = open.map(({ participant }) => participant).join(' and ')
  throw new UnanimousError('INVALID_OPTION', `${gtrid} has not been answered by ${names}`, {
    hint: `Should ${names} come back with the branch prepared, it would be rolled back. If that database is lost for good: --confirm ${gtrid}.`,
  })
}

/**
 * Forgets a decision that no branch can be settled by any more. The log is closed at the end.
 *
 * @throws UnanimousError TRANSACTION_UNKNOWN, and what the log throws
 */
export async function forgetDecision(
  log: OperatedLog,
  gtrid: string,
  word: OperatorWord,
): Promise<void> {
  try {
    await log.forget({ ...word, action: 'forget', gtrid })
  } finally {
    await log.close()
  }
}
