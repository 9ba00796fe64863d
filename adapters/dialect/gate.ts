/**
 * The application's side of a branch, the same for every driver: one statement at a time, in the
 * order in which they came, and none after the branch was sealed.
 *
 * Invariants:
 *  1. `open` runs once, for the first statement, and every statement waits for it.
 *  2. A transaction control statement is refused before anything is sent, and dooms the branch.
 *  3. After `seal` nothing new reaches the server, not even what had been queued.
 *  4. The first reason that dooms a branch is the one that is reported.
 */
import { messageOf, type Refusal, TransactionError } from '../../src/adapter.ts'
import { controlVerb } from './control.ts'

export interface GateOptions {
  readonly participant: string
  readonly gtrid: string
  /** The transaction's consent; answers how long `open` may wait for a connection, in ms. */
  enlist(): number
  /** Takes a connection and begins the branch on it. */
  open(boundMs: number): Promise<void>
}

export class Gate {
  readonly #options: GateOptions
  #opened: Promise<void> | undefined
  #tail: Promise<unknown> = Promise.resolve()
  #inFlight = 0
  #because: (() => Error) | undefined
  #doom: Refusal | undefined

  constructor(options: GateOptions) {
    this.#options = options
  }

  get enlisted(): boolean {
    return this.#opened !== undefined
  }

  /** Whether a statement, or the begin that precedes it, has not returned yet. */
  get busy(): boolean {
    return this.#inFlight > 0
  }

  get doomed(): Refusal | undefined {
    return this.#doom
  }

  /** Marks the branch as one that can only be rolled back. */
  doom(refusal: Refusal): void {
    this.#doom ??= refusal
  }

  /** Runs one statement of the application when those before it have returned. */
  async run<T>(text: unknown, send: () => Promise<T>): Promise<T> {
    this.#refuseSealed()
    this.#refuseControl(text)
    this.#opened ??= this.#open()
    this.#inFlight += 1
    const turn = this.#tail
    const { promise: done, resolve: finish } = deferred()
    this.#tail = turn.then(() => done)
    try {
      await turn
      await this.#opened
      this.#refuseSealed()
      return await send()
    } finally {
      this.#inFlight -= 1
      finish()
    }
  }

  /** Ends the application's part; answers what speaks against committing. */
  seal(because: () => Error): Refusal | undefined {
    this.#because ??= because
    if (this.#doom !== undefined) return this.#doom
    if (!this.busy) return undefined
    return {
      code: 'WORK_STILL_RUNNING',
      reason: `${this.#inFlight} statement(s) of ${this.#options.participant} still running`,
      retryable: false,
      hint: 'await every query before the callback returns',
    }
  }

  /** The enlist call is synchronous: a refusal must reach the very statement that asked. */
  #open(): Promise<void> {
    const boundMs = this.#options.enlist()
    const opened = this.#options.open(boundMs)
    opened.catch((cause: unknown) => {
      this.doom({
        code: 'STATEMENT_FAILED',
        reason: `${this.#options.participant} could not be enlisted: ${messageOf(cause)}`,
        retryable: cause instanceof TransactionError && cause.retryable,
        cause,
      })
    })
    return opened
  }

  #refuseSealed(): void {
    if (this.#because !== undefined) throw this.#because()
  }

  #refuseControl(text: unknown): void {
    const verb = typeof text === 'string' ? controlVerb(text) : undefined
    if (verb === undefined) return
    const { participant, gtrid } = this.#options
    const cause = new TransactionError('TRANSACTION_CONTROL', `${verb} inside ${participant}`, {
      outcome: 'rolled-back',
      gtrid,
      hint: 'return from the callback to commit, throw to roll back; SAVEPOINT is allowed',
    })
    this.doom({ code: 'STATEMENT_FAILED', reason: cause.message, retryable: false, cause })
    throw cause
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
