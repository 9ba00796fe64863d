/**
 * One branch has written, or none: no prepare, no commit record.
 *
 * The database's own COMMIT is the commit point. Its answer may be lost, and then only proof tells
 * (a marker row, PostgreSQL's transaction id). Without proof the outcome stays in doubt, with
 * nothing for recovery to settle: `recoverable: false`.
 */

import { LATE, sleep, within } from '../clock.ts'
import { messageOf, TransactionError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import type { Branch } from '../participant/branch.ts'
import type { BranchEvidence, OnePhaseAnswer } from '../protocol/vocabulary.ts'
import { tracedAnswer } from '../tracing.ts'
import { refusalError } from './abort.ts'
import type { CommitContext } from './context.ts'
import type { Transaction } from './transaction.ts'

/** Between two looks for a proof. */
const LOOK_AGAIN_MS = 100

/**
 * Commits the one branch that may have written.
 *
 * @throws TransactionError with the branch's refusal, ONE_PHASE_IN_DOUBT, or what aborted `tx`
 */
export async function commitInOnePhase(
  context: CommitContext,
  tx: Transaction,
  branch: Branch,
): Promise<void> {
  tx.proceed('one-phase')
  tx.disarm()
  if (!context.inert) await context.failpoints('one-phase:before')
  const { participant } = branch
  const span = {
    gtrid: tx.gtrid,
    participant,
    decision: 'commit',
    by: 'live',
    onePhase: true,
  } as const
  const startedAt = context.clock.monotonic()
  const answer = await tracedAnswer('settle', span, () => answerInTime(context, tx, branch))
  context.phases.took('settle', startedAt)
  if (!context.inert) await context.failpoints('one-phase:after')
  const known = answer.kind === 'unknown' ? await proveAnswer(context, branch, answer) : answer
  switch (known.kind) {
    case 'committed':
      if (known.marker) context.markers.collect(tx.gtrid, [branch.participant])
      tx.move('committed')
      tx.finish()
      return
    case 'refused':
      throw refusalError(tx, branch.participant, known.refusal)
    case 'unknown':
      tx.move('in-doubt')
      tx.finish()
      throw new TransactionError(
        'ONE_PHASE_IN_DOUBT',
        `${branch.participant}: the answer to COMMIT was lost: ${messageOf(known.cause)}`,
        {
          outcome: 'in-doubt',
          recoverable: false,
          gtrid: tx.gtrid,
          cause: known.cause,
          branches: [{ participant: branch.participant, outcome: 'in-doubt' }],
          hint: 'Look for the work in the database. Marker rows (`unanimous init`) make the answer provable.',
        },
      )
  }
}

/** A server that has gone silent must not keep the caller for ever: then the answer is lost. */
async function answerInTime(
  context: CommitContext,
  tx: Transaction,
  branch: Branch,
): Promise<OnePhaseAnswer> {
  const answer = branch.commitOnePhase(true)
  const limitMs = Math.max(tx.leftMs, context.limits.settleMs)
  if ((await within(context.clock, limitMs, answer)) === LATE) branch.abandon()
  return answer
}

/**
 * Ends the branches that are proven to have written nothing.
 *
 * @throws TransactionError when one of them does not confirm: what it read may not hold
 */
export async function endReadOnly(tx: Transaction, branches: readonly Branch[]): Promise<void> {
  const answers = await Promise.all(branches.map((branch) => branch.commitOnePhase(false)))
  for (const [index, answer] of answers.entries()) {
    const branch = branches[index]
    invariant(branch !== undefined, 'an answer without its branch')
    if (answer.kind === 'refused') throw refusalError(tx, branch.participant, answer.refusal)
    if (answer.kind === 'unknown') {
      throw refusalError(tx, branch.participant, {
        code: 'CONNECTION_LOST',
        reason: `the connection was lost: ${messageOf(answer.cause)}`,
        retryable: true,
        cause: answer.cause,
      })
    }
  }
}

async function proveAnswer(
  context: CommitContext,
  branch: Branch,
  lost: OnePhaseAnswer & { readonly evidence: BranchEvidence },
): Promise<OnePhaseAnswer> {
  const participant = context.registry.get(branch.participant)
  const { xid } = branch
  invariant(participant !== undefined && xid !== undefined, 'what was committed was enlisted')
  const deadline = context.clock.monotonic() + context.limits.settleMs
  while (context.clock.monotonic() < deadline) {
    const proof = await participant.proveOnePhase(xid, lost.evidence)
    switch (proof.kind) {
      case 'committed':
        return { kind: 'committed', marker: lost.evidence.marker }
      case 'rolled-back':
        return {
          kind: 'refused',
          refusal: {
            code: 'CONNECTION_LOST',
            reason: 'the connection was lost, and the work is proven to be rolled back',
            retryable: true,
          },
        }
      case 'none':
        return lost
      case 'look-again':
        await sleep(context.clock, LOOK_AGAIN_MS)
    }
  }
  return lost
}
