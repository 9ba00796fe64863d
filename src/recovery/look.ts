/**
 * What every participant is and lists: all at once, each for a bounded time (rule 8). Who cannot be
 * asked is part of the answer.
 */
import { type Clock, LATE, within } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { InvariantError } from '../invariant.ts'
import type { Glance, Participant, PreparedBranch } from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'

export interface LookOptions {
  readonly registry: Registry
  readonly clock: Clock
  /** How long a participant may take to answer, in ms. */
  readonly answerMs: number
  /** Asks only this participant. */
  readonly only?: string | undefined
  /** Takes participants as they are: whether they are fit is not asked. Default: it is. */
  readonly atAGlance?: boolean
}

interface Trouble {
  readonly kind: 'trouble'
  readonly trouble: UnanimousError
}

export type Look =
  | {
      readonly kind: 'listed'
      readonly server: string
      readonly markers: boolean
      readonly listed: readonly PreparedBranch[]
    }
  | Trouble
  | { readonly kind: 'not asked' }

/**
 * Asks what they are, then what they have prepared.
 *
 * @param lists - no list is taken before it resolves; when it rejects, so does this
 */
export async function lookAtAll(
  options: LookOptions,
  lists: Promise<unknown>,
): Promise<ReadonlyMap<string, Look>> {
  const { only, registry } = options
  const look = async (participant: Participant): Promise<Look> => {
    const { name } = participant
    if (only !== undefined && only !== name) return { kind: 'not asked' }
    const met = await answerOf(name, options, () => meet(participant, options))
    await lists
    if ('kind' in met) return met
    const { server, markers } = met
    const listed = await answerOf(name, options, () => met.list())
    return 'kind' in listed ? listed : { kind: 'listed', server, markers, listed }
  }
  const looks = [...registry.values()].map(async (one) => [one.name, await look(one)] as const)
  return new Map(await Promise.all(looks))
}

async function meet(participant: Participant, { atAGlance = false }: LookOptions): Promise<Glance> {
  if (atAGlance && participant.glance !== undefined) return participant.glance()
  const capabilities = await participant.contact()
  return { ...capabilities, list: () => participant.list() }
}

/** What a participant answers in its time, or why it did not. */
async function answerOf<T extends object>(
  name: string,
  { clock, answerMs }: LookOptions,
  ask: () => Promise<T>,
): Promise<T | Trouble> {
  try {
    const answer = await within(clock, answerMs, ask())
    if (answer !== LATE) return answer
    return trouble(`${name} did not answer within ${answerMs} ms`)
  } catch (cause) {
    if (cause instanceof InvariantError) throw cause
    if (cause instanceof UnanimousError) return { kind: 'trouble', trouble: cause }
    return trouble(`${name}: ${messageOf(cause)}`)
  }
}

function trouble(message: string): Trouble {
  return { kind: 'trouble', trouble: new UnanimousError('PARTICIPANT_UNREACHABLE', message) }
}
