/** One pass of recovery over a participant and a log in memory. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { UnanimousError } from '../../../src/errors.ts'
import { type CoordinatorEventMap, Events } from '../../../src/events.ts'
import { type Failpoint, noFailpoints } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { LiveSet } from '../../../src/participant/live.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { Settlements } from '../../../src/participant/settle.ts'
import type { BranchRecord } from '../../../src/protocol/vocabulary.ts'
import {
  postponedIn,
  type RecoveryContext,
  recoverParticipant,
} from '../../../src/recovery/pass.ts'
import { Phases } from '../../../src/tracing.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, type Script, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world(script: Script = {}) {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace, script)
  const shop = new FakeParticipant(trace)
  const log = new MemoryLog(trace)
  const events = new Events()
  const registry = createRegistry({ ledger, shop }, systemClock, events)
  const live = new LiveSet()
  const ended: string[] = []
  const stopped: unknown[] = []
  const settlements = new Settlements(log, events, systemClock, (gtrid) => ended.push(gtrid))
  const context: RecoveryContext = {
    registry,
    log,
    live,
    settlements,
    events,
    phases: new Phases(systemClock),
    failpoints: noFailpoints,
    clock: systemClock,
    stop: (cause) => stopped.push(cause),
  }
  /** A gtrid of this log, of an older incarnation unless said otherwise. */
  const gtrid = (sequence: number, epoch = 6, logId = log.logId): string =>
    formatGtrid({
      logId,
      incarnation: epoch === 7 ? log.incarnation : { epoch, nonce: '00000000' },
      sequence,
    })
  const prepare = (id: string, bqual = 'ledger'): void => {
    ledger.prepared.set(gid({ gtrid: id, bqual }), { gtrid: id, bqual })
  }
  const logCommit = (id: string, marker = false, bqual = 'ledger'): void => {
    const branch: BranchRecord = { participant: 'ledger', bqual, server: SERVER, marker }
    log.add({ gtrid: id, decidedAtMs: 0, branches: [branch] })
    settlements.follow(id, [branch])
  }
  const pass = () => recoverParticipant(context, ledger)
  return {
    ...context,
    context,
    ledger,
    shop,
    log,
    live,
    trace,
    ended,
    stopped,
    gtrid,
    prepare,
    logCommit,
    pass,
  }
}

