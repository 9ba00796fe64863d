/**
 * What the databases alone decide about prepared branches when the log is lost (PROOF.md §5). Pure:
 * the observations come in, the verdicts go out.
 *
 * The observations must have been made in this order, each of every participant before the next of
 * any: sessions, prepared branches, marker rows. The owner is dead, so what was on its way when it
 * died is all that can still move:
 *  - no session runs a statement that names the log, none that has prepared is connected, so no
 *    COMMIT of it is under way;
 *  - then a branch that is missing in a list has ended, or was never prepared;
 *  - then a marker that is missing is the proof that it has not committed, nor will.
 * In any other order a COMMIT could end between two looks and be seen in neither.
 *
 * A committed marker commits the rest, whoever lives and whoever is silent: with markers no branch
 * is committed before the decision was durable. A roll-back needs everybody's testimony:
 *  1. the operator's word that the owner of this log is dead
 *  2. that the branch's own database names the participants of its incarnation: without rows it was
 *     prepared where nothing was promised
 *  3. every participant named there, with both tables, and rows of its own: one without them is a
 *     database that had no tables then, or not the one that the name stood for
 *  4. that we see what the sessions run that could end the branch: all of them, or those of the
 *     branch's owner, if that is who we are
 */
import { formatIncarnation, type ParsedGtrid, parseBqual, parseGtrid, type Xid } from '../xid.ts'

export interface ListedBranch {
  readonly id: string
  readonly xid?: Xid | undefined
  readonly owner?: string
}

/** What a participant said. */
export interface Testimony<L extends ListedBranch = ListedBranch> {
  readonly participant: string
  /** First. */
  readonly sessions: {
    readonly naming: readonly { readonly id: string; readonly statement: string }[]
    readonly hidden: boolean
    readonly user: string
  }
  /** Second. */
  readonly listed: readonly L[]
  /** Third, of every transaction that anybody listed. */
  readonly markers: readonly {
    readonly gtrid: string
    readonly bqual: string
    readonly state: 'committed' | 'open'
    readonly session?: string
  }[]
  /** Rows of `unanimous_log` by log id; `undefined` without both tables. */
  readonly announced:
    | ReadonlyMap<string, readonly { readonly incarnation: string; readonly participant: string }[]>
    | undefined
}

export interface Testimonies<L extends ListedBranch = ListedBranch> {
  /** Of each configured participant; `undefined` when it did not answer every question. */
  readonly participants: ReadonlyMap<string, Testimony<L> | undefined>
  /** Log ids of which the operator says that their owner is dead. */
  readonly dead: ReadonlySet<string>
  /** The log that the configuration names, where it is there and sound: it decides for its own. */
  readonly present: string | undefined
}

export interface WitnessedBranch<L extends ListedBranch = ListedBranch> {
  readonly participant: string
  readonly xid: Xid
  readonly branch: L
}

export interface Verdict<L extends ListedBranch = ListedBranch> {
  readonly gtrid: string
  readonly logId: string
  /** Those that their own participant lists: no other is ever settled. */
  readonly branches: readonly WitnessedBranch<L>[]
  readonly action: 'commit' | 'roll back' | 'leave'
  /** Participants that hold a committed marker. */
  readonly committedIn: readonly string[]
  /** Everything that speaks against settling what is left of it. */
  readonly hindrances: readonly Hindrance[]
}

export type Hindrance =
  /** The log of the configuration is sound, and this transaction is its own. */
  | { readonly kind: 'log-present' }
  /** Nobody said that the owner of the log is dead. */
  | { readonly kind: 'no-word'; readonly logId: string }
  | { readonly kind: 'session'; readonly participant: string; readonly id: string }
  /** Sessions are hidden from us, and the branch is not of our own user. */
  | { readonly kind: 'hidden-sessions'; readonly participant: string }
  | { readonly kind: 'not-configured'; readonly participant: string }
  /** Listed by another participant's server, and not by its own. */
  | { readonly kind: 'elsewhere'; readonly participant: string; readonly seenBy: string }
  | { readonly kind: 'silent'; readonly participant: string }
  | { readonly kind: 'no-tables'; readonly participant: string }
  /** Its table holds no row of its own for this incarnation. */
  | { readonly kind: 'not-announced'; readonly participant: string }
  /** A marker is there whose branch is neither prepared nor committed: look again. */
  | { readonly kind: 'open-marker'; readonly participant: string }

/** What may be over at the next look, without anybody's doing. */
export function mayPass({ kind }: Hindrance): boolean {
  return kind === 'session' || kind === 'silent' || kind === 'open-marker'
}

/** Judges every transaction of this library that some participant lists, in the order of gtrids. */
export function judge<L extends ListedBranch>(seen: Testimonies<L>): Verdict<L>[] {
  const parsed = new Map<string, ParsedGtrid>()
  for (const { listed } of testimonies(seen)) {
    for (const { xid } of listed) {
      const parts = xid === undefined ? undefined : parseGtrid(xid.gtrid)
      if (xid !== undefined && parts !== undefined) parsed.set(xid.gtrid, parts)
    }
  }
  const gtrids = [...parsed].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return gtrids.map(([gtrid, parts]) => judgeOne(seen, gtrid, parts))
}

