/**
 * Savepoints over every branch: `tx.savepoint(fn)` and `{ propagation: 'nested' }`.
 *
 * A branch sets the savepoint when its first statement behind it arrives. So a branch that is not
 * used there costs nothing, and one that is enlisted there is rolled back to its beginning.
 *
 * A branch whose roll-back to the savepoint is not confirmed can only be rolled back as a whole; it
 * remembers that itself, and refuses at the commit.
 */
import type { Outcome } from '../protocol/vocabulary.ts'
import type { Place } from './ambient.ts'
import type { CommitContext } from './context.ts'
import type { Hooks } from './hooks.ts'
import { Scope } from './scope.ts'

/**
 * Runs `work` behind a savepoint in every branch, also in those that are enlisted within it.
 *
 * @throws what `work` throws, after every branch was rolled back to the savepoint; or what forbids
 * to keep the work, likewise
 */
export async function runInSavepoint<T>(
  context: CommitContext,
  { tx, scope: from }: Place,
  work: () => Promise<T> | T,
): Promise<T> {
  tx.refuseEnded()
  const outer = from.nearestOpen
  const finish = await outer.takeTurn()
  try {
    tx.refuseEnded()
    const scope = new Scope(tx.nextSavepoint(), outer)
    const place = { tx, scope }
    try {
      const value = await context.ambient.run(place, async () => work())
      await end(place, 'release')
      outer.hooks.adopt(scope.hooks)
      return value
    } catch (cause) {
      await end(place, 'rollback').catch(() => undefined)
      await runHooks(context, tx.gtrid, scope.hooks, 'rolled-back')
      throw cause
    }
  } finally {
    finish()
  }
}

/** Runs the hooks for the outcome, outside of the transaction. Never rejects. */
export async function runHooks(
  context: CommitContext,
  gtrid: string,
  hooks: Hooks,
  outcome: Outcome,
): Promise<void> {
  for (const hook of hooks.take(outcome)) {
    try {
      await context.ambient.run(undefined, hook)
    } catch (cause) {
      context.events.emit('transaction:hook-failed', { gtrid, outcome, cause })
      // Not what it says: it is the application's, and may hold what no log should.
      const what = cause instanceof Error ? cause.name : typeof cause
      process.emitWarning(`a hook of ${gtrid} threw a ${what}`, 'UnanimousWarning')
    }
  }
}

async function end({ tx, scope }: Place, how: 'release' | 'rollback'): Promise<void> {
  scope.end()
  const ends = tx.enlisted.map((branch) => branch.endSavepoint(scope.name, how))
  const failed = (await Promise.allSettled(ends)).find((each) => each.status === 'rejected')
  if (failed?.status === 'rejected') throw failed.reason
}
