/** What a command line hears of a coordinator that runs, over its real socket; participants in memory. */
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Clock, systemClock } from '../../../src/clock.ts'
import type { Seams } from '../../../src/coordinator/options.ts'
import { Coordinator } from '../../../src/coordinator.ts'
import { TransactionError } from '../../../src/errors.ts'
import type { Failpoints } from '../../../src/failpoint.ts'
import { askLive } from '../../../src/live/client.ts'
import type { LiveRequest, LiveRequests } from '../../../src/live/wire.ts'
import { FakeParticipant, gid, type Script } from '../../support/fake-participant.ts'
import { testFolders } from '../../support/folder.ts'

const folder = testFolders()

async function world(
  scripts: { ledger?: Script; shop?: Script } = {},
  failpoints: Failpoints = () => undefined,
  seams: Partial<Seams> = {},
) {
  const ledger = new FakeParticipant([], scripts.ledger)
  const shop = new FakeParticipant([], scripts.shop)
  const directory = await folder()
  const coordinator = await Coordinator.open({
    log: { directory, allowUnsafeFileSystem: true },
    participants: { ledger, shop },
    settleMs: 50,
    seams: { failpoints, ...seams },
  })
  onTestFinished(async () => {
    for (const one of [ledger, shop]) Object.assign(one.script, { settle: undefined })
    await coordinator.close({ drainMs: 0 })
  })
  const ask = async <N extends LiveRequest>(
    request: N,
    params: LiveRequests[N]['params'],
  ): Promise<LiveRequests[N]['result']> => {
    const answer = await askLive(directory, request, params, { clock: systemClock })
    if (answer.kind !== 'answered') throw new Error(answer.kind)
    return answer.result
  }
  const transfer = () =>
    coordinator.transaction(
      async (tx) => {
        await tx.ledger.work()
        await tx.shop.work()
      },
      { name: 'transfer', meta: { order: 7 } },
    )
  return { coordinator, directory, ledger, shop, ask, transfer }
}

/** The system's clock, and word of each timer of that length: when it is set, or when it has fired. */
function overheard(delayMs: number, when: 'set' | 'fired', hear: () => void): Clock {
  return {
    ...systemClock,
    timer: (wantedMs, fire, holds) => {
      if (wantedMs !== delayMs) return systemClock.timer(wantedMs, fire, holds)
      if (when === 'set') hear()
      const over = () => {
        fire()
        if (when === 'fired') hear()
      }
      return systemClock.timer(wantedMs, over, holds)
    },
  }
}

describe('status', () => {
  it('tells who holds the log, what runs and what is left to recovery', async () => {
    const { coordinator, ask, directory, shop, transfer } = await world()
    await using tx = await coordinator.begin({ name: 'open' })
    shop.script.commit = 'lost'
    shop.script.settle = 'later'
    await transfer()
    const status = await ask('status', {})
    expect(status).toMatchObject({
      logId: coordinator.logId,
      directory,
      owner: { pid: process.pid },
      state: 'open',
      running: 1,
      decisions: 1,
      participants: [
        { name: 'ledger', reachable: true, unsettled: 0 },
        { name: 'shop', reachable: true, unsettled: 1 },
      ],
    })
    expect(status.oldestRunningMs).toBeGreaterThan(0)
    expect(status.participants[1]?.oldestMs).toBeGreaterThan(0)
    expect(tx.name).toBe('open')
  })

  it('tells that the coordinator decides nothing any more, and why', async () => {
    const { ask, ledger, coordinator } = await world()
    const id = `una1-${coordinator.logId}-zz.00000000-1`
    ledger.prepared.set(gid({ gtrid: id, bqual: 'ledger' }), { gtrid: id, bqual: 'ledger' })
    await expect.poll(async () => (await ask('status', {})).state).toBe('stopped')
    expect((await ask('status', {})).stoppedBy).toMatchObject({ code: 'LOG_COPIED' })
    await expect(ask('recover', {})).rejects.toMatchObject({ code: 'LOG_COPIED' })
  })
})

