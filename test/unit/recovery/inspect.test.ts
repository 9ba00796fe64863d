/** The read-only look at a log and its participants: what it says, and in which order it looks. */
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import type { CommitRecord, LogOwner, LogSnapshot } from '../../../src/log/decision-log.ts'
import type { Glance } from '../../../src/participant/participant.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import type { BranchAnswer } from '../../../src/protocol/vocabulary.ts'
import { type InspectOptions, inspect } from '../../../src/recovery/inspect.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid, SERVER } from '../../support/fake-participant.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const LOG_ID = '0000000000000000'
const OWNER: LogOwner = { pid: 4121, host: 'pay-1', sinceMs: 0 }

const PROVE = { action: 'prove' }

interface Logged {
  readonly record: CommitRecord
  readonly answers: Map<string, BranchAnswer>
  readonly answeredAtMs: Map<string, number>
  readonly place: { readonly file: string; readonly offset: number }
}

function world() {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace)
  const shop = new FakeParticipant(trace)
  const clock = new VirtualClock()
  const registry = createRegistry({ ledger, shop }, clock, new Events())
  const pending = new Map<string, Logged>()
  const log: {
    owner: LogOwner | undefined
    lastEpoch: number
    onRead: (count: number) => void
    reads: number
  } = {
    owner: undefined,
    lastEpoch: 1,
    onRead: () => undefined,
    reads: 0,
  }
  const gtrid = (sequence: number, epoch = 1, logId = LOG_ID): string =>
    formatGtrid({ logId, incarnation: { epoch, nonce: '00000000' }, sequence })
  const readLog = async (): Promise<LogSnapshot> => {
    log.reads += 1
    trace.push('read log')
    log.onRead(log.reads)
    const now = new Map(pending)
    return {
      logId: LOG_ID,
      lastEpoch: log.lastEpoch,
      pending: [...now.values()],
      find: (id) => now.get(id),
      operators: [],
      standing: ({ epoch }) => (epoch < 1 ? 'forgotten' : epoch === 1 ? 'older' : 'alien'),
      owner: log.owner,
    }
  }
  const prepare = (participant: FakeParticipant, id: string, bqual = participant.name): void => {
    participant.prepared.set(gid({ gtrid: id, bqual }), { gtrid: id, bqual })
  }
  const logCommit = (id: string, ...names: string[]): Logged => {
    const branches = names.map((name) => ({
      participant: name,
      bqual: name,
      server: SERVER,
      marker: false,
    }))
    const record = { gtrid: id, decidedAtMs: clock.now() - 90_000, name: 'transfer', branches }
    const logged = {
      record,
      answers: new Map<string, BranchAnswer>(),
      answeredAtMs: new Map<string, number>(),
      place: { file: 'segment-0000000001.log', offset: 16_384 },
    }
    pending.set(id, logged)
    return logged
  }
  const look = (more: Partial<InspectOptions> = {}) =>
    inspect({ registry, clock, readLog, answerMs: 1_000, ...more })
  return {
    ledger,
    shop,
    clock,
    log,
    pending,
    trace,
    gtrid,
    prepare,
    logCommit,
    look,
    registry,
    readLog,
  }
}

