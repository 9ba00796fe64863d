/**
 * Heuristic commits: branches that have committed although no commit is logged, by a hand that did not
 * ask. Their marker rows prove it (PROOF.md §3), while another branch of theirs is still prepared.
 *
 * Asked after the list and after the log: what is undecided then, with nobody owning the log, has
 * become impossible to commit by the protocol, so that a committed marker is nobody's but a person's.
 * It is evidence for people: a participant that does not answer leaves it out.
 */
import { type Clock, LATE, within } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { Participant, SeenMarker } from '../participant/participant.ts'

export interface HeuristicCommit {
  readonly participant: string
  readonly gtrid: string
  readonly bqual: string
}

/** @param participants - those that were listed and have marker rows */
export async function heuristicCommits(
  participants: readonly Participant[],
  gtrids: readonly string[],
  clock: Clock,
  answerMs: number,
): Promise<readonly HeuristicCommit[]> {
  if (gtrids.length === 0) return []
  const found = await Promise.all(
    participants.map(async (one) => {
      const markers = await within(clock, answerMs, markersOf(one, gtrids))
      const committed = markers === LATE ? [] : markers.filter(({ state }) => state === 'committed')
      return committed.map(({ gtrid, bqual }) => ({ participant: one.name, gtrid, bqual }))
    }),
  )
  return found.flat()
}

async function markersOf(
  participant: Participant,
  gtrids: readonly string[],
): Promise<readonly SeenMarker[]> {
  try {
    return await participant.markersOf(gtrids)
  } catch (cause) {
    if (cause instanceof UnanimousError) return []
    throw cause
  }
}
