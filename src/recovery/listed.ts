/**
 * What the participants list, gone through once and sorted by what it is. There may be tens of
 * thousands, of which a person sees a page: nothing is put together here. Pure.
 */
import type { PreparedBranch } from '../participant/participant.ts'
import { type Observation, resolve, resolveListed } from '../protocol/resolution.ts'
import { participantIn } from '../xid.ts'
import { type ApartResolution, apartOf, isApart, isOwn, type ResolvedPart } from './evidence.ts'
import type { ApartBranch } from './inspection.ts'

/** What one participant showed. Which logged commits it should list is asked for each by itself. */
export type Seen = Omit<Observation<PreparedBranch>, 'settleable'>

const NONE: readonly never[] = []

export class Listed {
  /** Transactions of this log that it did not decide, each with the first prepare that a server dates. */
  readonly undecided: ReadonlyMap<string, number | undefined>
  /** What no decision of this log can speak for. */
  readonly apart: readonly ApartResolution[]
  readonly #sorted: readonly Sorted[]

  constructor(seen: readonly Seen[]) {
    const undecided = new Map<string, number | undefined>()
    this.undecided = undecided
    this.#sorted = seen.map((one) => sort(one, undecided))
    this.apart = this.#sorted.flatMap(({ apart }) => apart)
  }

  /** Whether a participant, or any of them, lists a branch of the transaction. */
  has(gtrid: string, participant?: string): boolean {
    return this.#sorted.some(
      ({ seen, own }) =>
        (participant === undefined || participant === seen.participant) && own().has(gtrid),
    )
  }

  /** Of {@link apart}, at most so many. */
  apartBranches(most: number): readonly ApartBranch[] {
    let left = most
    return this.#sorted.flatMap(({ seen, apart }) => {
      const some = apart.slice(0, left)
      left -= some.length
      return some.map((resolution) => apartOf(seen.participant, resolution))
    })
  }

  /**
   * What was seen of a few transactions, by gtrid.
   *
   * @param settleable - the logged commits of these that should be listed
   */
  partsOf(
    gtrids: ReadonlySet<string>,
    settleable: Observation['settleable'],
  ): ReadonlyMap<string, readonly ResolvedPart[]> {
    const parts = new Map<string, ResolvedPart[]>()
    for (const { seen, ours, names } of this.#sorted) {
      const listed = ours.filter((_, at) => gtrids.has(names[at] ?? ''))
      for (const resolution of resolve({ ...seen, listed, settleable })) {
        if (!isOwn(resolution)) continue
        const gtrid = resolution.kind === 'absent' ? resolution.gtrid : resolution.xid.gtrid
        const part = { participant: seen.participant, resolution }
        const its = parts.get(gtrid)
        if (its === undefined) parts.set(gtrid, [part])
        else its.push(part)
      }
    }
    return parts
  }
}

interface Sorted {
  readonly seen: Seen
  /** Of transactions of this log. */
  readonly ours: readonly PreparedBranch[]
  /** The gtrid of each: spelled once. */
  readonly names: readonly string[]
  readonly apart: readonly ApartResolution[]
  /** The transactions of this log that it lists, worked out when it is asked for. */
  readonly own: () => ReadonlySet<string>
}

function sort(seen: Seen, undecided: Map<string, number | undefined>): Sorted {
  const { participant, decision } = seen
  const observation = { ...seen, settleable: NONE }
  const ours: PreparedBranch[] = []
  const names: string[] = []
  const apart: ApartResolution[] = []
  for (const branch of seen.listed) {
    const { xid } = branch
    const isDecided = xid !== undefined && decision(xid.gtrid) !== undefined
    // The log speaks for it, whatever it says.
    const isPlain = isDecided && participantIn(xid.bqual) === participant
    const resolution = isPlain ? undefined : resolveListed(observation, branch, xid)
    const kind = resolution?.kind
    const isUndecided = kind === 'rollback' || kind === 'live'
    if (resolution !== undefined && isApart(resolution)) apart.push(resolution)
    if (xid === undefined || !(isDecided || isUndecided)) continue
    ours.push(branch)
    names.push(xid.gtrid)
    if (!isDecided) undecided.set(xid.gtrid, earlier(undecided.get(xid.gtrid), branch))
  }
  let known: ReadonlySet<string> | undefined
  const own = (): ReadonlySet<string> => {
    known ??= new Set(
      names.filter((_, at) => {
        const branch = ours[at]
        return branch !== undefined && isOwn(resolveListed(observation, branch, branch.xid))
      }),
    )
    return known
  }
  return { seen, ours, names, apart, own }
}

function earlier(known: number | undefined, { preparedAtMs }: PreparedBranch): number | undefined {
  if (known === undefined || preparedAtMs === undefined) return known ?? preparedAtMs
  return Math.min(known, preparedAtMs)
}
