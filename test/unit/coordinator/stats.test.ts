/** Numbers of a coordinator, against what was done to it. */
import { expect, it } from 'vitest'
import { Coordinator } from '../../../src/coordinator.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'
import { testFolders } from '../../support/folder.ts'

const folder = testFolders()

it('tell outcomes, what is unsettled and since when, what recovery did, forces and durations', async () => {
  const ledger = new FakeParticipant([])
  const shop = new FakeParticipant([])
  let broken = false
  const coordinator = await Coordinator.open({
    log: { directory: await folder(), allowUnsafeFileSystem: true },
    participants: { ledger, shop },
    settleMs: 50,
    seams: {
      failpoints: (name) => {
        if (broken && name === 'log:after-write') throw new Error('EIO')
      },
    },
  })
  const transfer = (): Promise<unknown> =>
    coordinator.transaction(async (tx) => {
      await tx.ledger.work()
      await tx.shop.work()
    })
  const before = coordinator.stats()
  expect(before).toMatchObject({
    state: 'open',
    transactions: { running: 0, oldestMs: 0, ended: { committed: 0 } },
    participants: { ledger: { unsettled: 0, oldestMs: 0, reachable: true } },
    log: { decisions: 0, sizeBytes: 2 * 16 * 1_048_576, poisoned: false },
  })
  await transfer()
  await expect(coordinator.transaction(() => Promise.reject(new Error('no')))).rejects.toThrow()
  Object.assign(shop.script, { commit: 'lost', settle: 'later' })
  await transfer()
  const held = await coordinator.begin()
  await held.ledger.work()
  const during = coordinator.stats()
  expect(during).toMatchObject({
    transactions: {
      running: 1,
      ended: { committed: 2, 'rolled-back': 1, 'in-doubt': 0, heuristic: 0 },
      codes: { CALLBACK_FAILED: 1 },
    },
    participants: { ledger: { unsettled: 0 }, shop: { unsettled: 1, committed: 0 } },
    log: { decisions: 1 },
  })
  expect(during.transactions.oldestMs).toBeGreaterThan(0)
  expect(during.participants['shop']?.oldestMs).toBeGreaterThan(0)
  expect(during.log.forces - before.log.forces).toBeGreaterThanOrEqual(2)
  expect(during.log.bytes - before.log.bytes).toBeGreaterThanOrEqual(2 * 8_192)
  expect(during.phases.transaction.count).toBe(3)
  expect(during.phases.prepare.count).toBe(4)
  expect(during.phases.decide.count).toBe(2)
  await held.rollback()
  Object.assign(shop.script, { settle: undefined })
  await expect.poll(() => coordinator.stats().participants['shop']?.unsettled).toBe(0)
  expect(coordinator.stats().participants['shop']).toMatchObject({ committed: 1, oldestMs: 0 })
  Object.assign(shop.script, { commit: undefined, unreachable: true })
  await expect.poll(() => coordinator.stats().participants['shop']?.outages).toBe(1)
  expect(coordinator.stats().participants['shop']?.reachable).toBe(false)
  Object.assign(shop.script, { unreachable: false })
  broken = true
  await expect(transfer()).rejects.toMatchObject({ outcome: 'in-doubt' })
  expect(coordinator.stats()).toMatchObject({
    state: 'stopped',
    transactions: { ended: { 'in-doubt': 1 }, codes: { DECISION_IN_DOUBT: 1 } },
    participants: { ledger: { unsettled: 1 }, shop: { unsettled: 1 } },
    log: { poisoned: true },
  })
  await coordinator.close()
}, 20_000)