describe('a pass of recovery', () => {
  it('commits what is logged and rolls back what is not', async () => {
    const w = world()
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.logCommit(w.gtrid(1))
    expect(await w.pass()).toMatchObject({ committed: 1, rolledBack: 1, unsettled: 0 })
    expect([...w.ledger.committed]).toEqual([`${w.gtrid(1)}:ledger`])
    expect([...w.ledger.rolledBack]).toEqual([`${w.gtrid(2)}:ledger`])
    await Promise.resolve()
    expect(w.ended).toEqual([w.gtrid(1)])
    expect(w.log.pending()).toEqual([])
  })

  it.each([false, true])(
    'says where a branch was prepared, as far as that is on record (a sibling: %s)',
    async (sibling) => {
      const w = world()
      w.prepare(w.gtrid(1))
      w.prepare(w.gtrid(2))
      w.logCommit(w.gtrid(1))
      await recoverParticipant({ ...w.context, sibling }, w.ledger)
      expect(w.ledger.told).toEqual(
        new Map([
          [`${w.gtrid(1)}:ledger`, { server: SERVER, only: sibling }],
          [`${w.gtrid(2)}:ledger`, undefined],
        ]),
      )
    },
  )

  it('is idempotent: a second pass finds nothing', async () => {
    const w = world()
    w.prepare(w.gtrid(1))
    w.logCommit(w.gtrid(1))
    await w.pass()
    expect(await w.pass()).toMatchObject({ committed: 0, rolledBack: 0, unsettled: 0 })
  })

  it('leaves a live transaction alone', async () => {
    const w = world()
    w.prepare(w.gtrid(1, 7))
    w.live.join(w.gtrid(1, 7))
    await w.pass()
    expect(w.trace).toEqual(['ledger list'])
  })

  it('rule 5: a transaction that decides while the list is on its way is not taken for abandoned', async () => {
    const w = world()
    const id = w.gtrid(1, 7)
    w.prepare(id)
    w.live.join(id)
    // Between the list and the looks at live transactions and decisions: decide, and leave.
    Object.assign(w.context, {
      failpoints: (name: Failpoint) => {
        if (name !== 'recover:listed') return
        w.logCommit(id)
        w.live.leave(id)
      },
    })
    await w.pass()
    expect([...w.ledger.committed]).toEqual([`${id}:ledger`])
    expect(w.ledger.rolledBack.size).toBe(0)
  })

  it('rule 5: an absence is read only against decisions that were pending before the list', async () => {
    const w = world({ proof: { kind: 'none', life: 'restarted' } })
    const id = w.gtrid(1, 7)
    w.live.join(id)
    Object.assign(w.context, {
      failpoints: (name: Failpoint) => {
        if (name !== 'recover:listed') return
        // Prepared and decided after the list was taken: absent from it, and quite well.
        w.prepare(id)
        w.logCommit(id)
        w.live.leave(id)
      },
    })
    await w.pass()
    expect(w.trace).not.toContain('ledger prove')
  })

  it.each([
    [
      { kind: 'committed', by: 'marker' },
      { committed: 1, unsettled: 0 },
    ],
    [
      { kind: 'none', life: 'same' },
      { committed: 1, unsettled: 0 },
    ],
    [{ kind: 'look-again' }, { committed: 0, unsettled: 1 }],
    [
      { kind: 'none', life: 'other-server' },
      { committed: 0, unsettled: 1 },
    ],
  ] as const)(
    'reads the absence of a logged branch with its proof: %j',
    async (proof, expected) => {
      const w = world({ proof })
      w.logCommit(w.gtrid(1))
      expect(await w.pass()).toMatchObject(expected)
    },
  )

  it('warns once when another server answers in the place of the one that prepared', async () => {
    const w = world({ proof: { kind: 'none', life: 'other-server' } })
    const warned: string[] = []
    w.events.on('participant:warning', ({ code }) => warned.push(code))
    w.logCommit(w.gtrid(1))
    await w.pass()
    await w.pass()
    expect(warned).toEqual(['OTHER_SERVER'])
    expect(w.log.pending()).toHaveLength(1)
  })

  it.each([
    [{ kind: 'rolled-back', by: 'marker' }, 'heuristic-rollback'],
    [{ kind: 'none', life: 'restarted' }, 'heuristic-hazard'],
  ] as const)('keeps a decision whose branch ended otherwise: %j', async (proof, answer) => {
    const w = world({ proof })
    const heuristics: CoordinatorEventMap['branch:heuristic'][] = []
    w.events.on('branch:heuristic', (event) => heuristics.push(event))
    w.logCommit(w.gtrid(1))
    await w.pass()
    await w.pass()
    expect(heuristics.map((event) => event.answer)).toEqual([answer])
    expect(w.log.pending()).toHaveLength(1)
    expect(w.ended).toEqual([])
  })

  it('tries again what the server would not do yet', async () => {
    const w = world({ settle: 'later' })
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.logCommit(w.gtrid(1))
    expect(await w.pass()).toMatchObject({ committed: 0, rolledBack: 0, unsettled: 2 })
    expect(w.log.pending()).toHaveLength(1)
  })

  it('tells why the first that the server would not do yet was not done, with its hint', async () => {
    const w = world()
    const cause = new UnanimousError('PARTICIPANT_UNFIT', 'ledger: denied', { hint: 'GRANT' })
    const causes = [cause, new Error('another')]
    w.ledger.settle = async () => ({ kind: 'later', cause: causes.shift() })
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.logCommit(w.gtrid(1))
    expect(postponedIn(await w.pass())).toEqual({
      participant: 'ledger',
      count: 2,
      why: 'ledger: denied',
      hint: 'GRANT',
    })
  })

  it('never touches branches of another log, of a forgotten incarnation or of strangers', async () => {
    const w = world()
    w.prepare(w.gtrid(1, 6, 'zzzzzzzzzzzzzzzz'))
    w.prepare('somebody-elses')
    w.ledger.list = async () => [
      ...[...w.ledger.prepared.values()].map((xid) => ({ id: gid(xid), xid })),
      { id: 'X0a0b' },
    ]
    const report = await w.pass()
    expect(report.reported).toEqual([
      { id: `${w.gtrid(1, 6, 'zzzzzzzzzzzzzzzz')}:ledger`, why: 'of another log' },
    ])
    expect(w.trace).toEqual([])
  })

  it('commits what a copy had logged before it was taken over, and leaves the undecided alone', async () => {
    const w = world()
    w.log.lowestEpoch = 7
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.logCommit(w.gtrid(1))
    const report = await w.pass()
    expect([...w.ledger.committed]).toEqual([`${w.gtrid(1)}:ledger`])
    expect(report.reported).toEqual([
      { id: `${w.gtrid(2)}:ledger`, why: 'of an incarnation that the log no longer keeps' },
    ])
  })

  it('leaves the branch of a participant that shares the database to that participant', async () => {
    const w = world()
    w.prepare(w.gtrid(1), 'shop.7')
    expect(await w.pass()).toMatchObject({ rolledBack: 0, reported: [] })
  })

  it('reports the branch of a participant that is not configured', async () => {
    const w = world()
    w.prepare(w.gtrid(1), 'archive')
    const report = await w.pass()
    expect(report.reported).toEqual([
      { id: `${w.gtrid(1)}:archive`, why: 'of a participant that is not configured' },
    ])
    expect(w.ledger.rolledBack.size).toBe(0)
  })

  it('stops deciding when a branch proves that the log is a copy, and touches nothing', async () => {
    const w = world()
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2, 8))
    await w.pass()
    expect(w.stopped).toMatchObject([{ code: 'LOG_COPIED' }])
    expect(w.ledger.rolledBack.size).toBe(0)
  })

  it('spares a transaction of which a hand has committed another branch: it would be split for good', async () => {
    const w = world()
    Object.assign(w.shop.script, { markers: true })
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.shop.committed.add(gid({ gtrid: w.gtrid(1), bqual: 'shop' }))
    const report = await w.pass()
    expect(report).toMatchObject({ rolledBack: 1, unsettled: 0 })
    expect(report.reported).toEqual([
      { id: gid({ gtrid: w.gtrid(1), bqual: 'ledger' }), why: 'of a transaction split by hand' },
    ])
    expect([...w.ledger.rolledBack]).toEqual([gid({ gtrid: w.gtrid(2), bqual: 'ledger' })])
    // It is still prepared, and counts as that.
    expect(w.settlements.unsettled.gtrids()).toEqual(new Set([w.gtrid(1)]))
  })

  it('rule 8: commits what is decided without waiting for the word of another participant', async () => {
    const w = world()
    const decided = gid({ gtrid: w.gtrid(2), bqual: 'ledger' })
    let seen: boolean | undefined
    w.shop.markersOf = async () => {
      seen = w.ledger.committed.has(decided)
      return []
    }
    w.prepare(w.gtrid(1))
    w.prepare(w.gtrid(2))
    w.logCommit(w.gtrid(2))
    expect(await w.pass()).toMatchObject({ committed: 1, rolledBack: 1 })
    expect(seen).toBe(true)
  })

  it('rule 8: rolls back without the word of a participant that cannot be asked, or never answers', async () => {
    for (const silence of [
      () => Promise.reject(new UnanimousError('PARTICIPANT_UNREACHABLE', 'shop: refused')),
      () => new Promise<never>(() => undefined),
    ]) {
      const clock = new VirtualClock()
      const w = world()
      Object.assign(w.context, { clock })
      w.shop.markersOf = silence
      w.prepare(w.gtrid(1))
      const report = w.pass()
      await clock.advance(1_000)
      expect(await report).toMatchObject({ rolledBack: 1, reported: [] })
    }
  })

  it('settles some branches at a time, and ends only when all of them have ended', async () => {
    const w = world()
    let inFlight = 0
    let most = 0
    w.ledger.settle = async (xid) => {
      inFlight += 1
      most = Math.max(most, inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight -= 1
      if (xid.gtrid === w.gtrid(2)) throw new InvariantError('a test')
      return { kind: 'answered' }
    }
    for (let sequence = 1; sequence <= 20; sequence += 1) w.prepare(w.gtrid(sequence))
    await expect(w.pass()).rejects.toThrow('a test')
    expect([inFlight, most]).toEqual([0, 4])
  })

  it('rule 2: settles nothing once the log is poisoned', async () => {
    const w = world()
    w.prepare(w.gtrid(1))
    w.log.poison = new Error('EIO')
    await w.pass()
    expect(w.trace).toEqual(['ledger list'])
  })

  it('asks for no proof of a commit that has ended and whose end is not durable yet', async () => {
    const w = world()
    const later = (): Promise<void> => new Promise(() => undefined)
    Object.assign(w.log, { answered: later, end: later })
    w.logCommit(w.gtrid(1))
    w.settlements.answer(w.gtrid(1), 'ledger', 'committed', 'live')
    expect(await w.pass()).toMatchObject({ committed: 0, unsettled: 0 })
    expect(w.trace).toEqual(['ledger list'])
  })
})
