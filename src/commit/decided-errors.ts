/** What the caller hears when a commit may have been decided, and is not carried out everywhere. */
import { TransactionError, type TransactionErrorCode } from '../errors.ts'
import type { BranchAnswer } from '../protocol/vocabulary.ts'
import type { Transaction } from './transaction.ts'

/** Of each branch, as far as it has answered. */
export type Answers = readonly (BranchAnswer | undefined)[]

type Branches = readonly { readonly branch: { readonly participant: string } }[]

/** What the commit record has become is not known, or whether any database has the work. */
export function inDoubt(
  tx: Transaction,
  prepared: Branches,
  code: TransactionErrorCode,
  message: string,
  details: { cause?: unknown; hint: string },
): TransactionError {
  return new TransactionError(code, message, {
    outcome: 'in-doubt',
    gtrid: tx.gtrid,
    branches: prepared.map(({ branch }) => ({
      participant: branch.participant,
      outcome: 'in-doubt',
    })),
    ...details,
  })
}

/** A branch ended against the decision, or may have. */
export function heuristic(tx: Transaction, prepared: Branches, answers: Answers): TransactionError {
  const mixed = answers.includes('heuristic-rollback')
  return new TransactionError(
    mixed ? 'HEURISTIC_MIXED' : 'HEURISTIC_HAZARD',
    mixed
      ? 'commit was decided, and a branch was rolled back by somebody else'
      : 'commit was decided, and how a branch ended cannot be proven',
    {
      outcome: 'heuristic',
      gtrid: tx.gtrid,
      branches: prepared.map(({ branch }, index) => ({
        participant: branch.participant,
        outcome: reportOf(answers[index]),
        reason: answers[index] ?? 'not settled yet',
      })),
      hint: `Compare the databases by hand: \`unanimous show ${tx.gtrid}\`.`,
    },
  )
}

function reportOf(answer: BranchAnswer | undefined): 'committed' | 'rolled-back' | 'in-doubt' {
  if (answer === 'committed' || answer === 'committed-unproven') return 'committed'
  return answer === 'heuristic-rollback' ? 'rolled-back' : 'in-doubt'
}
