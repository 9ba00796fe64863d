/** Counts the events of a coordinator. */
import type { TransactionErrorCode } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Outcome } from '../protocol/vocabulary.ts'

/** What recovery met in one participant. */
export interface RecoveryCounts {
  /** Branches that recovery committed, or found committed. */
  readonly committed: number
  /** Branches that recovery rolled back. */
  readonly rolledBack: number
  /** Branches that ended against the decision, or may have. */
  readonly heuristic: number
  /** Branches that this log cannot speak for: reported, and never touched. */
  readonly reported: number
  /** How often it was found unreachable after it had been reachable. */
  readonly outages: number
}

type Counts = { -readonly [K in keyof RecoveryCounts]: RecoveryCounts[K] }

export class Tally {
  readonly ended: Record<Outcome, number> = {
    committed: 0,
    'rolled-back': 0,
    'in-doubt': 0,
    heuristic: 0,
  }
  readonly codes: { [C in TransactionErrorCode]?: number } = {}
  readonly #participants: Map<string, Counts> = new Map()

  constructor(events: Events) {
    events.on('transaction:ended', ({ outcome, code }) => {
      this.ended[outcome] += 1
      if (code !== undefined) this.codes[code] = (this.codes[code] ?? 0) + 1
    })
    events.on('branch:settled', ({ participant, answer, by }) => {
      if (by === 'recovery' && answer.startsWith('committed')) this.of(participant).committed += 1
    })
    events.on('branch:rolled-back', ({ participant }) => {
      this.of(participant).rolledBack += 1
    })
    events.on('branch:heuristic', ({ participant }) => {
      this.of(participant).heuristic += 1
    })
    events.on('branch:reported', ({ participant }) => {
      this.of(participant).reported += 1
    })
    events.on('participant:unreachable', ({ participant }) => {
      this.of(participant).outages += 1
    })
  }

  of(participant: string): Counts {
    const known = this.#participants.get(participant)
    if (known !== undefined) return known
    const made = { committed: 0, rolledBack: 0, heuristic: 0, reported: 0, outages: 0 }
    this.#participants.set(participant, made)
    return made
  }
}
