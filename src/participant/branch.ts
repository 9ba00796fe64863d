/**
 * Branch: the part of a global transaction in one participant.
 *
 *   handle ──first statement──► begun ──seal──► probe ──► vote ──► commit | rollback
 *                                                  └────► commitOnePhase
 *
 * What every implementation keeps:
 *  1. Nothing is taken from the pool before the first statement.
 *  2. A vote is `prepared` only when the server said so for *this* branch: its own command tag or
 *     OK, in a packet that first proves that the branch is still ours (PROOF.md §2).
 *  3. An error counts as an answer only if the dialect lists it for that verb. Everything else is
 *     unknown, and the connection is destroyed, never pooled.
 *  4. After `commit`, `rollback`, `commitOnePhase` or `abandon` the branch holds no connection.
 *  5. No method throws, except `seal`'s and `probe`'s documented ones: answers are values.
 */
import type {
  IsolationLevel,
  OnePhaseAnswer,
  Refusal,
  Settlement,
  Vote,
} from '../protocol/vocabulary.ts'
import type { Xid } from '../xid.ts'

/** A branch's right to a connection. */
export interface Seat {
  /** The connection is there. */
  taken(): void
  /** The connection has gone back, or will not come. */
  left(): void
  /**
   * Calls once, at once or before {@link taken}, when the transaction holds another connection: from then
   * on this one is waited for at most so many milliseconds.
   */
  onceHeld(call: (boundMs: number) => void): void
}

/** What a transaction asks of a participant when it makes a branch. */
export interface BranchRequest {
  readonly gtrid: string
  readonly isolation: IsolationLevel | undefined
  /** Declared by the user: the server is made to refuse writes. */
  readonly readOnly: boolean
  /**
   * Called once, synchronously, when the first statement arrives and before a connection is taken.
   * Answers how long the branch may wait for a connection, in milliseconds (rule 9).
   *
   * @throws TransactionError when the transaction takes no further work
   */
  enlist(): number
  /**
   * Waits until the branch may ask its pool for a connection (rule 9).
   *
   * @param poolSize - connections that the pool may open; `Infinity`: any number
   * @param boundMs - how long to wait, in ms
   * @returns at once where nobody else waits; `undefined` when the time is over first
   */
  seat(poolSize: number, boundMs: number): Seat | Promise<Seat | undefined>
  /**
   * Names of the savepoints around the caller, outermost first. The branch sets those that it does
   * not have before it runs the caller's statement. Each name is a plain SQL identifier.
   */
  savepoints(): readonly string[]
  /**
   * Runs `work` outside of the ambient transaction. Connections are made in it: what they report
   * later belongs to no transaction.
   */
  outside<T>(work: () => T): T
}

/** What the running code belongs to, as a participant's drop-in pool asks it. */
export interface AmbientBranch<Handle = unknown> {
  /** The participant's branch in the transaction around the caller; one that has ended refuses. */
  current(): Branch<Handle> | undefined
  /** Runs `work` outside of the ambient transaction. */
  outside<T>(work: () => T): T
}

/** One statement of a branch that is told all of them in advance. */
export interface GivenStatement {
  readonly text: string
  /** As the driver takes them. */
  readonly values?: unknown
}

export type GiveWhen = 'now' | 'with the vote'

/** What the statements answered, in their order, each as its driver tells it; once they are said. */
export type GivenAnswers = () => readonly unknown[]

/** What a branch knows of what it did. */
export type Probed = 'wrote' | 'read-only' | Refusal

export interface Branch<Handle = unknown> {
  readonly participant: string
  /** What the application holds: the driver's own query methods. */
  readonly handle: Handle
  /** Known once the branch was begun on the server. */
  readonly xid: Xid | undefined
  /** Whether a statement has reached for a connection: the branch takes part. */
  readonly enlisted: boolean

  /**
   * Another handle, as if a connection were taken from the pool: transactions that are begun on it
   * are nested, and are balanced by themselves.
   */
  checkOut(): Handle

  /**
   * Takes all that the branch will ever run; it takes no other statement. Resolves, `now`, once they
   * have run, all in one packet where the driver can; or, `with the vote`, once the branch has its
   * connection: nothing is said then, and all of it travels with the packet that votes, which may take
   * as long as the statements do. Where they cannot travel together, it is as `now`: what is said after
   * this has returned, and is not one packet, could outlive a roll-back and commit by itself.
   *
   * A statement that fails keeps everything behind it from being run: `now`, it is what this throws,
   * else a refusal. Either is STATEMENT_FAILED, with the driver's error as its cause.
   *
   * @throws TransactionError INVALID_OPTION or TRANSACTION_CONTROL before a connection is taken; what
   * enlisting is refused with; STATEMENT_FAILED, NOT_PREPARABLE or CONNECTION_LOST
   */
  give(statements: readonly GivenStatement[], when: GiveWhen): Promise<GivenAnswers>

  /**
   * Ends the savepoint of that name, if the branch has it, after the statements before.
   *
   * @throws what the server refuses it with. A roll-back that failed dooms the branch.
   */
  endSavepoint(name: string, how: 'release' | 'rollback'): Promise<void>

  /**
   * Ends the application's part: every further statement is rejected with `because`. Answers what
   * speaks against committing: a statement still running, a failed one that doomed the branch.
   */
  seal(because: () => Error): Refusal | undefined

  /**
   * Whether the branch has written. Costs a round trip only where the server can tell and what was
   * run leaves it possible that nothing was written. Answers a refusal when it cannot be learned; at
   * once where nothing is to be waited for.
   */
  probe(): Probed | Promise<Probed>

  /** Phase one. */
  vote(): Promise<Vote>

  /**
   * Commits without preparing.
   *
   * @param wrote - `false`: the branch is proven to be read-only, needs no marker and no evidence
   */
  commitOnePhase(wrote: boolean): Promise<OnePhaseAnswer>

  /** Phase two of a prepared branch, on the branch's own connection. */
  commit(): Promise<Settlement>

  /**
   * Ends the branch without effect, from any state, also with a statement or a vote in flight.
   * `answered` proves that nothing is left. Otherwise the connection was destroyed, and what may be
   * prepared is left to the sweep.
   */
  rollback(): Promise<Settlement>

  /**
   * Lets go of the branch as it is: its connection is destroyed and nothing is sent. For a prepared
   * branch whose decision is in doubt, which either verb could contradict (rule 2), and for a
   * `commitOnePhase` whose server has gone silent: that then answers `unknown`.
   */
  abandon(): void
}
