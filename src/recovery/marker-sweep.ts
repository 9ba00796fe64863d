/**
 * Collects marker rows that nobody will ask for: of transactions that are neither live nor in the
 * log. A crash between the end of a decision and the deletion of its rows leaves such rows, and so
 * does every one-phase commit whose process died.
 *
 * The order is that of rule 5: markers are listed first, then live transactions, then decisions. A
 * row seen first belongs to a transaction that had committed by then.
 *
 * A row whose transaction nobody decided, and of which another branch is still prepared, was committed by
 * a hand: it is the only proof of that (heuristic-commits.ts), and stays until the other branch has ended.
 */
import { LATE, within } from '../clock.ts'
import type { Participant } from '../participant/participant.ts'
import type { RecoveryContext } from './pass.ts'

/** Rows a round reads; more rounds follow while it finds as many. */
const BATCH = 500

/**
 * Deletes the markers of this log that are not needed any more.
 *
 * @throws UnanimousError PARTICIPANT_UNREACHABLE
 */
export async function sweepMarkers(
  context: RecoveryContext,
  participant: Participant,
): Promise<void> {
  const { markers } = await participant.contact()
  if (!markers) return
  for (;;) {
    const found = await participant.listMarkers(`una1-${context.log.logId}-`, BATCH)
    const live = context.live.snapshot()
    if (context.log.poison !== undefined) return
    const unneeded = found.filter(
      (gtrid) =>
        !live.has(gtrid) &&
        !context.settlements.isNeeded(gtrid) &&
        context.log.find(gtrid) === undefined,
    )
    if (unneeded.length === 0) return
    const prepared = await preparedElsewhere(context, participant)
    if (prepared === undefined || context.log.poison !== undefined) return
    const free = unneeded.filter((gtrid) => !prepared.has(gtrid))
    if (free.length > 0) await participant.collectMarkers(free)
    // Rows that are still needed fill the round: the next sweep will find them free.
    if (found.length < BATCH || free.length === 0) return
  }
}

/** Its silence delays no pass for longer (rule 8), and the rows stay until the next sweep. */
const ANSWER_MS = 1_000

/** Transactions with a branch in another participant; `undefined` when one of those does not answer. */
async function preparedElsewhere(
  { registry, clock }: RecoveryContext,
  participant: Participant,
): Promise<ReadonlySet<string> | undefined> {
  const others = [...registry.values()].filter((one) => one !== participant)
  const lists = Promise.all(others.map((one) => one.list())).catch(() => undefined)
  const listed = await within(clock, ANSWER_MS, lists)
  if (listed === LATE || listed === undefined) return undefined
  return new Set(listed.flat().flatMap(({ xid }) => xid?.gtrid ?? []))
}
