/** What the application holds as `tx`: handles by participant name, and a few verbs. */
import type { Hook } from './hooks.ts'
import { type Names, unknownParticipant } from './options.ts'

/** What `tx` has beside its participants. */
export interface TransactionVerbs {
  /** Id of the global transaction, as logs, databases and errors show it. */
  readonly gtrid: string
  readonly name: string | undefined
  /**
   * Runs `work` behind a savepoint in every database. What it throws takes its own work back, in all
   * of them, and goes on to the caller. Savepoints side by side run one after the other.
   */
  savepoint<T>(work: () => Promise<T> | T): Promise<T>
  /** Runs `work` so that the ambient pools' calls in it belong to this transaction. */
  run<T>(work: () => T): T
  /**
   * Calls `hook` once every database has committed or will. Inside a savepoint that is rolled back
   * it is dropped. It runs outside of the transaction and is awaited; what it throws is an event.
   */
  afterCommit(hook: Hook): void
  /** Calls `hook` once the transaction, or the savepoint around the caller, was rolled back. */
  afterRollback(hook: Hook): void
}

export function makeHandles(
  own: object,
  names: Names,
  gtrid: string,
  handleOf: (participant: string) => unknown,
): object {
  return new Proxy(own, {
    get: (target, key) => {
      if (typeof key === 'symbol' || Object.hasOwn(target, key)) {
        return Reflect.get(target, key) as unknown
      }
      if (names.has(key)) return handleOf(key)
      // Whoever awaits or prints the object asks for these; nobody names a participant so.
      if (key === 'then' || key === 'toJSON' || key in Object.prototype) return undefined
      throw unknownParticipant(key, names, gtrid)
    },
    has: (target, key) => Reflect.has(target, key) || (typeof key === 'string' && names.has(key)),
    set: () => false,
  })
}
