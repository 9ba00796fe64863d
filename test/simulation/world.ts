/**
 * The world: virtual time, and every event that is still to come in one list. Each event has an
 * instant that the seed drew when it was scheduled; the earliest one comes next, and the seed parts
 * those of one instant. After each event every promise that can go on goes on, so what the real code
 * does between two waits is one step, and a step is all that a crash can find done or not done.
 */
import type { Clock } from '../../src/clock.ts'
import { Rng, TraceHash } from './random.ts'

/** A process, or what belongs to one: dead owners hear nothing any more. */
export interface Owner {
  alive: boolean
}

export interface SimEvent {
  readonly at: number
  readonly tie: number
  readonly tag: string
  readonly owner: Owner | undefined
  readonly fire: () => void
  /** Called in place of `fire` at the moment when the owner dies. */
  readonly orphaned: (() => void) | undefined
  cleared: boolean
}

/** The simulator, or the protocol, broke a promise. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

const MAX_EVENTS = 20_000
const START_MS = 1_700_000_000_000
const SETTLED = Promise.resolve()

export class World {
  readonly rng: Rng
  now = 0
  events = 0
  /** What `Date.now()` would show beside the time that has passed: clocks are set. */
  clockJumpMs = 0
  readonly trace: string[] | undefined
  readonly #hash = new TraceHash()
  readonly #heap: SimEvent[] = []
  /** Called before each event, with its number from 1. */
  beforeEvent: ((number: number) => void) | undefined

  constructor(seed: number, traced: boolean) {
    this.rng = new Rng(seed)
    this.trace = traced ? [] : undefined
  }

  get hash(): string {
    return this.#hash.text
  }

  /** Notes something that happened within an event. */
  note(text: string): void {
    this.#hash.add(text)
    this.trace?.push(`${this.now.toFixed(3).padStart(12)} ${text}`)
  }

  schedule(
    delayMs: number,
    tag: string,
    fire: () => void,
    owner?: Owner,
    orphaned?: () => void,
  ): SimEvent {
    const at = this.now + delayMs
    const event = { at, tie: this.rng.next(), tag, owner, fire, orphaned, cleared: false }
    if (owner?.alive !== false) this.#push(event)
    return event
  }

  /** Resolves after `delayMs`, unless the owner dies. */
  pause(delayMs: number, tag: string, owner?: Owner): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(delayMs, tag, resolve, owner)
    })
  }

  /** What was under way for a process that dies now is carried out or not, and its timers are gone. */
  bury(owner: Owner): void {
    owner.alive = false
    const orphans = this.#heap.filter((event) => event.owner === owner && !event.cleared)
    orphans.sort((a, b) => a.at - b.at || a.tie - b.tie)
    for (const event of orphans) {
      event.cleared = true
      event.orphaned?.()
    }
  }

  /**
   * Lets events happen until the condition holds, or virtual time is over.
   *
   * @returns whether the condition holds
   */
  run(done: () => boolean, untilMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          const over = this.#step(done, untilMs)
          if (over === undefined) settle()
          else resolve(over)
        } catch (cause) {
          reject(cause instanceof Error ? cause : new Error(String(cause)))
        }
      }
      const settle = whenEverythingSettled(step)
      settle()
    })
  }

  /** Lets one event happen. Answers how the run ended, if it did. */
  #step(done: () => boolean, untilMs: number): boolean | undefined {
    if (done()) return true
    // What happens between two events must find the next one among those still to come.
    this.beforeEvent?.(this.events + 1)
    const event = this.#pop()
    if (event === undefined) return false
    if (event.at > untilMs) {
      this.#push(event)
      this.now = untilMs
      return done()
    }
    this.now = Math.max(this.now, event.at)
    this.events += 1
    if (this.events > MAX_EVENTS) throw new Violation(`${MAX_EVENTS} events and no end`)
    this.note(event.tag)
    event.fire()
    return undefined
  }

  clock(owner: Owner): Clock {
    return {
      now: () => START_MS + this.clockJumpMs + this.now,
      monotonic: () => this.now,
      timer: (delayMs, fire) => {
        const event = this.schedule(Math.max(0, delayMs), 'timer', fire, owner)
        return {
          clear: () => {
            event.cleared = true
          },
        }
      },
    }
  }

  #push(event: SimEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  /** The next event that was not cleared. */
  #pop(): SimEvent | undefined {
    for (;;) {
      const event = this.#take()
      if (event === undefined || !event.cleared) return event
    }
  }

  #take(): SimEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      const right = heap[child + 1]
      let least = heap[child]
      if (least === undefined) break
      if (right !== undefined && isBefore(right, least)) {
        child += 1
        least = right
      }
      if (!isBefore(least, last)) break
      heap[at] = least
      at = child
    }
    heap[at] = last
    return first
  }
}

/**
 * Answers what makes the call when no promise can go on any more. Node runs what is due at the next
 * tick after the last microtask; so that this holds wherever it is asked for, the tick is asked for in
 * a microtask.
 */
function whenEverythingSettled(call: () => void): () => void {
  const atNextTick = (): void => process.nextTick(call)
  return () => void SETTLED.then(atNextTick, atNextTick)
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.tie < b.tie)
}
