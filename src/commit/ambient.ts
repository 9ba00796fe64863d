/**
 * The ambient context: which transaction, and which savepoint of it, the running code belongs to.
 *
 * One `run` per transaction and one per savepoint; Node carries the value through promises, timers
 * and callbacks. The value outlives its transaction wherever work was left running: whoever reads it
 * asks the transaction, which refuses what comes too late.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { TransactionError } from '../errors.ts'
import type { Branch } from '../participant/branch.ts'
import type { CheckedOptions } from './options.ts'
import type { Scope } from './scope.ts'

/** What code inside a transaction can reach of it. */
export interface Enclosing {
  readonly gtrid: string
  readonly options: CheckedOptions
  /** What its callback was given. */
  readonly handles: object
  readonly enlisted: readonly Branch[]
  /** Its callback runs, and a connection of it, or of a transaction around it, waits for that. */
  readonly holds: boolean
  branch(name: string): Branch
  /** @throws TransactionError when it takes no further work */
  refuseEnded(): void
  /** From now on it can only be rolled back, for this reason. */
  refuseCommit(error: TransactionError): void
  /** A name that no other savepoint of the transaction has. */
  nextSavepoint(): string
}

export interface Place {
  readonly tx: Enclosing
  readonly scope: Scope
}

export interface Ambient {
  /** Where the caller runs; `undefined` outside of every transaction. */
  get(): Place | undefined
  /** Runs `work` at a place; `undefined`: outside of every transaction. */
  run<T>(place: Place | undefined, work: () => T): T
}

/** Each coordinator has its own: transactions of two coordinators may be nested. */
export function createAmbient(): Ambient {
  const storage = new AsyncLocalStorage<Place | undefined>()
  return {
    get: () => storage.getStore(),
    run: (place, work) => storage.run(place, work),
  }
}
