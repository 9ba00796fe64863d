/**
 * A drop-in for the user's pool: the pool itself, seen through a proxy, so that it has the class, the
 * events, the counts and whatever a later version of the driver adds.
 */
import type { AmbientBranch } from '../../src/adapter.ts'

export type Method = (...args: unknown[]) => unknown

/** The pool, with these members in place of its own. */
export function dropIn<P extends object>(pool: P, own: Readonly<Record<string, Method>>): P {
  const members: Map<string | symbol, unknown> = new Map(Object.entries(own))
  const proxy: P = new Proxy(pool, {
    get(target, key) {
      const known = members.get(key)
      if (known !== undefined) return known
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function' || key === 'constructor') return value
      const method = value as Method
      // On the pool itself; what answers its pool (`on`, `once`, …) answers the drop-in.
      const bound: Method = (...args) => {
        const answer = method.apply(target, args)
        return answer === target ? proxy : answer
      }
      members.set(key, bound)
      return bound
    },
    set(target, key, value) {
      members.delete(key)
      return Reflect.set(target, key, value)
    },
  })
  return proxy
}

/**
 * Calls of the plain pool, whose callbacks come from sockets that may have been made anywhere: what
 * was asked for outside of a transaction is answered outside of it.
 */
export function answeredOutside(
  { outside }: Pick<AmbientBranch, 'outside'>,
  args: unknown[],
): unknown[] {
  const last = args.at(-1)
  if (typeof last !== 'function') return args
  const done = last as Method
  return [...args.slice(0, -1), (...answer: unknown[]) => outside(() => done(...answer))]
}
