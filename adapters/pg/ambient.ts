/**
 * A drop-in for the user's `pg.Pool`.
 *
 *   query, connect   inside a transaction: the branch; outside: the pool as it is
 *   the rest         the pool
 *
 * Inside a branch `query` runs the pool's own method over a pool whose `connect` answers a client of
 * the branch, so its forms and its errors are the driver's.
 */
import type { AmbientBranch, Branch } from '../../src/adapter.ts'
import { answeredOutside, dropIn, type Method } from '../dialect/drop-in.ts'
import type { PgHandle, PgPool } from './driver-types.ts'

type Callback = (cause: unknown, client: PgHandle, release: () => void) => unknown

export function ambientPool<P extends PgPool>(pool: P, ambient: AmbientBranch<PgHandle>): P {
  const plain = pool as unknown as { readonly query: Method; readonly connect: Method }
  return dropIn(pool, {
    query(...args) {
      const branch = ambient.current()
      if (branch === undefined) return plain.query(...answeredOutside(ambient, args))
      return plain.query.apply(connectedTo(pool, branch), args)
    },
    connect(...args) {
      const branch = ambient.current()
      if (branch === undefined) return plain.connect(...answeredOutside(ambient, args))
      const [done] = args
      if (typeof done !== 'function') return Promise.resolve(branch.checkOut())
      process.nextTick(checkOut, branch, done as Callback)
      return undefined
    },
  })
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