describe('list and show', () => {
  it('tell a live transaction from one that is left, by what the coordinator knows', async () => {
    let hold = false
    let go: () => void = () => undefined
    const { ask, shop, transfer } = await world({}, (name) => {
      if (name !== 'prepare:after-all' || !hold) return undefined
      return new Promise<void>((resolve) => {
        go = resolve
      })
    })
    shop.script.commit = 'lost'
    shop.script.settle = 'later'
    await transfer()
    hold = true
    const held = transfer()
    await expect.poll(() => shop.prepared.size).toBe(2)
    const { transactions, owner } = await ask('list', {})
    expect(owner?.pid).toBe(process.pid)
    expect(transactions.map(({ state, decision, name }) => [state, decision, name])).toEqual(
      expect.arrayContaining([
        ['unsettled', 'commit', 'transfer'],
        ['live', 'none', undefined],
      ]),
    )
    const left = transactions.find(({ state }) => state === 'unsettled')
    expect(left?.branches).toMatchObject([
      { participant: 'ledger', answer: 'committed' },
      { participant: 'shop', state: 'prepared', advice: { action: 'commit' } },
    ])
    const live = transactions.find(({ state }) => state === 'live')
    expect(live?.advice.action).toBe('leave')
    const shown = await ask('show', { id: live?.gtrid ?? '' })
    expect(shown.inspection.transactions).toEqual([expect.objectContaining({ state: 'live' })])
    expect(shown.running).toMatchObject([
      {
        gtrid: live?.gtrid,
        name: 'transfer',
        state: 'preparing',
        participants: ['ledger', 'shop'],
      },
    ])
    const short = left?.gtrid.slice(`una1-${(await ask('status', {})).logId}-`.length) ?? ''
    expect((await ask('show', { id: short })).inspection.transactions).toHaveLength(1)
    go()
    await held
  })

  it('advise nothing once a write failed: what was handed over may be durable', async () => {
    const { ask, coordinator, transfer, ledger } = await world({}, (name) => {
      if (name === 'log:after-write' && broken) throw new Error('EIO')
    })
    let broken = false
    await transfer()
    broken = true
    const error = await transfer().catch((cause: unknown) => cause)
    if (!(error instanceof TransactionError) || error.outcome !== 'in-doubt') throw error
    expect(ledger.prepared.size).toBe(1)
    const { transactions } = await ask('list', {})
    expect(transactions).toMatchObject([
      { gtrid: error.gtrid, decision: 'none', advice: { action: 'leave' } },
    ])
    expect((await ask('status', {})).participants).toMatchObject([
      { unsettled: 1 },
      { unsettled: 1 },
    ])
    expect((await coordinator.close()).left).toBe(1)
    broken = false
  })

  it('refuse a parameter of a wrong form', async () => {
    const { ask } = await world()
    await expect(ask('show', { id: '' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(ask('list', { participant: 'nobody' })).rejects.toMatchObject({
      code: 'PARTICIPANT_UNKNOWN',
    })
    await expect(ask('recover', { waitMs: -1 })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(ask('list', { participant: 7 as never })).rejects.toThrow('not a text')
  })

  it('send thousands of transactions in pieces, and let others have a turn in between', async () => {
    const { ask, coordinator, ledger } = await world()
    ledger.script.settle = 'later'
    const tx = await coordinator.begin()
    for (let sequence = 0; sequence < 3_000; sequence += 1) {
      const gtrid = `${tx.gtrid}000${sequence}`
      ledger.prepared.set(gtrid, { gtrid, bqual: 'ledger' })
    }
    let turns = 0
    const turn = setInterval(() => {
      turns += 1
    }, 0)
    const { transactions } = await ask('list', {})
    clearInterval(turn)
    expect(transactions).toHaveLength(3_000)
    expect(transactions[999]).toMatchObject({ state: 'unsettled', advice: { action: 'roll back' } })
    expect(turns).toBeGreaterThanOrEqual(30)
    ledger.prepared.clear()
    await tx.rollback()
  })
})

describe('recover', () => {
  it('settles now, and tells what it did and what is left', async () => {
    let isAsked = false
    // Only then does it watch: what the loop settles before that is not its doing.
    const clock = overheard(100, 'set', () => {
      isAsked = true
    })
    const { ask, shop, transfer } = await world({}, undefined, { clock })
    shop.script.commit = 'lost'
    shop.script.settle = 'later'
    await transfer()
    const first = await ask('recover', {})
    expect(first.done).toEqual([])
    expect(first.unsettled).toEqual([{ participant: 'shop', count: 1, why: 'busy' }])
    expect(first.inspection.transactions).toMatchObject([{ state: 'unsettled' }])
    isAsked = false
    const asked = ask('recover', { waitMs: 30_000 })
    await expect.poll(() => isAsked).toBe(true)
    Object.assign(shop.script, { settle: undefined })
    const second = await asked
    expect(second.done).toMatchObject([{ participant: 'shop', did: 'committed' }])
    expect([second.unsettled, second.inspection.transactions]).toEqual([[], []])
  })
})

describe('drain', () => {
  it('lets what runs end, and begins nothing', async () => {
    const { ask, coordinator, transfer } = await world()
    const tx = await coordinator.begin()
    await tx.ledger.work()
    const drained = ask('drain', { drainMs: 60_000 })
    await expect.poll(async () => (await ask('status', {})).state).toBe('draining')
    await expect(transfer()).rejects.toMatchObject({ code: 'COORDINATOR_CLOSED' })
    await tx.commit()
    expect(await drained).toEqual({ ended: 1, aborted: 0, running: 0, left: 0 })
    // Still there to be asked.
    expect((await ask('status', {})).running).toBe(0)
  })

  it('aborts in the register what is not decided in time', async () => {
    const { ask, coordinator, ledger, shop } = await world()
    const tx = await coordinator.begin()
    await tx.ledger.work()
    await tx.shop.work()
    expect(await ask('drain', { drainMs: 0 })).toEqual({
      ended: 0,
      aborted: 1,
      running: 0,
      left: 0,
    })
    await expect(tx.commit()).rejects.toMatchObject({
      code: 'COORDINATOR_CLOSED',
      outcome: 'rolled-back',
    })
    expect([ledger.committed.size, shop.committed.size]).toEqual([0, 0])
  })

  it('turns no commit back whose force is in flight', async () => {
    const drainMs = 17
    let go: () => void = () => undefined
    let handed = false
    let late = false
    const failpoints: Failpoints = (name) => {
      if (name !== 'decide:before') return undefined
      handed = true
      return new Promise<void>((resolve) => {
        go = resolve
      })
    }
    // The drain has given up waiting when this very timer has fired: nothing else says so from outside.
    const clock = overheard(drainMs, 'fired', () => {
      late = true
    })
    const { ask, ledger, shop, transfer } = await world({}, failpoints, { clock })
    const transferred = transfer()
    await expect.poll(() => handed).toBe(true)
    const drained = ask('drain', { drainMs })
    await expect.poll(() => late).toBe(true)
    go()
    await transferred
    expect(await drained).toEqual({ ended: 0, aborted: 0, running: 0, left: 0 })
    expect([ledger.committed.size, shop.committed.size]).toEqual([1, 1])
  })

  it('tells what is left when a participant does not settle', async () => {
    const { ask, shop, transfer } = await world()
    shop.script.commit = 'lost'
    shop.script.settle = 'later'
    await transfer()
    expect(await ask('drain', { drainMs: 0 })).toMatchObject({ running: 0, left: 1 })
  })
})

describe('close', () => {
  /** Twenty times as fast; what a busy machine takes besides is no time of it. */
  function fastClock(): Clock {
    let nowMs = 0
    return {
      now: () => systemClock.now(),
      monotonic: () => nowMs,
      timer: (delayMs, fire, holds) => {
        const due = nowMs + delayMs
        const over = () => {
          nowMs = Math.max(nowMs, due)
          fire()
        }
        return systemClock.timer(delayMs / 20, over, holds)
      },
    }
  }

  it('ends in time although a database swallows what it is told, and counts it as left', async () => {
    const fast = fastClock()
    const { coordinator, shop, transfer } = await world({}, undefined, { clock: fast })
    shop.script.commit = 'hang'
    await transfer()
    const startedAt = fast.monotonic()
    const report = await coordinator.close({ drainMs: 100 })
    expect(fast.monotonic() - startedAt).toBeLessThan(15_000)
    expect(report).toEqual({ ended: 0, aborted: 0, running: 1, left: 1 })
  })

  it('is one close, however often it is called', async () => {
    const { coordinator } = await world()
    const tx = await coordinator.begin()
    await tx.ledger.work()
    const closes = [coordinator.close({ drainMs: 20 }), coordinator.close({ drainMs: 60_000 })]
    const [first, second] = await Promise.all(closes)
    expect(first).toEqual({ ended: 0, aborted: 1, running: 0, left: 0 })
    expect(second).toBe(first)
    await expect(tx.commit()).rejects.toMatchObject({ outcome: 'rolled-back' })
  })
})

describe('two coordinators in one process', () => {
  it('have a socket each, and the second on one log disturbs not the first', async () => {
    const one = await world()
    const two = await world()
    const again = Coordinator.open({
      log: { directory: one.directory, allowUnsafeFileSystem: true },
      participants: { ledger: new FakeParticipant([]) },
    })
    await expect(again).rejects.toMatchObject({ code: 'LOG_LOCKED' })
    expect((await one.ask('status', {})).logId).toBe(one.coordinator.logId)
    expect((await two.ask('status', {})).logId).toBe(two.coordinator.logId)
    await one.coordinator.close()
    await expect(one.ask('status', {})).rejects.toThrow('not-live')
    expect((await two.ask('status', {})).logId).toBe(two.coordinator.logId)
  })

  it('take a slot each under a root, with a socket in it', async () => {
    const root = await folder()
    const open = () =>
      Coordinator.open({
        log: { root, allowUnsafeFileSystem: true },
        participants: { ledger: new FakeParticipant([]) },
      })
    const [one, two] = [await open(), await open()]
    const status = async (slot: string): Promise<string> => {
      const answer = await askLive(`${root}/${slot}`, 'status', {}, { clock: systemClock })
      return answer.kind === 'answered' ? answer.result.logId : answer.kind
    }
    expect(await status('slot-1')).toBe(one.logId)
    expect(await status('slot-2')).toBe(two.logId)
    await one.close()
    expect(await status('slot-1')).toBe('not-live')
    await two.close()
  })
})

describe('a coordinator that cannot listen', () => {
  it('says so and goes on: transactions need no socket', async () => {
    const ledger = new FakeParticipant([])
    const warnings: unknown[] = []
    const coordinator = await Coordinator.open({
      log: { directory: await folder(), allowUnsafeFileSystem: true },
      participants: { ledger },
      logger: {
        debug: () => undefined,
        info: () => undefined,
        warn: (details) => warnings.push(details),
        error: () => undefined,
      },
      seams: { listen: () => Promise.reject(new Error('EPERM')) },
    })
    await coordinator.transaction((tx) => tx.ledger.work())
    expect(warnings).toContainEqual(
      expect.objectContaining({
        message: 'the command line cannot ask this coordinator: EPERM',
      }),
    )
    await coordinator.close()
  })
})
