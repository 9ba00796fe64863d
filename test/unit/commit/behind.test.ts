/** `settle: 'behind'`: what may be answered before it is settled, and what may not. */
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TransactionVerbs } from '../../../src/commit/handles.ts'
import { UnanimousError } from '../../../src/errors.ts'
import type { CoordinatorEventMap } from '../../../src/events.ts'
import { Coordinator } from '../../../src/index.ts'
import { type Handles, LIMITS, world } from '../../support/commit-world.ts'
import { FakeParticipant, type Script } from '../../support/fake-participant.ts'
import { testFolders } from '../../support/folder.ts'

const folder = testFolders()

/** A promise and what fulfils it. */
function held() {
  let release: () => void = () => undefined
  const until = new Promise<void>((resolve) => {
    release = resolve
  })
  return { until, release }
}

/** A world whose shop commits when it is released. */
function slowWorld(script: Script = {}) {
  const { until, release } = held()
  return { ...world(script, { ...script, beforeCommit: until }), release }
}

const BEHIND = { settle: 'behind' } as const
/** Longer than anything in memory takes, shorter than `settleMs`. */
const A_WHILE_MS = 30

async function isAnswered(promise: Promise<unknown>): Promise<boolean> {
  const waited = new Promise((resolve) => {
    setTimeout(resolve, A_WHILE_MS, 'waits')
  })
  return (await Promise.race([promise, waited])) !== 'waits'
}

describe('a transaction that is settled behind', () => {
  it('is answered once its record is durable, and committed behind the answer', async () => {
    const w = slowWorld()
    expect(await w.run(w.both, BEHIND)).toBe('done')
    expect(w.trace).toContain('log durable')
    expect([w.shop.committed.size, w.shop.prepared.size, w.context.behind.running]).toEqual([
      0, 1, 1,
    ])
    w.release()
    await w.live.whenEmpty()
    expect([w.ledger.committed.size, w.shop.committed.size]).toEqual([1, 1])
    await expect.poll(() => w.context.behind.running).toBe(0)
    expect(w.log.pending()).toEqual([])
  })

  it('is not answered before its record is durable', async () => {
    const w = world()
    const { until, release } = held()
    w.log.force = until
    const answer = w.run(w.both, BEHIND)
    expect(await isAnswered(answer)).toBe(false)
    expect(w.trace.filter((line) => line.endsWith('commit'))).toEqual([])
    release()
    expect(await answer).toBe('done')
  })

  it('rule 5: stays live until its own path touches no branch any more', async () => {
    const w = slowWorld()
    await w.run(w.both, BEHIND)
    expect(w.live.size).toBe(1)
    w.release()
    await w.live.whenEmpty()
    expect(w.trace).toContain('shop commit')
  })

  it('is waited for where a branch carries a marker: no caller is told what no database has', async () => {
    const { until, release } = held()
    const w = world({ markers: true, beforeCommit: until }, { markers: true, beforeCommit: until })
    const answer = w.run(w.both, BEHIND)
    expect(await isAnswered(answer)).toBe(false)
    expect(w.context.behind.running).toBe(0)
    release()
    expect(await answer).toBe('done')
  })

  it('is waited for while as many are behind as may: callers go at the pace of the databases', async () => {
    const w = slowWorld()
    await w.run(w.both, BEHIND)
    await w.run(w.both, BEHIND)
    const third = w.run(w.both, BEHIND)
    expect(await isAnswered(third)).toBe(false)
    w.release()
    await third
    await w.live.whenEmpty()
    await expect.poll(() => w.context.behind.running).toBe(0)
    expect(w.shop.committed.size).toBe(3)
  })

  it('calls its hooks with the answer', async () => {
    const w = slowWorld()
    const heard: string[] = []
    await w.run(async (tx) => {
      const verbs = tx as Handles & TransactionVerbs
      verbs.afterCommit(() => heard.push('committed'))
      await w.both(tx)
    }, BEHIND)
    expect(heard).toEqual(['committed'])
    w.release()
    await w.live.whenEmpty()
  })

  it('counts until its branches have answered, whoever settles them', async () => {
    const w = slowWorld({ commit: 'lost' })
    await w.run(w.both, BEHIND)
    w.release()
    await w.live.whenEmpty()
    await new Promise((resolve) => {
      setTimeout(resolve, 2 * LIMITS.settleMs)
    })
    const [pending] = w.log.pending()
    for (const [at, { bqual }] of (pending?.record.branches ?? []).entries()) {
      expect(w.context.behind.running, `branch ${at}`).toBe(1)
      w.context.settlements.answer(pending?.record.gtrid ?? '', bqual, 'committed', 'recovery')
    }
    await expect.poll(() => w.context.behind.running).toBe(0)
  })

  it('leaves a branch that is silent to recovery', async () => {
    const w = slowWorld({ commit: 'lost' })
    await w.run(w.both, BEHIND)
    w.release()
    await w.live.whenEmpty()
    expect([...w.nudged].toSorted()).toEqual(['ledger', 'shop'])
    expect(w.log.pending()).toHaveLength(1)
  })

  it('tells of a heuristic by its event, and keeps it in the log', async () => {
    const w = slowWorld()
    Object.assign(w.shop.script, {
      commit: 'absent',
      proof: { kind: 'rolled-back', by: 'marker' },
    })
    const heard: CoordinatorEventMap['branch:heuristic'][] = []
    w.events.on('branch:heuristic', (event) => heard.push(event))
    expect(await w.run(w.both, BEHIND)).toBe('done')
    expect(heard).toEqual([])
    w.release()
    await w.live.whenEmpty()
    expect(heard).toMatchObject([{ participant: 'shop', answer: 'heuristic-rollback' }])
    expect(w.log.pending()[0]?.answers.get('shop')).toBe('heuristic-rollback')
    expect(w.stopped).toEqual([])
  })

  it('stops the coordinator when what runs behind fails as it never may', async () => {
    const w = world()
    Object.assign(w.context, {
      failpoints: (name: string) => {
        if (name === 'commit:after-all') throw new Error('a fault')
      },
    })
    await w.run(w.both, BEHIND)
    await expect.poll(() => w.stopped).toEqual([new Error('a fault')])
  })
})

