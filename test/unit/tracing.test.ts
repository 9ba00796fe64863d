/** Spans and durations, by a coordinator over participants in memory. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { Coordinator } from '../../src/coordinator.ts'
import { type Phase, Phases, type Span, traced } from '../../src/tracing.ts'
import { FakeParticipant, type Script } from '../support/fake-participant.ts'
import { testFolders } from '../support/folder.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const folder = testFolders()
const SECRET = 'what a callback returned'

async function open(scripts: { ledger?: Script; shop?: Script } = {}) {
  const participants = {
    ledger: new FakeParticipant([], scripts.ledger),
    shop: new FakeParticipant([], scripts.shop),
  }
  const coordinator = await Coordinator.open({
    log: { directory: await folder(), allowUnsafeFileSystem: true },
    participants,
    settleMs: 50,
  })
  onTestFinished(async () => void (await coordinator.close({ drainMs: 0 })))
  return coordinator
}

/** Hears a channel until the test is over. */
function hear(phase: Phase) {
  const heard: { readonly event: string; readonly span: Span; readonly seen: Span }[] = []
  const note = (event: string) => (span: Span) =>
    void heard.push({ event, span, seen: { ...span } })
  const channel = tracingChannel<unknown, Span>(`unanimous:${phase}`)
  const subscribers = {
    start: note('start'),
    end: note('end'),
    asyncStart: note('asyncStart'),
    asyncEnd: note('asyncEnd'),
    error: note('error'),
  }
  channel.subscribe(subscribers)
  listening.push(() => channel.unsubscribe(subscribers))
  return {
    heard,
    ended: () => heard.filter(({ event }) => event === 'asyncEnd').map(({ seen }) => seen),
  }
}
const listening: (() => void)[] = []
afterEach(() => {
  for (const stop of listening.splice(0)) stop()
})

describe('a transaction over two participants', () => {
  it('is a span, and its votes, its decision and its settlements are', async () => {
    const coordinator = await open()
    const phases: readonly Phase[] = ['transaction', 'prepare', 'decide', 'settle']
    const [transaction, prepare, decide, settle] = phases.map(hear)
    await coordinator.transaction(
      async (tx) => {
        await tx.ledger.work()
        await tx.shop.work()
        return SECRET
      },
      { name: 'transfer' },
    )
    const { gtrid } = transaction?.heard[0]?.span ?? {}
    expect(gtrid).toMatch(/^una1-/)
    expect(transaction?.ended()).toEqual([
      { gtrid, name: 'transfer', outcome: 'committed', result: undefined },
    ])
    expect(prepare?.ended()).toMatchObject([
      { gtrid, participant: 'ledger', answer: 'prepared' },
      { gtrid, participant: 'shop', answer: 'prepared' },
    ])
    expect(decide?.ended()).toMatchObject([{ gtrid }])
    expect(settle?.ended()).toMatchObject([
      { gtrid, participant: 'ledger', decision: 'commit', by: 'live', answer: 'answered' },
      { gtrid, participant: 'shop', decision: 'commit', by: 'live', answer: 'answered' },
    ])
    const all = [transaction, prepare, decide, settle].flatMap((each) => each?.heard ?? [])
    expect(JSON.stringify(all)).not.toContain(SECRET)
  })

  it('ends with the outcome and the code of its error', async () => {
    const refusal = { code: 'PREPARE_REFUSED', reason: 'no', retryable: false } as const
    const coordinator = await open({ shop: { vote: refusal } })
    const [transaction, prepare, settle] = (['transaction', 'prepare', 'settle'] as const).map(hear)
    const failed = coordinator.transaction(async (tx) => {
      await tx.ledger.work()
      await tx.shop.work()
    })
    await expect(failed).rejects.toMatchObject({ code: 'PREPARE_REFUSED' })
    expect(transaction?.heard.map(({ event }) => event)).toContain('error')
    expect(transaction?.ended()).toMatchObject([
      { outcome: 'rolled-back', code: 'PREPARE_REFUSED' },
    ])
    expect(prepare?.ended().map(({ answer }) => answer)).toEqual(['prepared', 'refused'])
    expect(settle?.ended()).toMatchObject([{ decision: 'abort' }, { decision: 'abort' }])
  })

  it('that its caller ends is a span too, until then', async () => {
    const coordinator = await open()
    const { ended, heard } = hear('transaction')
    const tx = await coordinator.begin({ name: 'held' })
    await tx.ledger.work()
    expect(heard.map(({ event }) => event)).toEqual(['start', 'end'])
    await tx.rollback()
    await expect
      .poll(ended)
      .toMatchObject([{ name: 'held', outcome: 'rolled-back', code: 'ROLLED_BACK' }])
  })

  it('runs its callback in the store that is bound to its start', async () => {
    const coordinator = await open()
    const store = new AsyncLocalStorage<string | undefined>()
    const { start } = tracingChannel<unknown, Span>('unanimous:transaction')
    start.bindStore(store, ({ gtrid }) => gtrid)
    listening.push(() => void start.unbindStore(store))
    let seen: string | undefined
    await coordinator.transaction((tx) => {
      seen = store.getStore()
      expect(seen).toBe(tx.gtrid)
    })
    expect(seen).toBeDefined()
    expect(store.getStore()).toBe(undefined)
  })
})

describe('one participant', () => {
  it('commits in a settlement that was its decision too', async () => {
    const coordinator = await open()
    const { ended } = hear('settle')
    await coordinator.transaction((tx) => tx.ledger.work())
    expect(ended()).toMatchObject([{ participant: 'ledger', onePhase: true, answer: 'committed' }])
  })
})

describe('recovery', () => {
  it('is a span for each pass, with what it did', async () => {
    const coordinator = await open({ shop: { commit: 'lost' } })
    const { ended } = hear('recover')
    await coordinator.transaction(async (tx) => {
      await tx.ledger.work()
      await tx.shop.work()
    })
    const found = (): Span | undefined => ended().find(({ committed }) => committed === 1)
    await expect.poll(found).toMatchObject({ participant: 'shop', unsettled: 0, rolledBack: 0 })
  })
})

describe('durations', () => {
  it('are counted in buckets, each with those below it', async () => {
    const clock = new VirtualClock()
    const phases = new Phases(clock)
    for (const ms of [0, 3, 3, 60, 60_000]) {
      const startedAtMs = clock.monotonic()
      await clock.advance(ms)
      phases.took('decide', startedAtMs)
    }
    const { buckets, count, sumMs, maxMs } = phases.histograms().decide
    expect({ count, sumMs, maxMs }).toEqual({ count: 5, sumMs: 60_066, maxMs: 60_000 })
    expect(buckets.map((each) => each.count)).toEqual([1, 1, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4])
    expect(phases.histograms().settle.count).toBe(0)
  })

  it('make no span, and no promise of one, when nobody listens', async () => {
    const span = {}
    const work = Promise.resolve()
    const answer = traced('transaction', span, (given) => {
      expect(given).toBe(span)
      return work
    })
    expect(answer).toBe(work)
    expect(Object.keys(span)).toEqual([])
  })
})
