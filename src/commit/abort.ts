/**
 * Presumed abort: nothing is written, every branch is rolled back.
 *
 * The register comes first (rule 12): once it holds the abort, no commit record can be written, and
 * only then may a branch be rolled back that has voted, or may have. A branch whose roll-back was
 * not confirmed is left to the sweep, which finds no commit record and rolls it back.
 */
import { messageOf, TransactionError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import type { Branch } from '../participant/branch.ts'
import type { Refusal, Settlement } from '../protocol/vocabulary.ts'
import { tracedAnswer } from '../tracing.ts'
import type { CommitContext } from './context.ts'
import type { Obstacle, Transaction } from './transaction.ts'

/**
 * Decides abort and rolls every enlisted branch back. Resolves when each was tried; then the
 * transaction is not live any more. Answers a branch whose work may be committed all the same.
 */
export async function abortTransaction(
  context: CommitContext,
  tx: Transaction,
): Promise<Obstacle | undefined> {
  if (tx.state !== 'aborting') tx.move('aborting')
  tx.disarm()
  const obstacle = tx.seal()
  let committed = obstacle?.refusal.code === 'ENDED_BY_APPLICATION' ? obstacle : undefined
  if (!context.inert) await context.failpoints('abort:before-decided')
  const decided = await context.log.abort(tx.gtrid)
  invariant(decided === 'abort', `${tx.gtrid} is committed in the log and aborted by its owner`)
  if (!context.inert) await context.failpoints('abort:before')
  let first = true
  const silent: string[] = []
  await Promise.all(
    tx.enlisted.map(async (branch) => {
      const startedAt = context.clock.monotonic()
      const settlement = await rollbackPhase(tx, branch)
      context.phases.took('settle', startedAt)
      if (settlement.kind === 'absent') {
        committed ??= { participant: branch.participant, refusal: goneBranch(settlement.cause) }
      } else if (settlement.kind !== 'answered') silent.push(branch.participant)
      if (!first) return
      first = false
      if (!context.inert) await context.failpoints('abort:after-first')
    }),
  )
  if (!context.inert) await context.failpoints('abort:after-all')
  // In this order: recovery leaves a live transaction alone.
  tx.finish()
  for (const participant of silent) {
    context.settlements.unsettled.decided(participant, tx.gtrid, 'abort')
    context.settlements.leave(participant, tx.gtrid)
    context.nudge(participant)
  }
  tx.move(committed === undefined ? 'rolled-back' : 'heuristic')
  return committed
}

function rollbackPhase({ gtrid }: Transaction, branch: Branch): Promise<Settlement> {
  const { participant } = branch
  const span = { gtrid, participant, decision: 'abort', by: 'live' } as const
  return tracedAnswer('settle', span, () => branch.rollback())
}

function goneBranch(cause: unknown): Refusal {
  return {
    code: 'ENDED_BY_APPLICATION',
    reason: 'the branch was gone when it was to be rolled back: what it did may be committed',
    retryable: false,
    hint: 'Look for a COMMIT in the callback, or for somebody who finished the branch by hand.',
    cause,
  }
}

/** What the caller hears when the callback threw. */
export function callbackError(
  context: CommitContext,
  tx: Pick<Transaction, 'gtrid' | 'enlisted'>,
  cause: unknown,
): TransactionError {
  // A refusal of this very transaction (no connection in time, COMMIT sent, …) speaks for itself.
  if (isOwn(tx, cause)) return cause
  return new TransactionError('CALLBACK_FAILED', `the callback threw: ${messageOf(cause)}`, {
    outcome: 'rolled-back',
    gtrid: tx.gtrid,
    cause,
    retryable: isTransient(context, tx.enlisted, cause),
    branches: tx.enlisted.map(({ participant }) => ({ participant, outcome: 'rolled-back' })),
    hint: 'Every database was rolled back; `cause` is what the callback threw.',
  })
}

/** What the caller hears when a branch cannot be committed. */
export function refusalError(
  tx: Transaction,
  participant: string,
  refusal: Refusal,
): TransactionError {
  // Its own COMMIT may have made a part durable that the other databases will not have.
  const ended = refusal.code === 'ENDED_BY_APPLICATION'
  const outcome = ended ? 'heuristic' : 'rolled-back'
  // What the callback swallowed was addressed to it: COMMIT was sent, no connection came free, …
  const swallowed = !ended && isOwn(tx, refusal.cause) ? refusal.cause : undefined
  const code = swallowed?.code ?? refusal.code
  return new TransactionError(code, `${participant}: ${refusal.reason}`, {
    outcome,
    gtrid: tx.gtrid,
    cause: refusal.cause,
    retryable: refusal.retryable,
    hint: refusal.hint ?? swallowed?.hint,
    branches: tx.enlisted.map((branch) =>
      branch.participant === participant
        ? { participant, outcome, reason: refusal.reason }
        : { participant: branch.participant, outcome: 'rolled-back' },
    ),
  })
}

function isOwn(tx: Pick<Transaction, 'gtrid'>, cause: unknown): cause is TransactionError {
  return cause instanceof TransactionError && cause.gtrid === tx.gtrid
}

/** ORMs wrap a driver's error in `cause`, more than once. */
const MAX_CAUSES = 8

function isTransient(
  context: CommitContext,
  branches: readonly Branch[],
  thrown: unknown,
): boolean {
  let cause = thrown
  for (let depth = 0; depth < MAX_CAUSES && cause !== undefined; depth += 1) {
    const error = cause
    if (branches.some((b) => context.registry.get(b.participant)?.isTransient(error) === true)) {
      return true
    }
    cause = cause instanceof Error ? cause.cause : undefined
  }
  return false
}
