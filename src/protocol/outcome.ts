/**
 * From the answers of the branches of a logged commit to what happened to the data.
 *
 * A heuristic is a fact about a branch. One branch proven rolled back makes the whole mixed; one
 * whose end nobody can prove makes it a hazard; mixed outweighs hazard, being the stronger fact.
 */
import type { BranchAnswer } from './vocabulary.ts'

export type Conclusion = 'committed' | 'mixed' | 'hazard' | 'unfinished'

/** Folds the answers of all branches; `undefined` stands for a branch that has not answered. */
export function conclude(answers: readonly (BranchAnswer | undefined)[]): Conclusion {
  if (answers.includes('heuristic-rollback')) return 'mixed'
  if (answers.includes('heuristic-hazard')) return 'hazard'
  return answers.includes(undefined) ? 'unfinished' : 'committed'
}

/** Whether the answer lets the decision be forgotten without an operator. */
export function isCommitted(answer: BranchAnswer): boolean {
  return answer === 'committed' || answer === 'committed-unproven'
}
