/** What the application holds as `tx`, as types over its participants, and what it is told later. */

import type { Statement } from '../commit/execute.ts'
import type { TransactionVerbs } from '../commit/handles.ts'
import type { AnswerOf, HandleOf } from '../participant/participant.ts'
import type { Participants } from '../participant/registry.ts'
import type { Outcome } from '../protocol/vocabulary.ts'

/** What the callback of a transaction receives: a handle by participant name. */
export type TransactionHandles<P extends Participants> = {
  readonly [N in keyof P & string]: HandleOf<P[N]>
} & TransactionVerbs

/** A transaction that its holder ends. Disposal rolls back what was not committed. */
export type OpenTransaction<P extends Participants> = TransactionHandles<P> &
  AsyncDisposable & {
    /**
     * Commits in every database, or in none.
     *
     * @throws TransactionError with `outcome`: `rolled-back`, `in-doubt` or `heuristic`
     */
    commit(): Promise<void>
    /** @throws TransactionError TRANSACTION_ENDED when it was committed */
    rollback(): Promise<void>
  }

/** What statements given in advance answer: each what its participant's driver does. */
export type Answers<P extends Participants, S extends readonly Statement[]> = {
  -readonly [I in keyof S]: S[I] extends { readonly on: infer N extends keyof P }
    ? AnswerOf<P[N]>
    : never
}

/** What the log knows of a transaction. */
export type KnownOutcome = Extract<Outcome, 'committed' | 'rolled-back' | 'in-doubt'> | 'unknown'
