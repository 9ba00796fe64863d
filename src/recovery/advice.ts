/** What to do about a branch, and why, in the words that the command line prints. Pure. */
import type { LogOwner } from '../log/decision-log.ts'
import type { BranchAnswer } from '../protocol/vocabulary.ts'
import type {
  Action,
  Advice,
  InspectedBranch,
  InspectedTransaction,
  SeenState,
} from './inspection.ts'

/** For a branch that recovery would act on, or should and cannot. */
export function resolutionAdvice(kind: 'commit' | 'rollback' | 'absent' | 'unrecorded'): Advice {
  switch (kind) {
    case 'commit':
      return { action: 'commit', why: 'the commit is logged' }
    case 'rollback':
      return { action: 'roll back', why: 'no commit is logged: presumed abort' }
    case 'absent':
      return { action: 'prove', why: 'the commit is logged, and its server lists it no more' }
    case 'unrecorded':
      return { action: 'report', why: 'the logged commit does not name this branch' }
  }
}

/** While another process holds the log. */
export function liveAdvice(owner: LogOwner | undefined, decided: boolean): Advice {
  const holder = `process ${owner?.pid} on ${owner?.host}`
  const why = decided ? `the commit is logged, and ${holder} settles it` : `live in ${holder}`
  return { action: 'leave', why }
}

/** For a branch of a logged commit that no list has shown and that has not answered. */
export function unseenAdvice(state: SeenState, owner: LogOwner | undefined): Advice {
  if (state === 'not configured') {
    return { action: 'report', why: 'the commit is logged, and its participant is not configured' }
  }
  if (owner !== undefined) return liveAdvice(owner, true)
  switch (state) {
    case 'unreachable':
      return { action: 'leave', why: 'the commit is logged, and its participant cannot be asked' }
    case 'not asked':
      return { action: 'leave', why: 'the commit is logged, and its participant was not asked' }
    default:
      // Logged after the first reading of the log, by a process that has let go of it since.
      return { action: 'leave', why: 'decided during this look: look again' }
  }
}

/** For a branch whose end the log holds. */
export function answeredAdvice(answer: BranchAnswer | 'heuristic-commit'): Advice {
  switch (answer) {
    case 'heuristic-commit':
      return { action: 'report', why: 'committed although no commit is logged' }
    case 'committed':
      return { action: 'leave', why: 'committed' }
    case 'committed-unproven':
      return { action: 'leave', why: 'committed, by its absence alone' }
    case 'heuristic-rollback':
      return { action: 'report', why: 'rolled back against the logged commit' }
    case 'heuristic-hazard':
      return { action: 'report', why: 'its end cannot be proven: its server was restarted' }
  }
}

/** Most urgent first. */
const URGENCY: readonly Action[] = ['report', 'commit', 'roll back', 'prove', 'leave']

/** For a whole transaction: its most urgent action, and all of them with their reasons. */
export function transactionAdvice(branches: readonly InspectedBranch[]): Advice {
  const open = branches
    .filter(({ answer, advice }) => answer === undefined || advice.action !== 'leave')
    .toSorted(byUrgency)
  const [first] = open
  if (first === undefined) return { action: 'leave', why: 'every branch has committed' }
  const groups: InspectedBranch[][] = []
  for (const each of open) {
    const same = groups.find(([one]) => one !== undefined && isSame(one.advice, each.advice))
    if (same === undefined) groups.push([each])
    else same.push(each)
  }
  const parts = groups.map((its) => `${its[0]?.advice.action} ${names(its)}: ${its[0]?.advice.why}`)
  return { action: first.advice.action, why: parts.join('; ') }
}

function isSame(one: Advice, other: Advice): boolean {
  return one.action === other.action && one.why === other.why
}

function byUrgency(a: InspectedBranch, b: InspectedBranch): number {
  return URGENCY.indexOf(a.advice.action) - URGENCY.indexOf(b.advice.action)
}

/** What ending the prepared branches by hand would do, either way: the hand is quick at night. */
export interface Choices {
  readonly commit: string
  readonly rollBack: string
}

export function choicesOf(transaction: InspectedTransaction, hasOwner: boolean): Choices {
  const { branches, decision } = transaction
  const prepared = branches.filter(({ state }) => state === 'prepared')
  if (prepared.length === 0) return { commit: NOTHING_PREPARED, rollBack: NOTHING_PREPARED }
  const all = names(prepared)
  if (decision === 'commit') {
    const by = hasOwner ? 'the running coordinator' : '`unanimous recover --apply`'
    const committed = names(branches.filter(({ answer }) => answer === 'committed'))
    const split = committed === '' ? 'the other branches commit' : `${committed} has committed`
    return {
      commit: `as decided: ${by} does it`,
      rollBack: `against the log, and splits the transaction: ${split}`,
    }
  }
  const alone = names(branches.filter(({ answer }) => answer === 'heuristic-commit'))
  if (alone !== '') {
    return {
      commit: `against the log, and follows ${alone}: with every branch the transaction is whole`,
      rollBack: `as presumed, and the transaction stays split: ${alone} has committed`,
    }
  }
  if (hasOwner) return { commit: MAY_CONTRADICT, rollBack: MAY_CONTRADICT }
  return {
    commit: `against the log: unless ${all} and every other branch commit, the transaction is split`,
    rollBack: 'as presumed: `unanimous recover --apply` does it',
  }
}

const NOTHING_PREPARED = 'nothing is prepared that could be ended by hand'
const MAY_CONTRADICT = 'may contradict what the running coordinator decides'

function names(branches: readonly InspectedBranch[]): string {
  return branches.map(({ participant }) => participant).join(' and ')
}
