/**
 * Siblings: the logs of other processes under one root, recovered while nobody holds them.
 *
 *   1. who holds it               somebody: leave it, and look again soon
 *   2. inspect                    its log and all participants, without its lock, changing nothing
 *   3. is something to settle?    no: look again later. A lock taken for nothing costs an incarnation
 *   4. own it, look for signs of a copy, make it durable again, recover once, let it go
 *
 *  - Nothing of a sibling is live while its lock is ours: its owner is dead, on this kernel.
 *  - What is wrong with a sibling (damage, a copy, a failed write) stops that sibling alone.
 *  - Siblings wait for each other no more than participants do (rule 8).
 *  - A server that is not the recorded one commits nothing and answers nothing: the participants of
 *    this process need not be the owner's, and an answer of theirs would end the owner's decision.
 */
import type { Clock, Timer } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { Events } from '../events.ts'
import { readOwner } from '../log/log-lock.ts'
import type { LogSeams } from '../log/open-log.ts'
import { readLog } from '../log/read-log.ts'
import { openSibling, slotNames } from '../log/slots.ts'
import type { Registry } from '../participant/registry.ts'
import { firstContact } from '../recovery/first-contact.ts'
import { inspect } from '../recovery/inspect.ts'
import type { Inspection } from '../recovery/inspection.ts'
import { recoverOnce } from '../recovery/once.ts'
import type { LogRoot } from './location.ts'

export interface SiblingOptions {
  readonly location: LogRoot
  /** The slot that this process holds for itself. */
  readonly own: string
  readonly registry: Registry
  readonly events: Events
  readonly seams: Omit<LogSeams, 'onEvent'>
  /** How long a participant may take to answer, in ms. */
  readonly contactMs: number
}

/** Between two looks at who holds the slots, in ms. */
const TICK_MS = 1_000
/** Between two inspections of a slot in which nothing can be settled, in ms. */
const LONGEST_PAUSE_MS = 30_000
/** How long one visit tries again what a server keeps busy, in ms. */
const VISIT_MS = 2_000

interface Sibling {
  visit: Promise<void> | undefined
  dueMs: number
  pauseMs: number
  problem: string | undefined
  reported: ReadonlySet<string>
}