describe('a coordinator with transactions behind', () => {
  const open = async (script: Script, max?: number) => {
    const [ledger, shop] = [new FakeParticipant([]), new FakeParticipant([], script)]
    const coordinator = await Coordinator.open({
      log: { directory: await folder(), allowUnsafeFileSystem: true },
      participants: { ledger, shop },
      ...(max === undefined ? {} : { settleBehind: { max } }),
    })
    onTestFinished(async () => void (await coordinator.close({ drainMs: 0 })))
    const transfer = (): Promise<void> =>
      coordinator.transaction(async (tx) => {
        await tx.ledger.work()
        await tx.shop.work()
      }, BEHIND)
    return { coordinator, shop, transfer }
  }

  it('waits for them when it is closed', async () => {
    const { until, release } = held()
    const { coordinator, shop, transfer } = await open({ beforeCommit: until })
    await transfer()
    expect(coordinator.stats().transactions).toMatchObject({
      running: 1,
      behind: 1,
      ended: { committed: 1 },
    })
    const closed = coordinator.close()
    expect(await isAnswered(closed)).toBe(false)
    release()
    expect(await closed).toMatchObject({ left: 0, aborted: 0 })
    expect(shop.committed.size).toBe(1)
  })

  it('lets none be behind that was given `max: 0`', async () => {
    const { until, release } = held()
    const { transfer } = await open({ beforeCommit: until }, 0)
    const answer = transfer()
    expect(await isAnswered(answer)).toBe(false)
    release()
    await answer
  })

  it.each([[-1], [Number.NaN], ['5' as unknown as number]])('refuses max: %o', async (max) => {
    await expect(open({}, max)).rejects.toThrow(UnanimousError)
  })
})
