/**
 * The processes of a run, each in its place: one with a log of its own, or two under one root that
 * recover for each other. Who has died is started again, unless its place was given up.
 */
import { messageOf } from '../../src/errors.ts'
import { type Parts, Process } from './process.ts'

interface Place {
  process: Process | undefined
  /** Calls for when it has opened its coordinator. */
  readonly waiting: (() => void)[]
  givenUp: boolean
}

export class Fleet {
  readonly #parts: Parts
  readonly #places: readonly Place[]
  readonly #onFailure: (cause: unknown) => void

  constructor(parts: Parts, onFailure: (cause: unknown) => void) {
    this.#parts = parts
    this.#onFailure = onFailure
    this.#places = Array.from({ length: parts.plan.processes }, () => ({
      process: undefined,
      waiting: [],
      givenUp: false,
    }))
  }

  /** Those that run now. */
  get processes(): readonly Process[] {
    return this.#places.flatMap(({ process }) => process ?? [])
  }

  /** Whether in every place that was not given up a coordinator is open. */
  get allOpen(): boolean {
    return this.#places.every(({ process, givenUp }) => givenUp || process?.isOpen === true)
  }

  /** Whether one of them knows how the transaction ended, or will end. */
  isKnown(gtrid: string): boolean {
    for (const { process } of this.#places) {
      const outcome = process?.coordinator?.outcome(gtrid) ?? 'unknown'
      if (outcome !== 'unknown') return true
    }
    return false
  }

  /** The place whose process serves the callers of this one. */
  serving(index: number): number {
    return this.#place(index).givenUp ? 0 : index
  }

  at(index: number): Process | undefined {
    return this.#place(index).process
  }

  whenOpen(index: number, call: () => void): void {
    this.#place(index).waiting.push(call)
  }

  /** Sees to it that one runs. */
  ensure(index: number): void {
    const place = this.#place(index)
    if (place.process?.stopped === true) this.#kill(place)
    if (place.process === undefined && !place.givenUp) this.#start(place)
  }

  ensureAll(): void {
    for (const index of this.#places.keys()) this.ensure(index)
  }

  kill(index: number): void {
    this.#kill(this.#place(index))
  }

  killAll(): void {
    for (const place of this.#places) this.#kill(place)
  }

  /** Starts it again some time later. */
  restartWithin(index: number, ms: number): void {
    const { world } = this.#parts
    world.schedule(world.rng.between(0, ms), 'start again', () => this.ensure(index))
  }

  /** It dies, and nobody starts it again: what it left is its sibling's business. */
  giveUp(index: number): void {
    const place = this.#place(index)
    place.givenUp = true
    this.#kill(place)
    for (const call of place.waiting.splice(0)) call()
  }

  takeBack(index: number): void {
    this.#place(index).givenUp = false
    this.ensure(index)
  }

  /** Closes the coordinator, and opens another one in its place. */
  close(index: number): void {
    const place = this.#place(index)
    const { process } = place
    if (process?.coordinator === undefined || process.closing) return
    process.closing = true
    process.coordinator.close().then(
      () => {
        if (place.process !== process) return
        this.#kill(place)
        this.#start(place)
      },
      (cause: unknown) => {
        // A log that was poisoned while it closed.
        this.#parts.world.note(`close failed: ${messageOf(cause)}`)
        if (place.process === process) this.#kill(place)
        this.ensure(index)
      },
    )
  }

  #start(place: Place): void {
    const { world } = this.#parts
    const process = new Process(this.#parts)
    place.process = process
    process
      .open()
      .then(() => {
        if (process.coordinator !== undefined) {
          for (const call of place.waiting.splice(0)) call()
          return
        }
        // A supervisor starts it again.
        process.kill()
        if (place.process === process) place.process = undefined
        const index = this.#places.indexOf(place)
        world.schedule(world.rng.between(20, 200), 'start again', () => this.ensure(index))
      })
      .catch(this.#onFailure)
  }

  #kill(place: Place): void {
    const { process } = place
    place.process = undefined
    process?.kill()
  }

  #place(index: number): Place {
    const place = this.#places[index]
    if (place === undefined) throw new Error(`there is no place ${index}`)
    return place
  }
}