export class Siblings {
  readonly #options: SiblingOptions
  readonly #clock: Clock
  readonly #siblings: Map<string, Sibling> = new Map()
  /** Log ids by slot, and those that were looked for and are of no slot. */
  readonly #logIds: Map<string, string> = new Map()
  readonly #strangers: Set<string> = new Set()
  #timer: Timer | undefined
  #round: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: SiblingOptions) {
    this.#options = options
    this.#clock = options.seams.clock
  }

  start(): void {
    if (this.#stopped) return
    this.#round = this.visit()
    this.#timer = this.#clock.timer(TICK_MS, () => {
      this.#round.then(
        () => this.start(),
        () => undefined,
      )
    })
  }

  /** Begins no further visit; resolves when none is running and no lock is held. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.clear()
    await this.#round
    await this.settled()
  }

  /** Visits every sibling whose time has come. Resolves when the visits have begun. */
  async visit(): Promise<void> {
    const { location, own, seams } = this.#options
    const names = await slotNames(location.root, seams.files).catch(() => [])
    for (const name of names) {
      if (name === own || this.#stopped) continue
      const sibling = this.#sibling(name)
      if (sibling.visit !== undefined || this.#clock.monotonic() < sibling.dueMs) continue
      sibling.visit = this.#visit(name, sibling).finally(() => {
        sibling.visit = undefined
        sibling.dueMs = this.#clock.monotonic() + sibling.pauseMs
      })
    }
  }

  /** Resolves when no visit is running. */
  async settled(): Promise<void> {
    await Promise.all([...this.#siblings.values()].flatMap(({ visit }) => visit ?? []))
  }

  /**
   * Whether a log of this id is under the root, so that its branches are no orphans. While a slot
   * cannot be read any id may be its own.
   */
  async owns(logId: string): Promise<boolean> {
    if ([...this.#logIds.values()].includes(logId)) return true
    if (this.#strangers.has(logId)) return false
    const { location, seams } = this.#options
    const names = await slotNames(location.root, seams.files).catch(() => undefined)
    let allRead = names !== undefined
    // A branch that was seen is of a log whose first record was durable before.
    for (const name of names ?? []) {
      try {
        const snapshot = await readLog(`${location.root}/${name}`, seams.files)
        this.#logIds.set(name, snapshot.logId)
        if (snapshot.logId === logId) return true
      } catch {
        allRead &&= this.#logIds.has(name)
      }
    }
    if (allRead) this.#strangers.add(logId)
    return !allRead
  }

  #sibling(name: string): Sibling {
    const known = this.#siblings.get(name)
    if (known !== undefined) return known
    const made: Sibling = {
      visit: undefined,
      dueMs: 0,
      pauseMs: TICK_MS,
      problem: undefined,
      reported: new Set(),
    }
    this.#siblings.set(name, made)
    return made
  }

  async #visit(name: string, sibling: Sibling): Promise<void> {
    const { location, seams } = this.#options
    const directory = `${location.root}/${name}`
    try {
      if ((await readOwner(directory, seams.files)) !== undefined) {
        sibling.pauseMs = TICK_MS
        sibling.problem = undefined
        return
      }
      sibling.pauseMs = Math.min(sibling.pauseMs * 2, LONGEST_PAUSE_MS)
      if (await this.#recover(name, directory, sibling)) sibling.pauseMs = TICK_MS
      sibling.problem = undefined
    } catch (cause) {
      this.#problem(name, directory, sibling, cause)
    }
  }

  /** Answers whether something was settled. */
  async #recover(name: string, directory: string, sibling: Sibling): Promise<boolean> {
    const { location, registry, seams, contactMs } = this.#options
    const { clock, failpoints, files } = seams
    const inspection = await inspect({
      registry,
      clock,
      readLog: () => readLog(directory, files),
      answerMs: contactMs,
    })
    this.#logIds.set(name, inspection.logId)
    this.#report(sibling, inspection)
    if (this.#stopped || !needsRecovery(inspection)) return false
    const log = await openSibling(name, location, {
      ...seams,
      onEvent: (event) => this.#options.events.emit('log:event', { ...event, slot: name }),
    })
    if (log === undefined) return false
    try {
      await firstContact(registry, log, clock, contactMs)
    } catch (cause) {
      await log.close()
      throw cause
    }
    // Its own, so that what is counted as done here is of this log alone.
    const events = new Events((event, details) => this.#options.events.emit(event, details))
    const parts = { registry, log: await log.start(), events, failpoints, clock }
    const { done } = await recoverOnce(parts, { waitMs: VISIT_MS, sibling: true })
    return done.length > 0
  }

  /** Branches that nobody settles, each once, and again when it comes back. */
  #report(sibling: Sibling, { apart, logId }: Inspection): void {
    const ours = apart.filter(
      ({ id, kind }) => kind !== 'foreign' && kind !== 'copy' && id.includes(`una1-${logId}-`),
    )
    for (const { participant, id, why } of ours) {
      if (sibling.reported.has(id)) continue
      this.#options.events.emit('branch:reported', { participant, id, why })
    }
    sibling.reported = new Set(ours.map(({ id }) => id))
  }

  #problem(name: string, directory: string, sibling: Sibling, cause: unknown): void {
    const message = messageOf(cause)
    if (sibling.problem === message) return
    sibling.problem = message
    const code = cause instanceof UnanimousError ? cause.code : undefined
    const hint = cause instanceof UnanimousError ? cause.hint : undefined
    const details = { slot: name, directory, code, message, hint }
    this.#options.events.emit('log:event', { kind: 'sibling-stopped', ...details })
  }
}

/** A copy, too, must be met by its lock's owner: that is who says so. */
function needsRecovery({ transactions, apart }: Inspection): boolean {
  return (
    apart.some(({ kind }) => kind === 'copy') ||
    transactions.some(({ branches }) =>
      branches.some(
        ({ advice, answer }) =>
          answer === undefined && ['commit', 'roll back', 'prove'].includes(advice.action),
      ),
    )
  )
}
