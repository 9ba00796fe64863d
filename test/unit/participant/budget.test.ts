/** What is unsettled in a participant, and when it takes no new work. */
import { describe, expect, it, onTestFinished } from 'vitest'
import { Coordinator } from '../../../src/coordinator.ts'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { Budget, type BudgetOptions, completeBudget } from '../../../src/participant/budget.ts'
import { Unsettled } from '../../../src/participant/unsettled.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'
import { testFolders } from '../../support/folder.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const folder = testFolders()

function world(options?: BudgetOptions | false) {
  const clock = new VirtualClock()
  const unsettled = new Unsettled(clock)
  const events = new Events()
  const told: boolean[] = []
  events.on('participant:budget', ({ exceeded }) => told.push(exceeded))
  const budget = new Budget(completeBudget(options), unsettled, events)
  const leave = (gtrid: string, ageMs = 0): void => {
    unsettled.decided('shop', gtrid, 'commit', ageMs)
    unsettled.leave('shop', gtrid)
  }
  return { clock, unsettled, budget, told, leave }
}

describe('what is unsettled', () => {
  it('counts from the decision, and as left from where its own path lets go', async () => {
    const { clock, unsettled } = world()
    unsettled.decided('shop', 'a', 'commit')
    await clock.advance(40)
    expect(unsettled.of('shop')).toEqual({ left: 0, oldestMs: 40 })
    unsettled.leave('shop', 'a')
    unsettled.leave('shop', 'a')
    expect(unsettled.of('shop')).toEqual({ left: 1, oldestMs: 40 })
    unsettled.ended('shop', 'a')
    unsettled.ended('shop', 'a')
    expect(unsettled.of('shop')).toEqual({ left: 0, oldestMs: 0 })
  })

  it('forgets an aborted branch when a pass that began after it does not find it', () => {
    const { unsettled, leave } = world()
    unsettled.decided('shop', 'before', 'abort')
    unsettled.leave('shop', 'before')
    leave('committed')
    const mark = unsettled.mark()
    unsettled.decided('shop', 'after', 'abort')
    unsettled.leave('shop', 'after')
    unsettled.passed('shop', mark, new Set(['stuck']))
    expect([...unsettled.gtrids()]).toEqual(['committed', 'after', 'stuck'])
    expect(unsettled.of('shop').left).toBe(3)
    unsettled.passed('shop', unsettled.mark(), new Set())
    // Of a commit only an answer speaks.
    expect([...unsettled.gtrids()]).toEqual(['committed'])
  })
})

describe('a budget', () => {
  it('refuses above its count, as retryable and with a way out, and takes work again below', () => {
    const { budget, leave, unsettled, told } = world({ unsettled: 2 })
    leave('a')
    leave('b')
    expect(budget.refusal('shop', 'g')).toBe(undefined)
    leave('c')
    expect(budget.refusal('shop', 'g')).toMatchObject({
      code: 'PARTICIPANT_OVER_BUDGET',
      outcome: 'rolled-back',
      gtrid: 'g',
      retryable: true,
      hint: expect.stringContaining('budget') as string,
    })
    expect(budget.refusal('ledger', 'g')).toBe(undefined)
    unsettled.ended('shop', 'b')
    expect(budget.refusal('shop', 'g')).toBe(undefined)
    expect(told).toEqual([true, false])
  })

  it('refuses above its age, also what was decided in an earlier life', async () => {
    const { budget, leave, clock } = world({ ageMs: 1_000 })
    leave('old', 900)
    expect(budget.refusal('shop', 'g')).toBe(undefined)
    await clock.advance(101)
    expect(budget.refusal('shop', 'g')).toMatchObject({ code: 'PARTICIPANT_OVER_BUDGET' })
  })

  it('allows 100 and any age where nothing is said, and everything where it is off', async () => {
    for (const [options, limit] of [
      [undefined, 100],
      [false, 1_000],
    ] as const) {
      const { budget, leave, clock } = world(options)
      for (let count = 0; count < limit; count += 1) leave(`g${count}`)
      await clock.advance(86_400_000)
      expect(budget.isExceeded('shop')).toBe(false)
      leave('one more')
      expect(budget.isExceeded('shop')).toBe(options !== false)
    }
  })

  it.each([
    [{ unsettled: -1 }],
    [{ ageMs: Number.NaN }],
    [{ unsettled: '5' as unknown as number }],
  ])('cannot be %o', (options) => {
    expect(() => completeBudget(options)).toThrow(UnanimousError)
  })
})

describe('a transaction over the budget of a participant', () => {
  async function open() {
    const [ledger, shop] = [new FakeParticipant([]), new FakeParticipant([])]
    const coordinator = await Coordinator.open({
      log: { directory: await folder(), allowUnsafeFileSystem: true },
      participants: { ledger, shop },
      settleMs: 20,
      budget: { unsettled: 0 },
    })
    onTestFinished(async () => void (await coordinator.close({ drainMs: 0 })))
    Object.assign(shop.script, { commit: 'lost', settle: 'later' })
    const both = (): Promise<void> =>
      coordinator.transaction(async (tx) => {
        await tx.ledger.work()
        await tx.shop.work()
      })
    await both()
    expect(coordinator.stats().participants['shop']).toMatchObject({ unsettled: 1, refusing: true })
    const settle = (): void =>
      void Object.assign(shop.script, { commit: undefined, settle: undefined })
    return { coordinator, ledger, shop, both, settle }
  }

  it('is refused there and nowhere else, until recovery has settled', async () => {
    const { coordinator, ledger, both, settle } = await open()
    await expect(both()).rejects.toMatchObject({ code: 'PARTICIPANT_OVER_BUDGET' })
    expect(ledger.rolledBack.size).toBe(1)
    await coordinator.transaction((tx) => tx.ledger.work())
    settle()
    await expect
      .poll(() =>
        both().then(
          () => 'done',
          () => 'refused',
        ),
      )
      .toBe('done')
    expect(coordinator.stats().participants['shop']).toMatchObject({
      unsettled: 0,
      refusing: false,
    })
  })

  it('commits nothing although its callback swallows the refusal', async () => {
    const { coordinator, ledger, settle } = await open()
    const before = ledger.committed.size
    const swallowing = coordinator.transaction(async (tx) => {
      await tx.ledger.work()
      await tx.shop.work().catch(() => undefined)
    })
    await expect(swallowing).rejects.toMatchObject({
      code: 'PARTICIPANT_OVER_BUDGET',
      outcome: 'rolled-back',
    })
    expect(ledger.committed.size).toBe(before)
    settle()
  })

  it('is run again by `retry` until there is room', async () => {
    const { coordinator, settle } = await open()
    let runs = 0
    await coordinator.transaction(
      async (tx) => {
        runs += 1
        if (runs === 3) settle()
        await tx.shop.work()
      },
      { retry: { attempts: 500, minDelayMs: 20, maxDelayMs: 20 } },
    )
    expect(runs).toBeGreaterThan(2)
  })

  it('goes on when it had enlisted before', async () => {
    const { coordinator, both, settle, shop } = await open()
    settle()
    await expect.poll(() => coordinator.stats().participants['shop']?.unsettled).toBe(0)
    const tx = await coordinator.begin()
    await tx.shop.work()
    Object.assign(shop.script, { commit: 'lost', settle: 'later' })
    await both()
    await tx.shop.work()
    await tx.commit()
    settle()
  })
})
