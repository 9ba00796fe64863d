/**
 * What the branches on a screen keep from others. Asked last, for those that are shown and no more:
 * evidence for a person, and no decision is based on it. Who does not answer in time leaves it out.
 */
import { type Clock, LATE, within } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { Participant, PreparedBranch, SeenHold } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import type { InspectedParticipant, InspectedTransaction, Inspection } from './inspection.ts'

export interface HoldsOptions {
  readonly registry: Registry
  readonly clock: Clock
  readonly answerMs: number
  /** The transactions that a person will see. */
  readonly shown: readonly InspectedTransaction[]
}

/**
 * A server finds the locks of one branch among those of all. Where more are prepared, only who waits is
 * asked for a page of them; for a single transaction its locks always are.
 */
const MOST_PREPARED = 1_000

/** The inspection with what is held by the transactions that are shown, which are part of it. */
export async function withHolds(
  inspection: Inspection,
  options: HoldsOptions,
): Promise<Inspection> {
  const asked = inspection.participants.filter(({ prepared = 0 }) => prepared > 0)
  const answers = await Promise.all(
    asked.map(
      async (one) =>
        [one.name, await holdsOf(options.registry.get(one.name), one, options)] as const,
    ),
  )
  const seen = new Map(answers)
  const shown = new Set(options.shown.map(({ gtrid }) => gtrid))
  return {
    ...inspection,
    participants: inspection.participants.map((one) => {
      const waiting = seen.get(one.name)?.filter(({ id }) => id === undefined) ?? []
      return waiting.length === 0
        ? one
        : { ...one, waiting: waiting.flatMap((hold) => hold.waiting) }
    }),
    transactions: inspection.transactions.map((each) =>
      shown.has(each.gtrid) ? withItsHolds(each, seen) : each,
    ),
  }
}

function withItsHolds(
  each: InspectedTransaction,
  seen: ReadonlyMap<string, readonly SeenHold[]>,
): InspectedTransaction {
  const branches = each.branches.map((branch) => {
    const holds = seen
      .get(branch.participant)
      ?.find(({ id }) => id !== undefined && id === branch.id)
    return holds === undefined ? branch : { ...branch, holds }
  })
  return { ...each, branches }
}

async function holdsOf(
  participant: Participant | undefined,
  { name, prepared = 0 }: InspectedParticipant,
  { clock, answerMs, shown }: HoldsOptions,
): Promise<readonly SeenHold[]> {
  if (participant?.holds === undefined) return []
  const isTooDear = shown.length > 1 && prepared > MOST_PREPARED
  const branches = (isTooDear ? [] : shown)
    .flatMap((each) => each.branches)
    .flatMap(({ participant: its, id }): PreparedBranch[] =>
      its === name && id !== undefined ? [{ id }] : [],
    )
  try {
    const seen = await within(clock, answerMs, participant.holds(branches))
    return seen === LATE ? [] : seen
  } catch (cause) {
    if (cause instanceof UnanimousError) return []
    throw cause
  }
}
