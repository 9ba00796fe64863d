import { expect, it } from 'vitest'
import { Enlistment } from '../../../src/commit/enlistment.ts'
import { checkOptions } from '../../../src/commit/options.ts'
import { LIMITS, world } from '../../support/commit-world.ts'

const NAMES: ReadonlySet<string> = new Set(['ledger', 'shop'])

it('rule 9: waits for no seat, and only so long for a connection, once the transaction holds another', async () => {
  const { context } = world()
  const tx = {
    gtrid: 'g',
    options: checkOptions({}, NAMES, LIMITS.timeoutMs),
    savepoints: [],
    holdsConnection: false,
    enlist: () => 0,
    hold: () => undefined,
  }
  // The one place of its pool is somebody else's.
  context.seats.claim('ledger', 1)
  const enlistment = new Enlistment(context, tx, 'ledger')
  const bounds: number[] = []
  enlistment.onceHeld((boundMs) => bounds.push(boundMs))
  const seat = enlistment.seat(1, 60_000)
  expect(seat).toBeInstanceOf(Promise)
  expect(bounds).toEqual([])
  tx.holdsConnection = true
  enlistment.held()
  expect(await seat).toBe(enlistment)
  enlistment.onceHeld((boundMs) => bounds.push(boundMs))
  expect(bounds).toEqual([LIMITS.acquireMs, LIMITS.acquireMs])
  expect(new Enlistment(context, tx, 'ledger').seat(1, 60_000)).toBeInstanceOf(Enlistment)
})
