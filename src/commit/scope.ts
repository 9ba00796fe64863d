/**
 * A stretch of a transaction that can be taken back by itself: the whole of it, or what runs behind
 * a savepoint.
 *
 * Scopes side by side run one after the other: on one connection, ending one would take the
 * savepoint of the other with it. So the scopes that are open form a chain.
 */
import { Hooks } from './hooks.ts'

const NO_SAVEPOINTS: readonly string[] = []

export class Scope {
  readonly name: string
  readonly hooks: Hooks = new Hooks()
  readonly #outer: Scope | undefined
  #ended = false
  #inner: Promise<void> | undefined

  /** @param outer - `undefined` for the whole transaction, which has no savepoint */
  constructor(name: string, outer: Scope | undefined) {
    this.name = name
    this.#outer = outer
  }

  /** Names of the savepoints around the code that runs here, outermost first. */
  get savepoints(): readonly string[] {
    if (this.#outer === undefined) return NO_SAVEPOINTS
    return this.#ended ? this.#outer.savepoints : [...this.#outer.savepoints, this.name]
  }

  /** Work that escaped an ended scope belongs to what is around it. */
  get nearestOpen(): Scope {
    return this.#ended && this.#outer !== undefined ? this.#outer.nearestOpen : this
  }

  end(): void {
    this.#ended = true
  }

  /** Resolves, with what ends the turn, when the scopes in this one that came before have ended. */
  async takeTurn(): Promise<() => void> {
    const before = this.#inner
    let finish = (): void => undefined
    this.#inner = new Promise((resolve) => {
      finish = resolve
    })
    await before
    return finish
  }
}
