/**
 * First contact: what an owner of a log asks of every participant before it forces an incarnation
 * of its own (the coordinator and `unanimous recover --apply`).
 *
 * A branch of an incarnation that the log should know and does not proves that this log is a copy.
 * It must be seen now: after our own incarnation is forced, two logs of one identity would decide.
 * A participant that is down delays nothing (rule 8): its branches are checked by every later pass.
 */
import { type Clock, LATE, within } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { OpenedLog } from '../log/decision-log.ts'
import type { Participant } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { parseGtrid } from '../xid.ts'
import { copiedLog } from './pass.ts'

export interface FirstContact {
  /** Names of the participants that answered in time and are fit. */
  readonly answered: readonly string[]
  /** PARTICIPANT_UNFIT, each with the statement that mends it. */
  readonly unfit: readonly UnanimousError[]
}

/**
 * Asks every participant what it is and what it holds, each for at most `limitMs`.
 *
 * @throws UnanimousError LOG_COPIED
 */
export async function firstContact(
  registry: Registry,
  log: Pick<OpenedLog, 'logId' | 'standing'>,
  clock: Clock,
  limitMs: number,
): Promise<FirstContact> {
  const asked = [...registry.values()].map((participant) =>
    within(clock, limitMs, meet(participant, log)),
  )
  const answers = await Promise.all(asked)
  return {
    answered: answers.filter((answer) => typeof answer === 'string'),
    unfit: answers.filter((answer) => answer instanceof UnanimousError),
  }
}

async function meet(
  participant: Participant,
  log: Pick<OpenedLog, 'logId' | 'standing'>,
): Promise<string | UnanimousError | typeof LATE> {
  try {
    await participant.contact()
    for (const { id, xid } of await participant.list()) {
      const gtrid = xid === undefined ? undefined : parseGtrid(xid.gtrid)
      if (gtrid === undefined || gtrid.logId !== log.logId) continue
      if (log.standing(gtrid.incarnation) === 'alien') throw copiedLog(participant.name, id)
    }
    return participant.name
  } catch (cause) {
    if (!(cause instanceof UnanimousError)) throw cause
    if (cause.code === 'PARTICIPANT_UNREACHABLE') return LATE
    if (cause.code === 'PARTICIPANT_UNFIT') return cause
    throw cause
  }
}
