/**
 * What a branch asks of its transaction, and its right to a connection (rule 9): before the transaction
 * holds one, the branch has a seat; from then on it needs none, and waits only so long.
 */
import { LATE, within } from '../clock.ts'
import type { BranchRequest, Seat } from '../participant/branch.ts'
import type { Claim } from '../participant/seats.ts'
import type { IsolationLevel } from '../protocol/vocabulary.ts'
import type { CommitContext } from './context.ts'
import type { CheckedOptions } from './options.ts'

/** The transaction, as its branches ask it. */
export interface Enlisting {
  readonly gtrid: string
  readonly options: CheckedOptions
  /** Names of the savepoints around the caller, outermost first. */
  readonly savepoints: readonly string[]
  /** Whether a branch has come by a connection. */
  readonly holdsConnection: boolean
  /**
   * @returns how long the branch may wait for a connection, in ms
   * @throws TransactionError when the transaction takes no further work, or the participant no new branch
   */
  enlist(participant: string): number
  /** A branch has come by a connection: from now on the others need no seat, and wait only so long. */
  hold(): void
}

export class Enlistment implements BranchRequest, Seat {
  readonly gtrid: string
  readonly isolation: IsolationLevel | undefined
  readonly readOnly: boolean
  readonly #context: CommitContext
  readonly #tx: Enlisting
  readonly #participant: string
  #claim: Claim | undefined
  #onceHeld: ((boundMs: number) => void) | undefined

  constructor(context: CommitContext, tx: Enlisting, participant: string) {
    this.#context = context
    this.#tx = tx
    this.#participant = participant
    this.gtrid = tx.gtrid
    this.isolation = tx.options.isolation(participant)
    this.readOnly = tx.options.isReadOnly(participant)
  }

  enlist(): number {
    return this.#tx.enlist(this.#participant)
  }

  seat(poolSize: number, boundMs: number): Seat | Promise<Seat | undefined> {
    if (this.#tx.holdsConnection) return this
    this.#claim = this.#context.seats.claim(this.#participant, poolSize)
    return this.#claim.admitted ? this : this.#waitFor(this.#claim, boundMs)
  }

  savepoints(): readonly string[] {
    return this.#tx.savepoints
  }

  outside<T>(work: () => T): T {
    return this.#context.ambient.run(undefined, work)
  }

  taken(): void {
    this.#tx.hold()
  }

  left(): void {
    this.#claim?.leave()
  }

  onceHeld(call: (boundMs: number) => void): void {
    if (this.#tx.holdsConnection) call(this.#context.limits.acquireMs)
    else this.#onceHeld = call
  }

  /** The transaction has come by its first connection. */
  held(): void {
    this.#claim?.waive()
    this.#onceHeld?.(this.#context.limits.acquireMs)
  }

  async #waitFor(claim: Claim, boundMs: number): Promise<Seat | undefined> {
    const admitted = await within(this.#context.clock, boundMs, claim.whenAdmitted())
    if (admitted !== LATE) return this
    claim.leave()
    return undefined
  }
}
