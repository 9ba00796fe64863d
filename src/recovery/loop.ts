/**
 * Recovery for ever: one loop a participant, at start and then at intervals.
 *
 *   reachable, nothing unsettled     with growing pauses, at most the interval apart
 *   reachable, something unsettled   the same, at most a second apart: a lock, an attached session
 *   unreachable                      the same, at most a second apart
 *   nudged by the live path          at once
 *
 * After a start, a nudge or a find the pauses are short again, although nothing may be left: a PREPARE
 * that the server had not carried out when its client died comes up milliseconds later (rule 6), and
 * would keep its locks until the next pass.
 *
 * Never two passes at once over one participant, and no loop waits for another (rule 8).
 */
import type { Clock } from '../clock.ts'
import { messageOf } from '../errors.ts'
import { InvariantError } from '../invariant.ts'
import type { Participant } from '../participant/participant.ts'
import { sweepMarkers } from './marker-sweep.ts'
import { type PassReport, type RecoveryContext, recoverParticipant } from './pass.ts'

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1_000
const NOBODY_WAITS = (): void => undefined

export interface LoopOptions {
  /** Between two passes over a participant that has nothing unsettled, in ms. */
  readonly intervalMs: number
  /** Between two sweeps of marker rows, in ms. */
  readonly markerSweepMs: number
}

export class RecoveryLoop {
  readonly #loops: ReadonlyMap<string, ParticipantLoop>

  constructor(context: RecoveryContext, clock: Clock, options: LoopOptions) {
    this.#loops = new Map(
      [...context.registry].map(([name, participant]) => [
        name,
        new ParticipantLoop(context, participant, clock, options),
      ]),
    )
  }

  start(): void {
    for (const loop of this.#loops.values()) loop.start()
  }

  /** Asks for a pass now. */
  nudge(name: string): void {
    this.#loops.get(name)?.nudge()
  }

  /** Resolves when the named participants have had a pass that settled all it had to. */
  async clean(names: readonly string[]): Promise<void> {
    const named = [...this.#loops].filter(([name]) => names.includes(name))
    await Promise.all(named.map(([, loop]) => loop.clean))
  }

  /**
   * Passes now over the named participants. Resolves with how each ended: `undefined` for one that
   * could not be listed, or whose loop has ended.
   */
  passed(names: readonly string[]): Promise<readonly (PassReport | undefined)[]> {
    return Promise.all(names.map(async (name) => this.#loops.get(name)?.passed()))
  }

  /** Whether the participant could be listed last; `undefined` before its first answer. */
  isReachable(name: string): boolean | undefined {
    return this.#loops.get(name)?.isReachable
  }

  /** Resolves when no pass is running; none begins afterwards. */
  async stop(): Promise<void> {
    await Promise.all([...this.#loops.values()].map((loop) => loop.stop()))
  }
}

class ParticipantLoop {
  /** Resolves after the first pass that left nothing unsettled. */
  readonly clean: Promise<void>

  readonly #context: RecoveryContext
  readonly #participant: Participant
  readonly #clock: Clock
  readonly #options: LoopOptions
  #resolveClean: () => void = () => undefined
  #wake: () => void = NOBODY_WAITS
  #nudged = false
  #stopped = false
  #reachable: boolean | undefined
  #pauseMs = FIRST_PAUSE_MS
  /** Whether the last pass found nothing to do. */
  #idle = false
  #nextMarkerSweep = 0
  #reportedBefore: ReadonlySet<string> = new Set()
  #done: Promise<void> = Promise.resolve()
  readonly #waiting: ((report: PassReport | undefined) => void)[] = []
  #ended = false

  constructor(
    context: RecoveryContext,
    participant: Participant,
    clock: Clock,
    options: LoopOptions,
  ) {
    this.#context = context
    this.#participant = participant
    this.#clock = clock
    this.#options = options
    this.clean = new Promise((resolve) => {
      this.#resolveClean = resolve
    })
  }

  get isReachable(): boolean | undefined {
    return this.#reachable
  }

  start(): void {
    this.#done = this.#run()
      .catch((cause: unknown) => this.#context.stop(cause))
      .finally(() => {
        this.#ended = true
        for (const resolve of this.#waiting.splice(0)) resolve(undefined)
      })
  }

  /** Resolves with the report of a pass that begins from here on. */
  passed(): Promise<PassReport | undefined> {
    if (this.#ended) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.nudge()
    })
  }

  nudge(): void {
    this.#nudged = true
    this.#pauseMs = FIRST_PAUSE_MS
    this.#wake()
  }

  stop(): Promise<void> {
    this.#stopped = true
    this.#wake()
    return this.#done
  }

  async #run(): Promise<void> {
    while (!this.#stopped && this.#context.log.poison === undefined) {
      const waiting = this.#waiting.splice(0)
      const report = await this.#pass()
      for (const resolve of waiting) resolve(report)
      const clean = report?.unsettled === 0
      if (clean) this.#resolveClean()
      const idle = clean && report.committed + report.rolledBack === 0
      if (this.#idle && !idle) this.#pauseMs = FIRST_PAUSE_MS
      this.#idle = idle
      const { intervalMs } = this.#options
      const pauseMs = Math.min(this.#pauseMs, clean ? intervalMs : LONGEST_PAUSE_MS)
      this.#pauseMs = Math.min(this.#pauseMs * 2, intervalMs)
      await this.#wait(pauseMs)
    }
  }

  async #pass(): Promise<PassReport | undefined> {
    try {
      const report = await recoverParticipant(this.#context, this.#participant)
      this.#seen(true)
      this.#report(report)
      await this.#sweep()
      return report
    } catch (cause) {
      if (cause instanceof InvariantError) throw cause
      this.#seen(false, cause)
      return undefined
    }
  }

  /** A row too many does no harm: what fails here is tried again at the next sweep. */
  async #sweep(): Promise<void> {
    if (this.#clock.monotonic() < this.#nextMarkerSweep) return
    this.#nextMarkerSweep = this.#clock.monotonic() + this.#options.markerSweepMs
    await sweepMarkers(this.#context, this.#participant).catch((cause: unknown) =>
      this.#context.events.emit('participant:warning', {
        participant: this.#participant.name,
        code: 'MARKER_SWEEP_FAILED',
        message: messageOf(cause),
        hint: 'The role needs SELECT and DELETE on unanimous_branch.',
      }),
    )
  }

  #seen(reachable: boolean, cause?: unknown): void {
    if (this.#reachable === reachable) return
    const first = this.#reachable === undefined
    this.#reachable = reachable
    const { name } = this.#participant
    if (!reachable) {
      this.#context.events.emit('participant:unreachable', { participant: name, cause })
    } else if (!first) this.#context.events.emit('participant:reachable', { participant: name })
  }

  /** Each branch that is left alone is reported once, and again when it comes back. */
  #report(report: PassReport): void {
    for (const { id, why } of report.reported) {
      if (this.#reportedBefore.has(id)) continue
      this.#context.events.emit('branch:reported', { participant: report.participant, id, why })
    }
    this.#reportedBefore = new Set(report.reported.map(({ id }) => id))
  }

  #wait(delayMs: number): Promise<void> {
    if (this.#stopped || this.#nudged) {
      this.#nudged = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.clear()
        this.#wake = NOBODY_WAITS
        this.#nudged = false
        resolve()
      }
      const timer = this.#clock.timer(delayMs, wake)
      this.#wake = wake
    })
  }
}
