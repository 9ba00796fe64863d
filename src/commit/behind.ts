/**
 * Second phases that run behind their callers' answers (`settle: 'behind'`), up to a bound.
 *
 * A transaction that is being settled keeps its connections and its row locks. Were there no bound,
 * callers that are faster than the databases settle would fill the databases with prepared branches,
 * and every row that they touch again would be waited for. At the bound a transaction waits for its
 * own settlement, as without the option: that slows the callers down to what is settled.
 */
import { TransactionError, UnanimousError } from '../errors.ts'

export interface SettleBehindOptions {
  /**
   * Transactions of this coordinator that may be settled behind at one time, until the last branch of
   * each has answered; further ones wait for their own settlement. Default 64. 0: every one waits.
   */
  readonly max?: number
}

export class Behind {
  readonly #max: number
  readonly #stop: (cause: unknown) => void
  #running = 0

  /** @param stop - told of what no second phase may fail with */
  constructor(max: number, stop: (cause: unknown) => void) {
    this.#max = max
    this.#stop = stop
  }

  get running(): number {
    return this.#running
  }

  /**
   * Whether nobody has to wait for the second phase: it is looked after here.
   *
   * @param answered - resolves when every branch has answered, whoever settled it: until then it is
   * prepared, and keeps its locks
   */
  take(settling: Promise<void>, answered: () => Promise<void>): boolean {
    if (this.#running >= this.#max) return false
    this.#running += 1
    settling
      .catch((cause: unknown) => {
        // The caller has its answer; a heuristic is in the log and among the events.
        if (!(cause instanceof TransactionError)) this.#stop(cause)
      })
      .then(answered)
      .then(
        () => {
          this.#running -= 1
        },
        (cause: unknown) => this.#stop(cause),
      )
    return true
  }
}

/** @throws UnanimousError INVALID_OPTION */
export function completeSettleBehind({ max = 64 }: SettleBehindOptions = {}): number {
  if (typeof max === 'number' && max >= 0) return max
  throw new UnanimousError('INVALID_OPTION', `settleBehind.max cannot be ${String(max)}`, {
    hint: 'Give a number of transactions from 0.',
  })
}
