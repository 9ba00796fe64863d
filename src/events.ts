/**
 * What a coordinator tells whoever listens. One event per fact; a listener or a logger that throws
 * has a problem of its own and never disturbs the protocol.
 */
import { messageOf, type TransactionErrorCode } from './errors.ts'
import type { BranchAnswer, Outcome } from './protocol/vocabulary.ts'

export interface CoordinatorEventMap {
  /** A transaction's promise settled. */
  'transaction:ended': {
    readonly gtrid: string
    readonly name: string | undefined
    readonly outcome: Outcome
    readonly code: TransactionErrorCode | undefined
    readonly durationMs: number
  }
  /** A hook given to `afterCommit` or `afterRollback` threw; the outcome stands. */
  'transaction:hook-failed': {
    readonly gtrid: string
    readonly outcome: Outcome
    readonly cause: unknown
  }
  /** A branch of a committed transaction answered. */
  'branch:settled': {
    readonly gtrid: string
    readonly participant: string
    readonly bqual: string
    readonly answer: BranchAnswer
    readonly by: 'live' | 'recovery' | 'operator'
  }
  /** Recovery rolled a branch back: its transaction has no commit record. */
  'branch:rolled-back': {
    readonly gtrid: string
    readonly participant: string
    readonly bqual: string
  }
  /** A branch ended against the decision, or may have. */
  'branch:heuristic': {
    readonly gtrid: string
    readonly participant: string
    readonly bqual: string
    readonly answer: BranchAnswer
  }
  /** A prepared branch that this log cannot speak for. */
  'branch:reported': {
    readonly participant: string
    readonly id: string
    readonly why: string
  }
  /** A participant could not be listed, after it could, or at the first try. */
  'participant:unreachable': { readonly participant: string; readonly cause: unknown }
  /** It can be listed again. */
  'participant:reachable': { readonly participant: string }
  /** More is unsettled in a participant than its budget allows, or no more: seen at an enlistment. */
  'participant:budget': {
    readonly participant: string
    readonly exceeded: boolean
    readonly unsettled: number
    readonly oldestMs: number
  }
  /** Something an operator should read once. */
  'participant:warning': {
    readonly participant: string
    readonly code: string
    readonly message: string
    readonly hint: string | undefined
  }
  /** The log cut a torn tail, repaired a page from its copy, or was poisoned. */
  'log:event': { readonly kind: string; readonly [detail: string]: unknown }
  /** The coordinator decides nothing any more: the log is poisoned or proved to be a copy. */
  'coordinator:stopped': { readonly cause: Error }
}

export type CoordinatorEvent = keyof CoordinatorEventMap
export type Listener<E extends CoordinatorEvent> = (event: CoordinatorEventMap[E]) => void
/** Receives every event, whatever its name. */
export type EventSink = <E extends CoordinatorEvent>(name: E, event: CoordinatorEventMap[E]) => void

export class Events {
  readonly #listeners: { [E in CoordinatorEvent]?: Set<Listener<E>> } = {}
  readonly #sink: EventSink | undefined

  /** @param sink - called with every event before the listeners */
  constructor(sink?: EventSink) {
    this.#sink = sink
  }

  on<E extends CoordinatorEvent>(name: E, listener: Listener<E>): void {
    const listeners: Set<Listener<E>> = this.#listeners[name] ?? new Set<Listener<E>>()
    listeners.add(listener)
    Object.assign(this.#listeners, { [name]: listeners })
  }

  off<E extends CoordinatorEvent>(name: E, listener: Listener<E>): void {
    this.#listeners[name]?.delete(listener)
  }

  emit<E extends CoordinatorEvent>(name: E, event: CoordinatorEventMap[E]): void {
    try {
      this.#sink?.(name, event)
    } catch (cause) {
      warn(name, 'the logger', cause)
    }
    const listeners = this.#listeners[name]
    if (listeners === undefined) return
    for (const listener of listeners) {
      try {
        listener(event)
      } catch (cause) {
        warn(name, 'a listener', cause)
      }
    }
  }
}

function warn(name: CoordinatorEvent, who: string, cause: unknown): void {
  process.emitWarning(`${who} threw at ${name}: ${messageOf(cause)}`, 'UnanimousWarning')
}
