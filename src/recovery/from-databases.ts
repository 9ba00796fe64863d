/**
 * Recovery without the log (PROOF.md §5): asks the databases, judges, and settles what they allow.
 *
 *   1. sessions            of every participant, before anything of any
 *   2. prepared branches   likewise
 *   3. marker rows, and the rows of `unanimous_log`
 *   4. the verdicts: protocol/from-databases.ts, where the order is argued
 *   5. a transaction's branches one after the other; whatever is not a plain answer to a roll-back
 *      (busy: somebody else is finishing it) leaves the rest of it alone for the next look
 *
 * Nothing here reads the log, and no answer is remembered: every look starts from the databases.
 */
import { type Clock, LATE, sleep, within } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { InvariantError, invariant } from '../invariant.ts'
import type {
  Announcement,
  Participant,
  PreparedBranch,
  SeenSessions,
} from '../participant/participant.ts'
import type { Registry } from '../participant/registry.ts'
import { judge, mayPass, type Testimony, type Verdict } from '../protocol/from-databases.ts'
import { parseGtrid } from '../xid.ts'
import type { InspectedParticipant } from './inspection.ts'

export interface DatabasesOptions {
  readonly registry: Registry
  readonly clock: Clock
  /** How long a participant may take for each of the three questions, in ms. */
  readonly answerMs: number
  /** Log ids of which the operator says that their owner is dead. */
  readonly dead: ReadonlySet<string>
  /** The id of the log that is there and sound. */
  readonly present: string | undefined
}

export interface DatabasesLook {
  /** When the look ended, in ms since the epoch. */
  readonly atMs: number
  readonly participants: readonly InspectedParticipant[]
  readonly verdicts: readonly Verdict<PreparedBranch>[]
}

/** A branch that was settled by what the databases told. */
export interface SettledBranch {
  readonly gtrid: string
  readonly participant: string
  readonly bqual: string
  readonly did: 'committed' | 'rolled-back'
}

/** What every gtrid begins with. */
const OURS = 'una1-'
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1_000

/** Asks every participant, changes nothing. Participants that cannot be asked are part of the answer. */
export async function lookWithoutLog(options: DatabasesOptions): Promise<DatabasesLook> {
  const { registry, clock, dead, present } = options
  const witnesses = [...registry.values()].map((participant) => new Witness(participant, options))
  await Promise.all(witnesses.map((one) => one.seeSessions()))
  await Promise.all(witnesses.map((one) => one.seeBranches()))
  const ours = new Map(witnesses.flatMap((one) => one.ours))
  const [gtrids, logIds] = [[...ours.keys()], [...new Set(ours.values())]]
  await Promise.all(witnesses.map((one) => one.seeRows(gtrids, logIds)))
  const participants = new Map(witnesses.map((one) => [one.name, one.testimony]))
  return {
    atMs: clock.now(),
    participants: witnesses.map((one) => one.inspected),
    verdicts: judge({ participants, dead, present }),
  }
}

/**
 * Looks and settles, until nothing is left that time alone may change, or the time is over. What is
 * left is for the caller to look at again.
 *
 * @param waitMs - how long to try again, in ms; 0: one look
 */
export async function recoverWithoutLog(
  options: DatabasesOptions,
  waitMs: number,
): Promise<readonly SettledBranch[]> {
  const { registry, clock } = options
  const done: SettledBranch[] = []
  const deadline = clock.monotonic() + waitMs
  let pauseMs = FIRST_PAUSE_MS
  for (;;) {
    const { verdicts } = await lookWithoutLog(options)
    let open = false
    for (const verdict of verdicts) {
      const complete = await carryOut(registry, verdict, done)
      open ||= !complete
    }
    const leftMs = deadline - clock.monotonic()
    if (!open || leftMs <= 0) return done
    await sleep(clock, Math.min(pauseMs, leftMs))
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
  }
}

