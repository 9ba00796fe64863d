/**
 * A connection that was taken outside of every transaction belongs to none. Inside `transaction()` a
 * statement on it would commit whatever becomes of the transaction, and nobody would notice: a
 * transaction of a query library that was begun too early, a query runner that was kept. So it is
 * refused there.
 *
 * The connection is the pool's, and has other holders before and after: what is put on it at check-out
 * is off again when it goes back, and the branch's own connections never have it.
 */
import { type AmbientBranch, UnanimousError } from '../../src/adapter.ts'
import type { Method } from './drop-in.ts'

/** What a driver does with a call that is refused: a callback, a promise, or a throw. */
export type Refuse = (args: unknown[], cause: Error) => unknown

export interface TakenOutside {
  /** Statements are these methods of a connection; `release` gives it back. */
  readonly verbs: readonly string[]
  readonly ambient: Pick<AmbientBranch, 'current'>
  readonly refuse: Refuse
}

/** Until the connection's `release` is called. */
export function refuseInside(connection: object, { verbs, ambient, refuse }: TakenOutside): void {
  const members = connection as Record<string, Method>
  const own = new Map([...verbs, 'release'].map((name) => [name, ownValue(connection, name)]))
  for (const verb of verbs) {
    const plain = members[verb] as Method
    members[verb] = function (this: unknown, ...args) {
      if (ambient.current() === undefined) return plain.apply(this, args)
      return refuse(args, notEnlisted())
    }
  }
  const release = members['release'] as Method
  members['release'] = function (this: unknown, ...args) {
    for (const [name, value] of own) {
      if (value === undefined) Reflect.deleteProperty(connection, name)
      else members[name] = value
    }
    return release.apply(this, args)
  }
}

function ownValue(connection: object, name: string): Method | undefined {
  return Object.getOwnPropertyDescriptor(connection, name)?.value as Method | undefined
}

function notEnlisted(): UnanimousError {
  return new UnanimousError(
    'NOT_ENLISTED',
    'a connection that was taken outside of the transaction is used inside it',
    { hint: 'take it inside transaction(), or use it in coordinator.outside(fn)' },
  )
}