describe('inspect', () => {
  it('rule 5: reads the log, lists, and only then reads the decisions', async () => {
    const { look, trace } = world()
    await look()
    expect(trace).toEqual(['read log', 'ledger list', 'shop list', 'read log'])
  })

  it('takes a transaction that decides between the look and the log for committed', async () => {
    const { look, log, logCommit, prepare, ledger, gtrid } = world()
    prepare(ledger, gtrid(1))
    log.onRead = (count) => {
      if (count === 2) logCommit(gtrid(1), 'ledger')
    }
    const { transactions } = await look()
    expect(transactions).toMatchObject([
      { decision: 'commit', branches: [{ state: 'prepared', advice: { action: 'commit' } }] },
    ])
  })

  it('asks for no proof of a branch that was decided after it was looked for', async () => {
    const { look, log, logCommit, gtrid } = world()
    log.onRead = (count) => {
      if (count === 2) logCommit(gtrid(1), 'ledger')
    }
    const { transactions } = await look()
    expect(transactions[0]?.branches).toMatchObject([
      {
        state: 'not listed',
        advice: { action: 'leave', why: 'decided during this look: look again' },
      },
    ])
  })

  it('groups branches into transactions with the decision, the evidence and the advice', async () => {
    const { look, logCommit, prepare, ledger, shop, gtrid } = world()
    prepare(ledger, gtrid(1))
    prepare(shop, gtrid(1))
    logCommit(gtrid(1), 'ledger', 'shop')
    prepare(ledger, gtrid(2))
    prepare(shop, gtrid(2))
    const { transactions } = await look()
    expect(transactions).toMatchObject([
      {
        gtrid: gtrid(1),
        name: 'transfer',
        state: 'unsettled',
        decision: 'commit',
        branches: [
          {
            participant: 'ledger',
            bqual: 'ledger',
            state: 'prepared',
            advice: { action: 'commit' },
          },
          { participant: 'shop', bqual: 'shop', state: 'prepared', advice: { action: 'commit' } },
        ],
        advice: { action: 'commit', why: 'commit ledger and shop: the commit is logged' },
      },
      {
        gtrid: gtrid(2),
        state: 'unsettled',
        decision: 'none',
        advice: {
          action: 'roll back',
          why: 'roll back ledger and shop: no commit is logged: presumed abort',
        },
      },
    ])
  })

  it('wants proof for a branch of a logged commit that its server lists no more', async () => {
    const { look, logCommit, prepare, shop, gtrid } = world()
    logCommit(gtrid(1), 'ledger', 'shop')
    prepare(shop, gtrid(1))
    const [transaction] = (await look()).transactions
    expect(transaction?.branches).toMatchObject([
      { participant: 'ledger', state: 'not listed', advice: { action: 'prove' } },
      { participant: 'shop', state: 'prepared', advice: { action: 'commit' } },
    ])
  })

  it('rule 8: shows the rest when a participant cannot be reached', async () => {
    const { look, logCommit, prepare, ledger, shop, gtrid } = world()
    shop.script.unreachable = true
    logCommit(gtrid(1), 'ledger', 'shop')
    prepare(ledger, gtrid(1))
    const { transactions, participants } = await look()
    expect(transactions[0]?.branches).toMatchObject([
      { participant: 'ledger', state: 'prepared', advice: { action: 'commit' } },
      { participant: 'shop', state: 'unreachable', advice: { action: 'leave' } },
    ])
    expect(participants[1]?.trouble).toMatchObject({
      code: 'PARTICIPANT_UNREACHABLE',
      message: 'shop: unreachable',
    })
  })

  it('keeps the reason and the hint of a participant that is unfit', async () => {
    const { look, shop } = world()
    shop.list = () =>
      Promise.reject(new UnanimousError('PARTICIPANT_UNFIT', 'shop: denied', { hint: 'GRANT' }))
    const { participants } = await look()
    expect(participants[1]?.trouble).toMatchObject({ code: 'PARTICIPANT_UNFIT', hint: 'GRANT' })
  })

  it('waits for a silent participant for a bounded time', async () => {
    const { look, shop, clock } = world()
    shop.list = () => new Promise(() => undefined)
    const looking = look()
    await clock.advance(1_000)
    const { participants } = await looking
    expect(participants[1]?.trouble?.message).toBe('shop did not answer within 1000 ms')
  })

  it('leaves alone what may be live in the process that holds the log', async () => {
    const { look, log, prepare, ledger, gtrid } = world()
    log.owner = OWNER
    prepare(ledger, gtrid(1))
    const { transactions, owner } = await look()
    expect(owner).toEqual(OWNER)
    expect(transactions).toMatchObject([
      {
        state: 'live',
        branches: [{ advice: { action: 'leave', why: 'live in process 4121 on pay-1' } }],
      },
    ])
  })

  it('finds no transaction in a branch that is not ours, whoever holds the log', async () => {
    const { look, log, ledger } = world()
    log.owner = OWNER
    ledger.list = async () => [{ id: 'somebody-else' }]
    const { apart, transactions } = await look()
    expect([apart.map(({ kind }) => kind), transactions]).toEqual([['foreign'], []])
  })

  it('wants no proof of a branch that its own coordinator is just settling', async () => {
    const { look, log, logCommit, gtrid } = world()
    log.owner = OWNER
    // The server has committed it; the log has not been told.
    for (const id of [gtrid(1), gtrid(2)]) logCommit(id, 'ledger')
    const live = () => new Set([gtrid(1)])
    const { transactions } = await look({ live })
    expect(transactions).toMatchObject([{ advice: { action: 'leave' } }, { advice: PROVE }])
  })

  it('leaves alone what was live in a process that let go of the log during the look', async () => {
    const { look, log, prepare, ledger, gtrid } = world()
    log.owner = OWNER
    log.onRead = (count) => {
      if (count === 2) log.owner = undefined
    }
    prepare(ledger, gtrid(1))
    const { transactions } = await look()
    expect(transactions[0]?.branches[0]?.advice.action).toBe('leave')
  })

  it('calls a commit unsettled that a running coordinator has had for too long', async () => {
    const { look, log, logCommit, prepare, ledger, gtrid } = world()
    log.owner = OWNER
    logCommit(gtrid(1), 'ledger')
    prepare(ledger, gtrid(1))
    const [transaction] = (await look()).transactions
    expect(transaction).toMatchObject({
      state: 'unsettled',
      advice: { action: 'leave', why: expect.stringContaining('process 4121 on pay-1 settles it') },
    })
  })

  it('reports a branch that ended against the decision', async () => {
    const { look, logCommit, gtrid } = world()
    const { answers } = logCommit(gtrid(1), 'ledger', 'shop')
    answers.set('ledger', 'committed').set('shop', 'heuristic-rollback')
    const [transaction] = (await look()).transactions
    expect(transaction).toMatchObject({
      state: 'heuristic',
      advice: { action: 'report', why: 'report shop: rolled back against the logged commit' },
    })
  })

  it('calls a transaction settled whose branches have all answered', async () => {
    const { look, logCommit, gtrid } = world()
    const { answers } = logCommit(gtrid(1), 'ledger', 'shop')
    answers.set('ledger', 'committed').set('shop', 'committed-unproven')
    expect((await look()).transactions).toMatchObject([{ state: 'settled' }])
  })

  it('reports a branch that committed although no commit is logged: its marker proves it', async () => {
    const { look, prepare, ledger, shop, gtrid, trace } = world()
    ledger.script.markers = true
    shop.script.markers = true
    prepare(ledger, gtrid(1))
    prepare(ledger, gtrid(2))
    shop.committed.add(gid({ gtrid: gtrid(1), bqual: 'shop' }))
    const { transactions } = await look()
    expect(transactions).toMatchObject([
      {
        state: 'heuristic',
        decision: 'none',
        branches: [
          { participant: 'ledger', state: 'prepared', advice: { action: 'report' } },
          { participant: 'shop', state: 'not listed', answer: 'heuristic-commit' },
        ],
      },
      { state: 'unsettled', advice: { action: 'roll back' } },
    ])
    // Read before the log, a marker could be of a commit that was logged meanwhile.
    expect(trace.lastIndexOf('read log')).toBeLessThan(trace.indexOf('ledger markers'))
  })

  it('takes no marker for a hand while a process that may decide holds the log', async () => {
    const { look, log, prepare, ledger, shop, gtrid } = world()
    log.owner = OWNER
    shop.script.markers = true
    prepare(ledger, gtrid(1))
    shop.committed.add(gid({ gtrid: gtrid(1), bqual: 'shop' }))
    expect((await look()).transactions).toMatchObject([{ state: 'live' }])
  })

  it('knows a hand in the process that holds the log: that one can tell what is live', async () => {
    const { look, log, prepare, ledger, shop, gtrid } = world()
    log.owner = OWNER
    shop.script.markers = true
    for (const id of [gtrid(1), gtrid(2)]) {
      prepare(ledger, id)
      shop.committed.add(gid({ gtrid: id, bqual: 'shop' }))
    }
    const live = () => new Set([gtrid(2)])
    const { transactions } = await look({ live })
    expect(transactions).toMatchObject([{ state: 'heuristic' }, { state: 'live' }])
  })

  it('asks what participants are while it reads the log, and takes them as they are at a glance', async () => {
    const { look, ledger, trace, prepare, gtrid } = world()
    prepare(ledger, gtrid(1))
    Object.assign(ledger, {
      glance: async (): Promise<Glance> => {
        trace.push('ledger glance')
        return { server: 'fake', markers: false, list: () => ledger.list() }
      },
    })
    const { transactions } = await look({ atAGlance: true })
    expect(transactions).toHaveLength(1)
    expect(trace.slice(0, 2).toSorted()).toEqual(['ledger glance', 'read log'])
    expect(trace.slice(2)).toEqual(['ledger list', 'shop list', 'read log'])
  })

  it('lists only once the log is marked', async () => {
    const { look, ledger, readLog, trace, prepare, logCommit, gtrid } = world()
    prepare(ledger, gtrid(1))
    logCommit(gtrid(1), 'ledger', 'shop')
    const markLog = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      trace.push('mark log')
      return readLog
    }
    const { transactions } = await look({ markLog })
    expect(trace[0]).toBe('mark log')
    expect(trace.filter((step) => step === 'read log')).toHaveLength(2)
    expect(transactions[0]?.branches).toMatchObject([
      { participant: 'ledger', state: 'prepared', advice: { action: 'commit' } },
      { participant: 'shop', state: 'not listed', advice: { action: 'prove' } },
    ])
  })

  it('looks again when somebody came, committed what was listed, and went', async () => {
    const { look, log, prepare, ledger, gtrid, trace } = world()
    prepare(ledger, gtrid(1))
    log.onRead = (count) => {
      if (count !== 2) return
      log.lastEpoch += 1
      ledger.prepared.clear()
    }
    expect((await look()).transactions).toEqual([])
    expect(trace.filter((step) => step === 'ledger list')).toHaveLength(2)
  })

  it('takes the log for held where owners come and go: it looks three times, and advises nothing', async () => {
    const { look, log, prepare, logCommit, ledger, gtrid, trace } = world()
    prepare(ledger, gtrid(1))
    logCommit(gtrid(2), 'shop')
    log.onRead = () => {
      log.lastEpoch += 1
    }
    const { owner, transactions } = await look()
    expect(owner).toMatchObject({ host: 'unknown' })
    expect(transactions.flatMap(({ branches }) => branches)).toMatchObject([
      { participant: 'ledger', advice: { action: 'leave' } },
      { participant: 'shop', advice: { action: 'leave' } },
    ])
    expect(trace.filter((step) => step === 'ledger list')).toHaveLength(3)
  })

  it('looks again when the log was opened before its mark was read', async () => {
    const { look, ledger, readLog, prepare, logCommit, gtrid } = world()
    prepare(ledger, gtrid(1))
    logCommit(gtrid(1), 'ledger', 'shop')
    let marks = 0
    const markLog = async () => {
      marks += 1
      return marks === 1 ? async () => undefined : readLog
    }
    const { owner, transactions } = await look({ markLog })
    expect([marks, owner]).toEqual([2, undefined])
    expect(transactions[0]?.branches).toMatchObject([
      { participant: 'ledger', advice: { action: 'commit' } },
      { participant: 'shop', advice: { action: 'prove' } },
    ])
  })

  it('leaves everything to an owner who opened the log before its mark was read', async () => {
    const { look, ledger, log, prepare, logCommit, gtrid } = world()
    prepare(ledger, gtrid(1))
    logCommit(gtrid(1), 'ledger', 'shop')
    log.owner = OWNER
    const markLog = async () => async () => undefined
    const { owner, transactions } = await look({ markLog })
    expect(owner).toBe(OWNER)
    expect(transactions[0]?.branches.map(({ advice }) => advice.action)).toEqual(['leave', 'leave'])
  })

  it('lists apart what this log cannot speak for', async () => {
    const { look, prepare, ledger, gtrid } = world()
    prepare(ledger, gtrid(1, 1, '1111111111111111'))
    prepare(ledger, gtrid(1, 2))
    prepare(ledger, gtrid(3), 'archive')
    ledger.list = async () => [
      ...[...ledger.prepared.values()].map((xid) => ({ id: gid(xid), xid })),
      { id: 'somebody-else' },
    ]
    const { apart, transactions } = await look()
    expect(transactions).toEqual([])
    expect(apart.map(({ kind, why }) => [kind, why])).toEqual([
      ['orphan', 'of another log'],
      ['copy', 'of an incarnation that this log never had: the log is a copy'],
      ['unconfigured', 'of a participant that is not configured'],
      ['foreign', 'not made by this library'],
    ])
  })

  it('leaves the branch of a neighbour in the same database to its own list', async () => {
    const { look, prepare, ledger, gtrid } = world()
    prepare(ledger, gtrid(1), 'shop.7')
    const { apart, transactions } = await look()
    expect([apart, transactions]).toEqual([[], []])
  })

  it('keeps a logged branch whose participant is not configured', async () => {
    const { look, logCommit, gtrid } = world()
    logCommit(gtrid(1), 'archive')
    expect((await look()).transactions).toMatchObject([
      { state: 'unsettled', branches: [{ state: 'not configured', advice: { action: 'report' } }] },
    ])
  })

  it('asks only the participant that is wanted', async () => {
    const { look, logCommit, prepare, ledger, trace, gtrid } = world()
    logCommit(gtrid(1), 'ledger', 'shop')
    prepare(ledger, gtrid(1))
    const [transaction] = (await look({ only: 'ledger' })).transactions
    expect(trace).not.toContain('shop list')
    expect(transaction?.branches).toMatchObject([
      { state: 'prepared' },
      { state: 'not asked', advice: { action: 'leave' } },
    ])
  })
})
