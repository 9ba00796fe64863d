/**
 * Life of a global transaction.
 *
 *   active ──► preparing ──► deciding ──► committing ──► committed
 *     │            │            │             └────────► heuristic   a branch ended otherwise
 *     │            │            ├──► in-doubt    the force failed or is late
 *     │            │            └──► aborting    somebody else decided abort first
 *     │            ├──► one-phase   a single branch has written
 *     │            └──► committed   no branch has written: nothing to decide
 *     ├──► one-phase ──► committed | in-doubt | aborting    one branch, nothing logged
 *     ├──► committed    no participant was used
 *     └──► aborting (from preparing too) ──► rolled-back | heuristic
 *
 * Invariants
 *  1. `committing` is entered only after the commit decision is durable.
 *  2. From `committing` nothing leads to `aborting`: a durable decision is never reversed.
 *  3. From `deciding` on, no deadline, signal or close turns back (rule 10).
 */
import { invariant } from '../invariant.ts'

export type TransactionState =
  | 'active'
  | 'preparing'
  | 'one-phase'
  | 'deciding'
  | 'committing'
  | 'aborting'
  | 'in-doubt'
  | 'committed'
  | 'rolled-back'
  | 'heuristic'

type Transitions = { readonly [S in TransactionState]: readonly TransactionState[] }

export const TRANSACTION_TRANSITIONS: Transitions = {
  active: ['preparing', 'one-phase', 'aborting', 'committed'],
  preparing: ['deciding', 'one-phase', 'committed', 'aborting'],
  'one-phase': ['committed', 'in-doubt', 'aborting'],
  deciding: ['committing', 'aborting', 'in-doubt'],
  committing: ['committed', 'heuristic', 'in-doubt'],
  aborting: ['rolled-back', 'heuristic'],
  'in-doubt': ['committing'],
  committed: [],
  'rolled-back': [],
  heuristic: [],
}

/** Until the decision is handed to the log, and unless it was already made. */
export const ABORTABLE: readonly TransactionState[] = ['active', 'preparing']

/**
 * The only way to change a transaction's state.
 *
 * @throws InvariantError for a step that the table does not have
 */
export function transition(from: TransactionState, to: TransactionState): TransactionState {
  const mayMove = TRANSACTION_TRANSITIONS[from].includes(to)
  if (!mayMove) invariant(false, `no transition from ${from} to ${to}`)
  return to
}
