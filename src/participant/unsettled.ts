/**
 * The branches that are decided and have not ended, by participant: for people, for the budget, and
 * for whoever closes. Nothing here decides about a branch.
 *
 *   decided ──its own path settles it──► ended
 *      └──────its own path lets go─────► left to recovery ──► ended
 *
 * An aborted branch is here from the moment its roll-back was not confirmed; whether it was ever
 * prepared, the next pass over its participant tells.
 */
import type { Clock } from '../clock.ts'
import type { Decision } from '../protocol/vocabulary.ts'
import { TurnoverMap } from '../turnover-map.ts'

interface Entry {
  readonly decision: Decision
  /** By the monotonic clock, in ms. */
  readonly sinceMs: number
  /** Of what {@link Unsettled.mark} answers. */
  readonly order: number
  left: boolean
}

/** What one participant has. */
export interface UnsettledBranches {
  /** Branches whose end is left to recovery. */
  readonly left: number
  /** Since the decision of the oldest branch that has not ended, in ms; 0 when there is none. */
  readonly oldestMs: number
}

const NONE: UnsettledBranches = { left: 0, oldestMs: 0 }

export class Unsettled {
  readonly #clock: Clock
  /** By participant, then by gtrid, in the order of their decisions. */
  readonly #branches: Map<string, TurnoverMap<string, Entry>> = new Map()
  readonly #left: Map<string, number> = new Map()
  #order = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @param ageMs - how long ago it was decided */
  decided(participant: string, gtrid: string, decision: Decision, ageMs = 0): void {
    const branches = this.#branches.get(participant) ?? new TurnoverMap<string, Entry>()
    this.#branches.set(participant, branches)
    if (branches.has(gtrid)) return
    this.#order += 1
    const sinceMs = this.#clock.monotonic() - Math.max(0, ageMs)
    branches.set(gtrid, { decision, sinceMs, order: this.#order, left: false })
  }

  /** Its own path has let go of it. */
  leave(participant: string, gtrid: string): void {
    const entry = this.#branches.get(participant)?.get(gtrid)
    if (entry === undefined || entry.left) return
    entry.left = true
    this.#left.set(participant, (this.#left.get(participant) ?? 0) + 1)
  }

  ended(participant: string, gtrid: string): void {
    const branches = this.#branches.get(participant)
    const entry = branches?.get(gtrid)
    if (entry === undefined) return
    branches?.delete(gtrid)
    if (entry.left) this.#left.set(participant, (this.#left.get(participant) ?? 0) - 1)
  }

  /** What came before this moment has a smaller order. */
  mark(): number {
    return this.#order
  }

  /**
   * A pass over the participant has looked, after `mark`, and could not roll these back. What else
   * was aborted before is not there.
   */
  passed(participant: string, mark: number, notRolledBack: ReadonlySet<string>): void {
    for (const [gtrid, { decision, order }] of this.#branches.get(participant)?.entries() ?? []) {
      if (decision === 'commit' || order > mark || notRolledBack.has(gtrid)) continue
      this.ended(participant, gtrid)
    }
    for (const gtrid of notRolledBack) {
      this.decided(participant, gtrid, 'abort')
      this.leave(participant, gtrid)
    }
  }

  of(participant: string): UnsettledBranches {
    const first = this.#branches.get(participant)?.values().next()
    if (first === undefined || first.done === true) return NONE
    const oldestMs = this.#clock.monotonic() - first.value.sinceMs
    return { left: this.#left.get(participant) ?? 0, oldestMs }
  }

  /** Transactions with a branch that has not ended. */
  gtrids(): ReadonlySet<string> {
    return new Set([...this.#branches.values()].flatMap((each) => [...each.keys()]))
  }
}
