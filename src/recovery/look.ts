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

/** A participant that was not asked, or could not be, or how to list it. */
export type Meeting = Glance | Trouble | { readonly kind: 'not asked' }

export type Look =
  | {
      readonly kind: 'listed'
      readonly server: string
      readonly markers: boolean
      readonly listed: readonly PreparedBranch[]
    }
  | Trouble
  | { readonly kind: 'not asked' }

/** Asks what they are. */
export async function meetAll(options: LookOptions): Promise<ReadonlyMap<string, Meeting>> {
  const { only, atAGlance = false, registry } = options
  const meet = async (participant: Participant): Promise<Glance> => {
    if (atAGlance && participant.glance !== undefined) return participant.glance()
    const capabilities = await participant.contact()
    return { ...capabilities, list: () => participant.list() }
  }
  const met = [...registry.values()].map(async (one): Promise<readonly [string, Meeting]> => {
    if (only !== undefined && only !== one.name) return [one.name, { kind: 'not asked' }]
    return [one.name, await answerOf(one.name, options, () => meet(one))]
  })
  return new Map(await Promise.all(met))
}

/** Lists what they have prepared. */
export async function lookAtAll(
  meetings: ReadonlyMap<string, Meeting>,
  options: LookOptions,
): Promise<ReadonlyMap<string, Look>> {
  const looks = [...meetings].map(async ([name, met]): Promise<readonly [string, Look]> => {
    if ('kind' in met) return [name, met]
    const { server, markers } = met
    const listed = await answerOf(name, options, () => met.list())
    if ('kind' in listed) return [name, listed]
    return [name, { kind: 'listed', server, markers, listed }]
  })
  return new Map(await Promise.all(looks))
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
