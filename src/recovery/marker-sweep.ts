/**
 * Collects marker rows that nobody will ask for: of transactions that are neither live nor in the
 * log. A crash between the end of a decision and the deletion of its rows leaves such rows, and so
 * does every one-phase commit whose process died.
 *
 * The order is that of rule 5: markers are listed first, then live transactions, then decisions. A
 * row seen first belongs to a transaction that had committed by then.
 */
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
    if (unneeded.length > 0) await participant.collectMarkers(unneeded)
    // Rows that are still needed fill the round: the next sweep will find them free.
    if (found.length < BATCH || unneeded.length === 0) return
  }
}
