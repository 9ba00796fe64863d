/**
 * A drop-in for the user's `pg.Pool`.
 *
 *   query, connect   inside a transaction: the branch; outside: the pool as it is
 *   the rest         the pool
 *
 * A client that was taken outside is refused inside: dialect/taken-outside.ts.
 *
 * Inside a branch `query` runs the pool's own method over a pool whose `connect` answers a client of
 * the branch, so its forms and its errors are the driver's.
 */
import type { AmbientBranch, Branch } from '../../src/adapter.ts'
import { answeredOutside, dropIn, type Method } from '../dialect/drop-in.ts'
import { refuseInside } from '../dialect/taken-outside.ts'
import type { PgHandle, PgPool } from './driver-types.ts'
import { isSubmittable } from './submittable.ts'

type Ambient = AmbientBranch<PgHandle>
type Release = (destroy?: Error | boolean) => void
type Callback = (cause: unknown, client: PgHandle, release: Release) => unknown

export function ambientPool<P extends PgPool>(pool: P, ambient: Ambient): P {
  const plain = pool as unknown as { readonly query: Method; readonly connect: Method }
  return dropIn(pool, {
    query(...args) {
      const branch = ambient.current()
      if (branch === undefined) return plain.query(...answeredOutside(ambient, args))
      return plain.query.apply(connectedTo(pool, branch), args)
    },
    connect(...args) {
      const branch = ambient.current()
      const [done] = args
      if (branch === undefined) return connectOutside(plain, ambient, done)
      if (typeof done !== 'function') return Promise.resolve(branch.checkOut())
      process.nextTick(checkOut, branch, done as Callback)
      return undefined
    },
  })
}

function connectOutside(
  plain: { readonly connect: Method },
  ambient: Ambient,
  done: unknown,
): unknown {
  const taken = (client: PgHandle): PgHandle => {
    refuseInside(client, { verbs: ['query'], ambient, refuse })
    return client
  }
  if (typeof done !== 'function') return (plain.connect() as Promise<PgHandle>).then(taken)
  const answer = (cause: unknown, client: PgHandle | undefined, none: Release): unknown =>
    client === undefined
      ? (done as Method)(cause, client, none)
      : (done as Callback)(cause, taken(client), (destroy) => client.release(destroy))
  return plain.connect(...answeredOutside(ambient, [answer]))
}

function refuse(args: unknown[], cause: Error): unknown {
  const done = args.at(-1)
  if (typeof done === 'function') {
    process.nextTick(done, cause)
    return undefined
  }
  if (isSubmittable(args[0])) throw cause
  return Promise.reject(cause)
}

/** The pool, with the branch's clients in place of its own. */
function connectedTo(pool: PgPool, branch: Branch<PgHandle>): object {
  // At once: a query that nobody awaits must be known before the callback returns.
  const connect = (done: Callback): void => checkOut(branch, done)
  return Object.create(pool, { connect: { value: connect } }) as object
}

function checkOut(branch: Branch<PgHandle>, done: Callback): void {
  const client = branch.checkOut()
  done(undefined, client, () => client.release())
}
