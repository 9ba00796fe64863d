/**
 * Budget: how much may be unsettled in one participant before new work there is refused.
 *
 * Every unsettled branch keeps its locks, and a place among the server's prepared transactions. A
 * participant that cannot be settled must not collect them without end; those that do not touch it go
 * on (rule 8). Whoever has enlisted already goes on too: to refuse half of a transaction helps nobody.
 */
import { TransactionError, UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Unsettled } from './unsettled.ts'

/** What a participant may have unsettled. */
export interface BudgetOptions {
  /** Branches whose end is left to recovery; more than these refuse. Default 100. `Infinity`: any number. */
  readonly unsettled?: number
  /**
   * Since the decision of the oldest branch that has not ended, in ms; an older one refuses. Default
   * `Infinity`: one branch that waits for an operator would stop the whole participant.
   */
  readonly ageMs?: number
}

export class Budget {
  readonly #limits: Required<BudgetOptions>
  readonly #unsettled: Unsettled
  readonly #events: Events
  readonly #exceeded: Set<string> = new Set()

  constructor(limits: Required<BudgetOptions>, unsettled: Unsettled, events: Events) {
    this.#limits = limits
    this.#unsettled = unsettled
    this.#events = events
  }

  /** The error for a transaction that would enlist the participant; `undefined` while it may. */
  refusal(participant: string, gtrid: string): TransactionError | undefined {
    const { left, oldestMs } = this.#unsettled.of(participant)
    const exceeded = this.isExceeded(participant)
    if (exceeded !== this.#exceeded.has(participant)) {
      if (exceeded) this.#exceeded.add(participant)
      else this.#exceeded.delete(participant)
      this.#events.emit('participant:budget', { participant, exceeded, unsettled: left, oldestMs })
    }
    if (!exceeded) return undefined
    const age = `the oldest for ${Math.round(oldestMs / 1_000)} s`
    return new TransactionError(
      'PARTICIPANT_OVER_BUDGET',
      `${participant} has ${left} unsettled branches, ${age}: it takes no new ones`,
      {
        outcome: 'rolled-back',
        gtrid,
        retryable: true,
        hint: 'Recovery settles them as soon as it can; `unanimous list` tells what keeps it. The limits are `budget: { unsettled, ageMs }`.',
      },
    )
  }

  isExceeded(participant: string): boolean {
    const { left, oldestMs } = this.#unsettled.of(participant)
    return left > this.#limits.unsettled || oldestMs > this.#limits.ageMs
  }
}

const OFF: Required<BudgetOptions> = {
  unsettled: Number.POSITIVE_INFINITY,
  ageMs: Number.POSITIVE_INFINITY,
}

/**
 * @param given - `false`: no limits
 * @throws UnanimousError INVALID_OPTION
 */
export function completeBudget(given: BudgetOptions | false = {}): Required<BudgetOptions> {
  if (given === false) return OFF
  const { unsettled = 100, ageMs = OFF.ageMs } = given
  for (const [name, value] of Object.entries({ unsettled, ageMs })) {
    if (typeof value === 'number' && value >= 0) continue
    throw new UnanimousError('INVALID_OPTION', `budget.${name} cannot be ${String(value)}`, {
      hint: 'Give a number from 0; Infinity, or `budget: false`, is no limit.',
    })
  }
  return { unsettled, ageMs }
}
