/** Recovery by the command line: passes until nothing is unsettled or the time is over. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { noFailpoints } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { type Done, type OnceOptions, recoverOnce, watch } from '../../../src/recovery/once.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, type Script, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { unawaited } from '../../support/test-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world(script: Script = {}) {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace, script)
  const shop = new FakeParticipant(trace)
  const clock = new VirtualClock()
  const log = new MemoryLog(trace)
  log.close = async () => {
    trace.push('log closed')
  }
  const events = new Events()
  const registry = createRegistry({ ledger, shop }, clock, events)
  const gtrid = (sequence: number, epoch = 1): string =>
    formatGtrid({ logId: log.logId, incarnation: { epoch, nonce: '00000000' }, sequence })
  const prepare = (participant: FakeParticipant, id: string): void => {
    const xid = { gtrid: id, bqual: participant.name }
    participant.prepared.set(gid(xid), xid)
  }
  const logCommit = (id: string, marker = false): void => {
    const branches = ['ledger', 'shop'].map((name) => ({
      participant: name,
      bqual: name,
      server: SERVER,
      marker,
    }))
    log.add({ gtrid: id, decidedAtMs: 0, branches })
  }
  const run = (options: Partial<OnceOptions> = {}) =>
    recoverOnce(
      { registry, log, events, failpoints: noFailpoints, clock },
      { waitMs: 0, ...options },
    )
  return { ledger, shop, clock, log, trace, gtrid, prepare, logCommit, run }
}

describe('recover once', () => {
  it('leaves a transaction that was split by hand to a person, and says so while the log is open', async () => {
    const { ledger, shop, gtrid, prepare, run, trace } = world()
    Object.assign(shop.script, { markers: true })
    prepare(ledger, gtrid(1))
    prepare(ledger, gtrid(2))
    shop.committed.add(gid({ gtrid: gtrid(1), bqual: 'shop' }))
    const { done } = await run({
      onSplit: async (found) => {
        trace.push(`split ${found.map((one) => `${one.participant} ${one.bqual}`).join()}`)
      },
    })
    expect(done).toMatchObject([{ gtrid: gtrid(2), did: 'rolled-back' }])
    expect([...ledger.prepared.values()]).toEqual([{ gtrid: gtrid(1), bqual: 'ledger' }])
    expect(trace.indexOf('split shop shop')).toBeGreaterThan(trace.indexOf('ledger list'))
    expect(trace.indexOf('split shop shop')).toBeLessThan(trace.indexOf('log closed'))
  })

  it('commits what is logged, rolls back the rest, and closes the log', async () => {
    const { ledger, shop, log, trace, gtrid, prepare, logCommit, run } = world()
    logCommit(gtrid(1))
    for (const participant of [ledger, shop]) prepare(participant, gtrid(1))
    prepare(ledger, gtrid(2))
    const { done, unsettled, troubles } = await run()
    expect(done).toHaveLength(3)
    expect(done).toContainEqual({
      gtrid: gtrid(1),
      participant: 'shop',
      bqual: 'shop',
      did: 'committed',
    })
    expect(done).toContainEqual({
      gtrid: gtrid(2),
      participant: 'ledger',
      bqual: 'ledger',
      did: 'rolled-back',
    })
    expect([unsettled, troubles.size, log.pending().length]).toEqual([[], 0, 0])
    expect(trace).toContain('log closed')
  })

  it('is idempotent', async () => {
    const { ledger, gtrid, prepare, run } = world()
    prepare(ledger, gtrid(1))
    await run()
    expect((await run()).done).toEqual([])
  })

  it('collects marker rows only after the log is closed, and so their end is durable', async () => {
    const { ledger, shop, trace, gtrid, prepare, logCommit, run } = world()
    logCommit(gtrid(1), true)
    for (const participant of [ledger, shop]) {
      prepare(participant, gtrid(1))
      participant.collectMarkers = async () => {
        trace.push('markers')
      }
    }
    await run()
    expect(trace.indexOf('markers')).toBeGreaterThan(trace.indexOf('log closed'))
    expect(trace.filter((line) => line === 'markers')).toHaveLength(2)
  })

  it('makes one pass when it is not asked to wait', async () => {
    const { ledger, clock, gtrid, prepare, run } = world({ settle: 'later' })
    prepare(ledger, gtrid(1))
    const { unsettled } = await run()
    expect(unsettled).toEqual([{ participant: 'ledger', count: 1, why: 'busy' }])
    expect(clock.waiting).toBe(0)
  })

  it('tries again until it is done', async () => {
    const { ledger, clock, gtrid, prepare, run } = world({ settle: 'later' })
    prepare(ledger, gtrid(1))
    const running = run({ waitMs: 30_000 })
    await clock.advance(1_000)
    delete ledger.script.settle
    await clock.advance(2_000)
    expect((await running).done).toMatchObject([{ did: 'rolled-back' }])
  })

  it('gives up when the time is over, and tells what is left', async () => {
    const { ledger, clock, gtrid, prepare, run } = world({ settle: 'later' })
    prepare(ledger, gtrid(1))
    const running = run({ waitMs: 3_000 })
    await clock.advance(3_000)
    expect((await running).unsettled).toMatchObject([{ participant: 'ledger', count: 1 }])
  })

  it('rule 8: settles elsewhere what it can while a participant is down', async () => {
    const { ledger, shop, gtrid, prepare, run } = world({ unreachable: true })
    prepare(ledger, gtrid(1))
    prepare(shop, gtrid(1))
    const { done, troubles } = await run()
    expect(done).toMatchObject([{ participant: 'shop', did: 'rolled-back' }])
    expect(troubles.get('ledger')?.code).toBe('PARTICIPANT_UNREACHABLE')
  })

  it('keeps to the participant that is wanted', async () => {
    const { ledger, shop, gtrid, prepare, run } = world()
    for (const participant of [ledger, shop]) prepare(participant, gtrid(1))
    await run({ only: 'shop' })
    expect([ledger.prepared.size, shop.prepared.size]).toEqual([1, 0])
  })

  it('tells of a participant that is unfit what it said itself', async () => {
    const { ledger, shop, run } = world()
    const unfit = new UnanimousError('PARTICIPANT_UNFIT', 'no grant', { hint: 'GRANT' })
    ledger.contact = () => Promise.reject(unfit)
    shop.contact = () => Promise.reject(new Error('socket hang up'))
    const { troubles } = await run()
    expect(troubles.get('ledger')).toBe(unfit)
    expect(troubles.get('shop')).toMatchObject({
      code: 'PARTICIPANT_UNREACHABLE',
      message: 'shop: socket hang up',
    })
  })

  it('calls no mistake of ours a participant that is down', async () => {
    const { ledger, run } = world()
    ledger.contact = () => Promise.reject(new InvariantError('ours'))
    await expect(run()).rejects.toBeInstanceOf(InvariantError)
  })

  it('notes what recovery settled beside a live path, where only that is wanted', () => {
    const events = new Events()
    const done: Done[] = []
    const stop = watch(events, done, 'recovery')
    const branch = { gtrid: 'g', participant: 'shop', bqual: 'shop', answer: 'committed' } as const
    events.emit('branch:settled', { ...branch, by: 'live' })
    events.emit('branch:settled', { ...branch, by: 'recovery' })
    stop()
    events.emit('branch:settled', { ...branch, by: 'recovery' })
    expect(done).toHaveLength(1)
  })

  it('stops, settles nothing there and waits for nobody when a branch proves it a copy', async () => {
    const { ledger, shop, trace, gtrid, prepare, run } = world()
    prepare(ledger, gtrid(1))
    prepare(ledger, gtrid(1, 9))
    prepare(shop, gtrid(1))
    shop.script.settle = 'later'
    // The clock stands still: a pause before another pass would never end.
    await expect(run({ waitMs: 30_000 })).rejects.toMatchObject({ code: 'LOG_COPIED' })
    expect(ledger.prepared.size).toBe(2)
    expect(trace.at(-1)).toBe('log closed')
  })

  it('does not call done what a poisoned log could not record', async () => {
    const { ledger, shop, log, gtrid, prepare, logCommit, run } = world()
    logCommit(gtrid(1))
    for (const participant of [ledger, shop]) prepare(participant, gtrid(1))
    log.answered = () => {
      log.poison = new Error('EIO')
      const lost = Promise.reject(new UnanimousError('LOG_POISONED', 'the log is poisoned'))
      unawaited(lost)
      return lost
    }
    log.end = () => Promise.reject(new UnanimousError('LOG_POISONED', 'the log is poisoned'))
    await expect(run()).rejects.toMatchObject({ code: 'LOG_POISONED' })
  })
})