function judgeOne<L extends ListedBranch>(
  seen: Testimonies<L>,
  gtrid: string,
  { logId, incarnation }: ParsedGtrid,
): Verdict<L> {
  const { branches, strays } = findBranches(seen, gtrid)
  const verdict = { gtrid, logId, branches, committedIn: [], hindrances: [] }
  if (logId === seen.present) {
    return { ...verdict, action: 'leave', hindrances: [{ kind: 'log-present' }] }
  }
  const committedIn = testimonies(seen)
    .filter(({ markers }) =>
      markers.some((one) => one.gtrid === gtrid && one.state === 'committed'),
    )
    .map(({ participant }) => participant)
  if (committedIn.length > 0) {
    const action = branches.length > 0 ? 'commit' : 'leave'
    return { ...verdict, action, committedIn, hindrances: strays }
  }
  const hindrances = [
    ...(seen.dead.has(logId) ? [] : [{ kind: 'no-word', logId } as const]),
    ...strays,
    ...sessionHindrances(seen, gtrid, logId, branches),
    ...witnessHindrances(seen, logId, formatIncarnation(incarnation), branches),
    ...openMarkers(seen, gtrid),
  ]
  return { ...verdict, action: hindrances.length === 0 ? 'roll back' : 'leave', hindrances }
}

/** An XA server lists the branches of all its participants to each of them. */
function findBranches<L extends ListedBranch>(
  seen: Testimonies<L>,
  gtrid: string,
): { branches: WitnessedBranch<L>[]; strays: Hindrance[] } {
  const branches: WitnessedBranch<L>[] = []
  const strange = new Map<string, { readonly participant: string; readonly seenBy: string }>()
  for (const { participant: lister, listed } of testimonies(seen)) {
    for (const branch of listed) {
      if (branch.xid?.gtrid !== gtrid) continue
      const { participant } = parseBqual(branch.xid.bqual)
      if (participant === lister) branches.push({ participant, xid: branch.xid, branch })
      else strange.set(branch.xid.bqual, { participant, seenBy: lister })
    }
  }
  for (const { xid } of branches) strange.delete(xid.bqual)
  const strays = [...strange.values()].map(
    ({ participant, seenBy }): Hindrance =>
      seen.participants.has(participant)
        ? { kind: 'elsewhere', participant, seenBy }
        : { kind: 'not-configured', participant },
  )
  return { branches, strays }
}

function sessionHindrances(
  seen: Testimonies,
  gtrid: string,
  logId: string,
  branches: readonly WitnessedBranch[],
): Hindrance[] {
  const hindrances: Hindrance[] = []
  for (const { participant, sessions, markers } of testimonies(seen)) {
    const naming = sessions.naming.filter(({ statement }) => statement.includes(logId))
    const ids = new Set(naming.map(({ id }) => id))
    for (const marker of markers) {
      if (marker.gtrid === gtrid && marker.session !== undefined) ids.add(marker.session)
    }
    for (const id of ids) hindrances.push({ kind: 'session', participant, id })
  }
  for (const { participant, branch } of branches) {
    const sessions = seen.participants.get(participant)?.sessions
    // Only who prepared it ends it, or a superuser by hand: our own sessions are never hidden.
    if (sessions?.hidden === true && branch.owner !== sessions.user) {
      hindrances.push({ kind: 'hidden-sessions', participant })
    }
  }
  return hindrances
}

/** Whoever may hold a branch of the transaction, by the rows of those that do. */
function witnessHindrances(
  seen: Testimonies,
  logId: string,
  incarnation: string,
  branches: readonly WitnessedBranch[],
): Hindrance[] {
  const named = (participant: string): readonly string[] =>
    (seen.participants.get(participant)?.announced?.get(logId) ?? [])
      .filter((row) => row.incarnation === incarnation)
      .map((row) => row.participant)
  const needed = new Set<string>()
  for (const { participant } of branches) {
    needed.add(participant)
    for (const one of named(participant)) needed.add(one)
  }
  return [...needed].flatMap((participant): Hindrance[] => {
    if (!seen.participants.has(participant)) return [{ kind: 'not-configured', participant }]
    const testimony = seen.participants.get(participant)
    if (testimony === undefined) return [{ kind: 'silent', participant }]
    if (testimony.announced === undefined) return [{ kind: 'no-tables', participant }]
    return named(participant).includes(participant) ? [] : [{ kind: 'not-announced', participant }]
  })
}

function openMarkers(seen: Testimonies, gtrid: string): Hindrance[] {
  const prepared = new Set(
    testimonies(seen).flatMap(({ listed }) =>
      listed.flatMap(({ xid }) => (xid?.gtrid === gtrid ? [xid.bqual] : [])),
    ),
  )
  return testimonies(seen).flatMap(({ participant, markers }) =>
    markers.some((one) => one.gtrid === gtrid && one.state === 'open' && !prepared.has(one.bqual))
      ? [{ kind: 'open-marker', participant } as const]
      : [],
  )
}

function testimonies<L extends ListedBranch>(seen: Testimonies<L>): readonly Testimony<L>[] {
  return [...seen.participants.values()].filter((one) => one !== undefined)
}