/** Answers whether another look soon would find nothing else. */
async function carryOut(
  registry: Registry,
  { gtrid, action, branches, hindrances }: Verdict<PreparedBranch>,
  done: SettledBranch[],
): Promise<boolean> {
  if (action === 'leave') return !hindrances.every(mayPass)
  const commits = action === 'commit'
  let complete = true
  for (const { participant, xid } of branches) {
    const settlement = await registry.get(participant)?.settle(xid, commits ? 'commit' : 'abort')
    if (settlement?.kind === 'answered') {
      const did = commits ? 'committed' : 'rolled-back'
      done.push({ gtrid, participant, bqual: xid.bqual, did })
      continue
    }
    // Gone, busy or unknown: somebody else may be committing it. Nothing more is rolled back of it.
    if (!commits) return false
    complete = false
  }
  return complete
}

/** One participant's answers, as far as it gave them. */
class Witness {
  readonly name: string
  readonly #participant: Participant
  readonly #options: DatabasesOptions
  #capabilities: { readonly server: string; readonly markers: boolean } | undefined
  #sessions: SeenSessions | undefined
  #listed: readonly PreparedBranch[] | undefined
  #testimony: Testimony<PreparedBranch> | undefined
  #trouble: UnanimousError | undefined

  constructor(participant: Participant, options: DatabasesOptions) {
    this.name = participant.name
    this.#participant = participant
    this.#options = options
  }

  /** Of branches that were spelled by this library: gtrid and log id. */
  get ours(): readonly (readonly [string, string])[] {
    return (this.#listed ?? []).flatMap(({ xid }) => {
      const gtrid = xid === undefined ? undefined : parseGtrid(xid.gtrid)
      return xid === undefined || gtrid === undefined ? [] : [[xid.gtrid, gtrid.logId] as const]
    })
  }

  /** `undefined` unless every question was answered in its time: later it is of another moment. */
  get testimony(): Testimony<PreparedBranch> | undefined {
    return this.#trouble === undefined ? this.#testimony : undefined
  }

  get inspected(): InspectedParticipant {
    return {
      name: this.name,
      ...this.#capabilities,
      ...(this.#listed === undefined ? {} : { prepared: this.#listed.length }),
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
    }
  }

  seeSessions(): Promise<void> {
    return this.#ask(async () => {
      this.#capabilities = await this.#participant.contact()
      this.#sessions = await this.#participant.sessions(OURS)
    })
  }

  seeBranches(): Promise<void> {
    return this.#ask(async () => {
      this.#listed = await this.#participant.list()
    })
  }

  seeRows(gtrids: readonly string[], logIds: readonly string[]): Promise<void> {
    return this.#ask(async () => {
      const [sessions, listed] = [this.#sessions, this.#listed]
      invariant(sessions !== undefined && listed !== undefined, 'it has answered both questions')
      const markers = await this.#participant.markersOf(gtrids)
      const announced = await this.#rowsOf(logIds)
      this.#testimony = { participant: this.name, sessions, listed, markers, announced }
    })
  }

  async #rowsOf(
    logIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly Announcement[]> | undefined> {
    const rows = new Map<string, readonly Announcement[]>()
    for (const logId of logIds) {
      const announced = await this.#participant.announced(logId)
      if (announced === undefined) return undefined
      rows.set(logId, announced)
    }
    return rows
  }

  /** Once it failed to answer it is asked nothing more: a half-known participant is a silent one. */
  async #ask(work: () => Promise<void>): Promise<void> {
    if (this.#trouble !== undefined) return
    const { clock, answerMs } = this.#options
    try {
      if ((await within(clock, answerMs, work())) !== LATE) return
      this.#fail(`${this.name} did not answer within ${answerMs} ms`)
    } catch (cause) {
      if (cause instanceof InvariantError) throw cause
      if (cause instanceof UnanimousError) this.#trouble = cause
      else this.#fail(`${this.name}: ${messageOf(cause)}`, cause)
    }
  }

  #fail(message: string, cause?: unknown): void {
    this.#trouble = new UnanimousError('PARTICIPANT_UNREACHABLE', message, { cause })
  }
}
