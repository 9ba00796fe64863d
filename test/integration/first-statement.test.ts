/**
 * What a first statement, which travels with the begin of its branch, once did to those behind it.
 * Each test is named after its cause.
 */
import { afterAll, beforeEach, expect, it } from 'vitest'
import { openWorld } from '../support/ambient-world.ts'
import { refused } from '../support/refused.ts'

const world = await openWorld()
const { coordinator } = world
afterAll(() => world.close())
beforeEach(() => world.empty())

it('a first text that the server cannot parse takes the begin of the branch with it', async () => {
  const asked = coordinator.transaction(async (tx) => {
    await tx.shop.query('insert into item values (1, 1)')
    await expect(tx.ledger.query('selec 1')).rejects.toMatchObject({ code: '42601', position: '1' })
    await tx.ledger.query('insert into item values (1, 1)')
  })
  await refused(asked, { code: 'CALLBACK_FAILED', outcome: 'rolled-back', hint: false })
  expect(await world.ids()).toEqual([[], []])
})
