/**
 * What the application wants done once the outcome is known. Hooks run in the order in which they
 * were given, and what they throw changes no outcome.
 *
 * Neither kind runs when the outcome is in doubt or heuristic: nothing could be said truthfully.
 */
import type { Outcome } from '../protocol/vocabulary.ts'

export type Hook = () => unknown
export type HookOutcome = Extract<Outcome, 'committed' | 'rolled-back'>

export class Hooks {
  readonly #hooks: { readonly on: HookOutcome; readonly hook: Hook }[] = []

  get isEmpty(): boolean {
    return this.#hooks.length === 0
  }

  add(on: HookOutcome, hook: Hook): void {
    this.#hooks.push({ on, hook })
  }

  /** The hooks of a savepoint that was released are those of what is around it. */
  adopt(inner: Hooks): void {
    this.#hooks.push(...inner.#hooks.splice(0))
  }

  /** The hooks for this outcome; from now on there are none. */
  take(outcome: Outcome): readonly Hook[] {
    return this.#hooks.splice(0).flatMap(({ on, hook }) => (on === outcome ? [hook] : []))
  }
}
