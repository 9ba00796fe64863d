/** Recovery without the log over participants in memory: the order of the questions, and what stops it. */
import { describe, expect, it } from 'vitest'
import type { Participant, Settlement } from '../../../src/adapter.ts'
import { systemClock } from '../../../src/clock.ts'
import { UnanimousError } from '../../../src/errors.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { lookWithoutLog, recoverWithoutLog } from '../../../src/recovery/from-databases.ts'
import { FakeParticipant, gid, type Script } from '../../support/fake-participant.ts'

const LOG = '0123456789abcdef'
const FIRST = `una1-${LOG}-3.abcdefgh-1`
const SECOND = `una1-${LOG}-3.abcdefgh-2`

/** Both have prepared both transactions, and hold the rows that an announcement leaves. */
function world(script: Script = {}) {
  const trace: string[] = []
  const fakes = ['ledger', 'shop'].map((name) => {
    const fake = new FakeParticipant(trace, { markers: true, ...script })
    fake.name = name
    for (const one of ['ledger', 'shop']) fake.rows.add(`${LOG} 3.abcdefgh ${one}`)
    for (const gtrid of [FIRST, SECOND]) {
      const xid = { gtrid, bqual: name }
      fake.prepared.set(gid(xid), xid)
    }
    return fake
  })
  const [ledger, shop] = fakes
  if (ledger === undefined || shop === undefined) throw new Error('there are two')
  const registry = new Map<string, Participant>(fakes.map((fake) => [fake.name, fake]))
  const options = {
    registry,
    clock: systemClock,
    answerMs: 50,
    dead: new Set([LOG]),
    present: undefined,
  }
  return { trace, ledger, shop, options }
}

describe('asks', () => {
  it('all for their sessions, then all for their branches, then all for their rows', async () => {
    const { trace, options, shop } = world()
    // The slow one: the next question waits for it, whoever is asked.
    const list = shop.list.bind(shop)
    shop.list = async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return list()
    }
    await lookWithoutLog(options)
    const questions = trace.map((line) => line.split(' ')[1])
    expect(questions.slice(0, 4)).toEqual(['sessions', 'sessions', 'list', 'list'])
    expect(new Set(questions.slice(4))).toEqual(new Set(['announced', 'markers']))
  })

  it('no more of one that was silent once: it did not answer', async () => {
    const { options, shop } = world()
    shop.list = () => new Promise(() => undefined)
    const { participants, verdicts } = await lookWithoutLog(options)
    expect(participants.map(({ trouble }) => trouble?.code)).toEqual([
      undefined,
      'PARTICIPANT_UNREACHABLE',
    ])
    expect(verdicts.map(({ action }) => action)).toEqual(['leave', 'leave'])
  })
})

it('keeps what a participant said of itself apart from what befell it, and hides no mistake of ours', async () => {
  const { options, ledger, shop } = world()
  const unfit = new UnanimousError('PARTICIPANT_UNFIT', 'no grant')
  ledger.contact = () => Promise.reject(unfit)
  shop.sessions = () => Promise.reject(new Error('socket hang up'))
  const { participants } = await lookWithoutLog(options)
  expect(participants).toMatchObject([
    { trouble: unfit },
    { trouble: { code: 'PARTICIPANT_UNREACHABLE', message: 'shop: socket hang up' } },
  ])
  shop.sessions = () => Promise.reject(new InvariantError('ours'))
  await expect(lookWithoutLog(options)).rejects.toBeInstanceOf(InvariantError)
})

describe('settles', () => {
  it('rolls back what nobody has committed', async () => {
    const { options, ledger, shop } = world()
    const done = await recoverWithoutLog(options, 0)
    expect(done.map(({ did }) => did)).toEqual([
      'rolled-back',
      'rolled-back',
      'rolled-back',
      'rolled-back',
    ])
    expect([ledger.prepared.size, shop.prepared.size]).toEqual([0, 0])
    expect([ledger.rolledBack.size, shop.rolledBack.size]).toEqual([2, 2])
  })

  it('commits the rest of what one has committed, and says so without the word', async () => {
    const { options, ledger, shop } = world()
    ledger.finish({ gtrid: FIRST, bqual: 'ledger' }, 'commit')
    const done = await recoverWithoutLog({ ...options, dead: new Set() }, 0)
    expect(done).toEqual([{ gtrid: FIRST, participant: 'shop', bqual: 'shop', did: 'committed' }])
    expect([ledger.prepared.size, shop.prepared.size]).toEqual([1, 1])
    expect(shop.rolledBack.size).toBe(0)
  })

  it('leaves the rest of a transaction alone after a busy branch, and goes on with the next', async () => {
    const { options, ledger, shop } = world()
    const settle = ledger.settle.bind(ledger)
    ledger.settle = (xid, decision): Promise<Settlement> =>
      xid.gtrid === FIRST
        ? Promise.resolve({ kind: 'later', cause: new Error('busy') })
        : settle(xid, decision)
    await recoverWithoutLog(options, 0)
    expect([...shop.prepared.keys()]).toEqual([gid({ gtrid: FIRST, bqual: 'shop' })])
    expect([...shop.rolledBack]).toEqual([gid({ gtrid: SECOND, bqual: 'shop' })])
  })

  it('goes on to commit the others after one that is busy, and comes back to it', async () => {
    const { options, ledger, shop } = world()
    const archive = new FakeParticipant([], { markers: true })
    archive.name = 'archive'
    archive.committed.add(gid({ gtrid: FIRST, bqual: 'archive' }))
    options.registry.set('archive', archive)
    const settle = ledger.settle.bind(ledger)
    let busy = true
    ledger.settle = (xid, decision): Promise<Settlement> => {
      if (!busy || xid.gtrid !== FIRST) return settle(xid, decision)
      busy = false
      return Promise.resolve({ kind: 'later', cause: new Error('busy') })
    }
    const done = await recoverWithoutLog({ ...options, dead: new Set() }, 5_000)
    expect(done.map(({ participant, did }) => [participant, did])).toEqual([
      ['shop', 'committed'],
      ['ledger', 'committed'],
    ])
    expect(shop.rolledBack.size).toBe(0)
  })

  it('a branch that is gone when it is to be rolled back may be committed: looks again', async () => {
    const { options, ledger, shop } = world()
    const settle = ledger.settle.bind(ledger)
    ledger.settle = async (xid, decision) => {
      // Somebody is quicker, between the look and the verb.
      if (xid.gtrid === FIRST) ledger.finish(xid, 'commit')
      return settle(xid, decision)
    }
    const done = await recoverWithoutLog(options, 1_000)
    expect([...shop.committed]).toEqual([gid({ gtrid: FIRST, bqual: 'shop' })])
    expect(done.filter(({ gtrid }) => gtrid === FIRST).map(({ did }) => did)).toEqual(['committed'])
  })

  it('waits for a session that names the log, and for nothing that waiting cannot change', async () => {
    const busy = { naming: [{ id: '7', statement: `COMMIT PREPARED '${FIRST}:ledger'` }] }
    const { options, ledger, shop } = world({ sessions: busy })
    setTimeout(() => {
      ledger.script.sessions = {}
      shop.script.sessions = {}
    }, 100)
    expect(await recoverWithoutLog(options, 0)).toEqual([])
    expect(await recoverWithoutLog(options, 5_000)).toHaveLength(4)

    const unnamed = world()
    const begin = performance.now()
    await recoverWithoutLog({ ...unnamed.options, dead: new Set() }, 5_000)
    expect(performance.now() - begin).toBeLessThan(5_000)
  })
})
