/**
 * Heuristic commits: branches that have committed although no commit is logged, by a hand that did not
 * ask. Their marker rows prove it (PROOF.md §3), while another branch of theirs is still prepared.
 *
 * Asked after the list and after the log: what is undecided then, and live in no process, has become
 * impossible to commit by the protocol, so that a committed marker is nobody's but a person's.
 * A participant that does not answer leaves it out: presumed abort needs no witness (rule 8).
 */
import { type Clock, LATE, within } from '../clock.ts'
import { InvariantError } from '../invariant.ts'
import type { Participant, SeenMarker } from '../participant/participant.ts'

export interface HeuristicCommit {
  readonly participant: string
  readonly gtrid: string
  readonly bqual: string
}

/** Transactions that a participant is asked for at a time. */
const BATCH = 500

/**
 * @param participants - one without marker rows has nothing to say
 * @param answerMs - how long a participant may take for each batch; afterwards it is not asked again
 */
export async function heuristicCommits(
  participants: readonly Participant[],
  gtrids: readonly string[],
  clock: Clock,
  answerMs: number,
): Promise<readonly HeuristicCommit[]> {
  const found = await Promise.all(
    participants.map(async (one) => {
      const committed: HeuristicCommit[] = []
      for (let from = 0; from < gtrids.length; from += BATCH) {
        const some = gtrids.slice(from, from + BATCH)
        const markers = await within(clock, answerMs, markersOf(one, some))
        if (markers === LATE || markers === undefined) break
        for (const { gtrid, bqual, state } of markers) {
          if (state === 'committed') committed.push({ participant: one.name, gtrid, bqual })
        }
      }
      return committed
    }),
  )
  return found.flat()
}

async function markersOf(
  participant: Participant,
  gtrids: readonly string[],
): Promise<readonly SeenMarker[] | undefined> {
  try {
    return await participant.markersOf(gtrids)
  } catch (cause) {
    if (cause instanceof InvariantError) throw cause
    return undefined
  }
}
