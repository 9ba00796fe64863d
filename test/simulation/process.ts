/** One life of the process with the coordinator in it: the real one, over simulated seams. */
import { Coordinator } from '../../src/coordinator.ts'
import { messageOf, UnanimousError } from '../../src/errors.ts'
import { type Failpoints, noFailpoints } from '../../src/failpoint.ts'
import type { Logger } from '../../src/logger.ts'
import { releaseLocks, type SimDisk } from './disk.ts'
import type { Network } from './link.ts'
import { fail, type Oracle } from './oracle.ts'
import { SimParticipant } from './participant.ts'
import type { Plan } from './plan.ts'
import type { SimServer } from './server.ts'
import type { Owner, World } from './world.ts'

export interface Parts {
  readonly world: World
  readonly disk: SimDisk
  readonly network: Network
  readonly servers: readonly SimServer[]
  readonly oracle: Oracle
  readonly plan: Plan
}

const DIRECTORY = '/log'
const ROOT = '/logs'
/** Small, so that it rolls often; yet with room for the decisions of all that run at once. */
const SEGMENT_BYTES = 28 * 4096
/** How long a start waits for participants, and again for their recovery, in ms. */
const CONTACT_MS = 300
/** How long a lock that is held is tried for. */
const PEEK_MS = 300
/** More than a start asks of the disk, the wait for a lock included. */
const DISK_STEPS = 60

export class Process implements Owner {
  alive = true
  coordinator: Coordinator | undefined
  /** It decides nothing any more, and wants to be started again. */
  stopped = false
  closing = false
  /** Why it could not be opened. */
  refusal: unknown
  readonly participants: readonly SimParticipant[]
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
    const { world, network, servers } = parts
    this.participants = servers.map(
      (server) => new SimParticipant({ network, server, owner: this, clock: world.clock(this) }),
    )
  }

  get isOpen(): boolean {
    return this.coordinator !== undefined && !this.stopped && !this.closing
  }

  /** Opens the coordinator. Resolves when that has ended, one way or the other. */
  async open(): Promise<void> {
    const { world, disk, oracle, plan } = this.#parts
    const seams = {
      clock: world.clock(this),
      random: { bytes: (count: number) => world.rng.bytes(count) },
      files: disk.for(this),
      failpoints: this.#failpoints(),
      nextTurn: (run: () => void) => {
        world.schedule(0, 'turn', run, this)
      },
    }
    const place = plan.processes === 1 ? { directory: DIRECTORY } : { root: ROOT }
    const log = { ...place, segmentBytes: SEGMENT_BYTES }
    const { forceMs, settleMs, maxBehind } = plan
    const began = world.now
    try {
      const coordinator = await Coordinator.open({
        log,
        participants: Object.fromEntries(
          this.participants.map((one) => [one.home.server.name, one]),
        ),
        logger: this.#logger(),
        forceMs,
        settleMs,
        settleBehind: { max: maxBehind },
        contactMs: CONTACT_MS,
        recoverMs: CONTACT_MS,
        seams,
      })
      this.#openedInTime(world.now - began)
      oracle.logIds.add(coordinator.logId)
      this.coordinator = coordinator
      world.note('coordinator open')
    } catch (cause) {
      world.note(`open failed: ${messageOf(cause)}`)
      this.refusal = cause
      if (!isAllowed(cause)) fail(`open failed: ${messageOf(cause)}`)
    }
  }

  /** Rule 8: a participant that is down or silent delays no start. */
  #openedInTime(tookMs: number): void {
    const { disk, pauses, crashes, processes } = this.#parts.plan
    if (pauses > 0 || crashes.some(({ kind }) => kind === 'disk stalled')) return
    // Under a root it may find slots that others hold, or take at the same moment.
    const looksMs = processes === 1 ? 0 : 2 * PEEK_MS + DISK_STEPS * disk.slowMs
    const limitMs = 2 * CONTACT_MS + DISK_STEPS * disk.slowMs + looksMs
    if (tookMs > limitMs) fail(`I11: a start took ${tookMs} ms`)
  }

  /** kill -9: nobody in it hears anything any more. */
  kill(): void {
    if (!this.alive) return
    this.#parts.world.bury(this)
    releaseLocks(this)
    for (const { connections } of this.participants) {
      for (const connection of [...connections]) connection.destroy()
    }
  }

  /** Every event also goes to the logger, those of the first recovery too. */
  #logger(): Logger {
    const { oracle, world } = this.#parts
    const hear = (details: object, message: string): void => {
      const { gtrid, kind, slot, code, copy, id, why } = details as Heard
      // Only a failed write stops a coordinator here: no participant does, and no reasoning of ours.
      if (message === 'coordinator:stopped' && !this.stopped) {
        const { cause } = details as Heard
        oracle.problems.push(`the coordinator stopped: ${cause ?? ''}`)
      }
      const own = slot === undefined
      if (message === 'coordinator:stopped' || (kind === 'poisoned' && own)) this.stopped = true
      if (kind === 'sibling-stopped' && !ALLOWED.includes(code ?? '')) {
        oracle.problems.push(`recovery of ${slot ?? ''} stopped: ${code ?? 'no code'}`)
      }
      if (kind === 'tail-cut') oracle.tailCut(copy ?? '')
      if (message === 'log:event') world.note(`log ${kind ?? ''}`)
      const attempt = oracle.attempts.get(gtrid ?? '')
      if (message === 'branch:reported' && why === SPLIT) oracle.splitTold.add(id ?? '')
      if (message === 'branch:heuristic' && attempt !== undefined) attempt.reported = true
    }
    return { debug: () => undefined, info: () => undefined, warn: hear, error: hear }
  }

  #failpoints(): Failpoints {
    const { world, plan } = this.#parts
    if (plan.pauses === 0) return noFailpoints
    return (name) =>
      world.rng.chance(plan.pauses)
        ? world.pause(world.rng.between(0, 10), `pause at ${name}`, this)
        : undefined
  }
}

/** Of what an event says, what is looked at here. */
interface Heard {
  readonly gtrid?: string
  readonly kind?: string
  readonly code?: string
  readonly cause?: string
  /** Of a branch that is left alone, and why it is. */
  readonly id?: string
  readonly why?: string
  /** Where the tail of the log is kept. */
  readonly copy?: string
  /** Of a sibling. */
  readonly slot?: string
}

/** Why the rest of a transaction is left to a person. */
const SPLIT = 'of a transaction split by hand'

/** What a sound log may answer on a disk that fails. */
const ALLOWED: readonly string[] = ['LOG_UNREADABLE', 'LOG_FULL', 'LOG_POISONED']

function isAllowed(cause: unknown): boolean {
  return cause instanceof UnanimousError && ALLOWED.includes(cause.code)
}
