import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { noFailpoints } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { LiveSet } from '../../../src/participant/live.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { Settlements } from '../../../src/participant/settle.ts'
import { RecoveryLoop } from '../../../src/recovery/loop.ts'
import { Phases } from '../../../src/tracing.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { settle, VirtualClock } from '../../support/virtual-clock.ts'

function world() {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace)
  const shop = new FakeParticipant(trace)
  const log = new MemoryLog(trace)
  const clock = new VirtualClock()
  const events = new Events()
  const heard: string[] = []
  events.on('participant:unreachable', ({ participant }) => heard.push(`${participant} down`))
  events.on('participant:reachable', ({ participant }) => heard.push(`${participant} up`))
  events.on('branch:reported', ({ id }) => heard.push(`reported ${id}`))
  const registry = createRegistry({ ledger, shop }, clock, events)
  const stopped: unknown[] = []
  const context = {
    registry,
    log,
    live: new LiveSet(),
    settlements: new Settlements(log, events, clock, () => undefined),
    events,
    phases: new Phases(clock),
    failpoints: noFailpoints,
    clock,
    stop: (cause: unknown) => stopped.push(cause),
  }
  const loop = new RecoveryLoop(context, clock, { intervalMs: 5_000, markerSweepMs: 60_000 })
  const lists = (name: string) => trace.filter((line) => line === `${name} list`).length
  const old = (sequence: number) =>
    formatGtrid({ logId: log.logId, incarnation: { epoch: 1, nonce: '00000000' }, sequence })
  const prepare = (participant: FakeParticipant, sequence: number) => {
    const xid = { gtrid: old(sequence), bqual: participant.name }
    participant.prepared.set(gid(xid), xid)
  }
  return { ledger, shop, log, clock, loop, lists, heard, prepare, stopped, trace }
}

const down = (): Promise<never> =>
  Promise.reject(new UnanimousError('PARTICIPANT_UNREACHABLE', 'connection refused'))

describe('the recovery loop', () => {
  it('rule 6: goes on for ever, for a PREPARE may appear after its client died', async () => {
    const { clock, loop, ledger, prepare, lists } = world()
    loop.start()
    await settle()
    expect(lists('ledger')).toBe(1)
    prepare(ledger, 1)
    await clock.advance(5_000)
    expect(ledger.rolledBack.size).toBe(1)
    await clock.advance(20_000)
    const before = lists('ledger')
    await clock.advance(50_000)
    expect(lists('ledger') - before).toBe(10)
    await loop.stop()
  })

  it('rule 6: soon finds the PREPARE that was in flight when its branch was given up', async () => {
    const { clock, loop, ledger, prepare } = world()
    loop.start()
    await clock.advance(60_000)
    loop.nudge('ledger')
    await settle()
    prepare(ledger, 1)
    await clock.advance(50)
    expect(ledger.rolledBack.size).toBe(1)
    await loop.stop()
  })

  it('rule 8: a participant that is down, or never answers, delays nobody else', async () => {
    const { clock, loop, ledger, shop, prepare, heard } = world()
    const list = ledger.list.bind(ledger)
    ledger.list = down
    prepare(ledger, 1)
    prepare(shop, 1)
    loop.start()
    await loop.clean(['shop'])
    expect(shop.rolledBack.size).toBe(1)
    await clock.advance(20_000)
    ledger.list = list
    await clock.advance(1_000)
    expect(ledger.rolledBack.size).toBe(1)
    expect(heard).toEqual(['ledger down', 'ledger up'])
    ledger.list = () => new Promise(() => undefined)
    prepare(shop, 2)
    await clock.advance(5_000)
    expect(shop.rolledBack.size).toBe(2)
  })

  it('looks again soon, with growing pauses, while something is unsettled', async () => {
    const { clock, loop, ledger, prepare, lists } = world()
    ledger.script.settle = 'later'
    prepare(ledger, 1)
    loop.start()
    await clock.advance(50 + 100 + 200 + 400 + 800)
    expect(lists('ledger')).toBe(6)
    await clock.advance(10_000)
    expect(lists('ledger')).toBe(16)
    delete ledger.script.settle
    await clock.advance(1_000)
    expect(ledger.rolledBack.size).toBe(1)
    await loop.stop()
  })

  it('passes at once when it is nudged, also when a pass is running', async () => {
    const { loop, lists, ledger } = world()
    loop.start()
    await settle()
    loop.nudge('ledger')
    await settle()
    expect(lists('ledger')).toBe(2)
    let release: () => void = () => undefined
    const list = ledger.list.bind(ledger)
    ledger.list = async () => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return list()
    }
    loop.nudge('ledger')
    await settle()
    loop.nudge('ledger')
    release()
    await settle()
    ledger.list = list
    release()
    await settle()
    expect(lists('ledger')).toBe(4)
    await loop.stop()
  })

  it('rule 2: stops when the log is poisoned', async () => {
    const { clock, loop, log, lists } = world()
    loop.start()
    await settle()
    log.poison = new Error('EIO')
    await clock.advance(60_000)
    expect(lists('ledger')).toBe(1)
  })

  it('reports a branch that it leaves alone once, not at every pass', async () => {
    const { clock, loop, ledger, heard } = world()
    const gtrid = formatGtrid({
      logId: 'zzzzzzzzzzzzzzzz',
      incarnation: { epoch: 1, nonce: '00000000' },
      sequence: 1,
    })
    ledger.prepared.set('x', { gtrid, bqual: 'ledger' })
    loop.start()
    await clock.advance(30_000)
    expect(heard).toEqual([`reported ${gtrid}:ledger`])
    await loop.stop()
  })

  it('stops the coordinator when our own reasoning failed', async () => {
    const { loop, ledger, stopped } = world()
    ledger.list = () => Promise.reject(new InvariantError('wrong'))
    loop.start()
    await settle()
    expect(stopped).toHaveLength(1)
  })

  it('promises no pass once it has stopped', async () => {
    const { loop } = world()
    loop.start()
    await loop.stop()
    expect(await loop.passed(['ledger', 'nobody'])).toEqual([undefined, undefined])
  })

  it('stops at once, and leaves no timer', async () => {
    const { loop, clock } = world()
    loop.start()
    await settle()
    await loop.stop()
    expect(clock.waiting).toBe(0)
  })
})
