/**
 * `transaction()` inside a transaction. What joins ends with the transaction around it: its failure
 * takes all of it back, also where the code around swallows the error.
 */
import { TransactionError } from '../errors.ts'
import type { IsolationLevel } from '../protocol/vocabulary.ts'
import { callbackError } from './abort.ts'
import type { Place } from './ambient.ts'
import type { CommitContext } from './context.ts'
import type { CheckedOptions } from './options.ts'
import { runInSavepoint } from './savepoint.ts'

/**
 * Runs `work` in the transaction at `place`: in it, or behind a savepoint of it.
 *
 * @throws TransactionError TRANSACTION_ENDED, INVALID_OPTION for an isolation that the transaction
 * around does not have, or CALLBACK_FAILED
 */
export async function joinTransaction<T>(
  context: CommitContext,
  place: Place,
  options: CheckedOptions,
  work: (handles: object) => Promise<T> | T,
): Promise<T> {
  const { tx } = place
  tx.refuseEnded()
  for (const name of context.registry.keys()) {
    refuseStronger(tx.gtrid, name, options.isolation(name), tx.options.isolation(name))
  }
  const nested = options.propagation === 'nested'
  try {
    if (nested) return await runInSavepoint(context, place, () => work(tx.handles))
    return await work(tx.handles)
  } catch (cause) {
    const error = callbackError(context, tx, cause)
    if (!nested) tx.refuseCommit(error)
    throw error
  }
}

const STRENGTH: readonly (IsolationLevel | undefined)[] = [
  undefined,
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
]

/** A branch has one isolation from its first statement on; a stronger one than asked for is right. */
function refuseStronger(
  gtrid: string,
  participant: string,
  asked: IsolationLevel | undefined,
  given: IsolationLevel | undefined,
): void {
  if (STRENGTH.indexOf(asked) <= STRENGTH.indexOf(given)) return
  throw new TransactionError(
    'INVALID_OPTION',
    `${participant}: ${asked} inside a transaction of ${given ?? 'the default isolation'}`,
    {
      outcome: 'rolled-back',
      gtrid,
      hint: 'Give the outermost transaction this isolation, or begin another: `propagation: "new"`.',
    },
  )
}
