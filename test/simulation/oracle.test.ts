/** Each check can fail: what it forbids, done to servers without any library in between. */
import { expect, test } from 'vitest'
import type { Outcome } from '../../src/protocol/vocabulary.ts'
import { SimDisk } from './disk.ts'
import { type Attempt, Oracle } from './oracle.ts'
import { type Flavour, type Session, SimServer } from './server.ts'
import { World } from './world.ts'

const COPY = '/log/segment.log.cut-1'
const LOCK_WAIT_MS = 1_000
const GTRID = 'una1-0000000000000000-1.00000000-1'

class Bench {
  readonly world = new World(1, false)
  readonly disk = new SimDisk(this.world)
  readonly oracle = new Oracle(this.world, this.disk)
  readonly servers = ['a', 'b'].map((name) => this.#server(name, 'postgres'))
  readonly attempt: Attempt = this.oracle.begin(GTRID)

  /** A branch that wrote, in each of the servers. */
  work(): Session[] {
    return this.servers.map((server) => {
      const session = server.connect()
      server.begin(session, GTRID)
      server.work(session, true, LOCK_WAIT_MS, () => undefined)
      this.attempt.wrote.add(server.name)
      return session
    })
  }

  prepared(): Session[] {
    const sessions = this.work()
    for (const [index, session] of sessions.entries()) this.servers[index]?.prepare(session, false)
    return sessions
  }

  finish(index: number, verb: 'commit' | 'rollback', by: 'library' | 'dba' = 'library'): void {
    const server = this.servers[index]
    if (server === undefined) throw new Error('no such server')
    const xid = { gtrid: GTRID, bqual: server.name }
    if (by === 'dba') server.finishByHand(xid, verb)
    else server.finish(server.connect(), xid, verb)
  }

  /** Keeps what was cut, as far as these steps go. */
  async keep(steps: readonly ('sync' | 'sync-directory')[]): Promise<void> {
    if (steps.length === 0) return
    const files = this.disk.for({ alive: true })
    const writing = (async () => {
      const file = await files.open(COPY, 'write')
      await file.write([Buffer.from('torn')], 0)
      if (steps.includes('sync')) await file.sync()
      if (steps.includes('sync-directory')) await files.syncDirectory('/log')
    })()
    await this.world.run(() => false, 1_000)
    await writing
  }

  hear(outcome: Outcome, code?: string): void {
    this.oracle.answered(this.attempt, { outcome, code, recoverable: true })
  }

  conclude(): void {
    this.oracle.conclude(this.attempt, this.servers, new Set())
  }

  #server(name: string, flavour: Flavour): SimServer {
    return new SimServer(name, flavour, false, this.world, this.oracle)
  }
}

/** One that decides without a log: all of it stands in the databases. */
function lost(): Bench {
  const bench = new Bench()
  bench.oracle.logLost = true
  return bench
}

test('I1, I4: one branch committed, and the others not', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'commit')
  expect(() => bench.conclude()).toThrow('I1')
})

test('I2: committed, and nowhere', () => {
  const bench = lost()
  bench.work()
  bench.hear('committed')
  expect(() => bench.conclude()).toThrow('I2')
})

test('I2: a roll-back after the caller heard committed', () => {
  const bench = lost()
  bench.prepared()
  bench.hear('committed')
  expect(() => bench.finish(0, 'rollback')).toThrow('I2')
})

test('I3: rolled back, and everywhere', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'commit')
  bench.finish(1, 'commit')
  bench.hear('rolled-back')
  expect(() => bench.conclude()).toThrow('I3')
})

test('I3: a commit after the caller heard rolled-back', () => {
  const bench = lost()
  bench.prepared()
  bench.hear('rolled-back')
  expect(() => bench.finish(0, 'commit')).toThrow('I3')
})

test('I8: outcome() said what is not so', () => {
  const bench = lost()
  bench.work()
  bench.attempt.told.add('committed')
  expect(() => bench.conclude()).toThrow('I8')
})

test('I8: a hook heard what is not so', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'commit')
  bench.finish(1, 'commit')
  bench.attempt.hooks.add('rolled-back')
  expect(() => bench.conclude()).toThrow('I8')
})

test('I9: a commit beside a branch that was never prepared', () => {
  const bench = lost()
  const [first] = bench.work()
  if (first !== undefined) bench.servers[0]?.prepare(first, false)
  expect(() => bench.finish(0, 'commit')).toThrow('I9')
})

test('I9: one phase beside another writer', () => {
  const bench = lost()
  const [first] = bench.work()
  expect(() => first && bench.servers[0]?.commitOnePhase(first, true, false)).toThrow('I9')
})

test('I10: a commit before its record is durable', () => {
  const bench = new Bench()
  bench.prepared()
  expect(() => bench.finish(0, 'commit')).toThrow('I10')
})

test('I10: a commit after a roll-back, and a roll-back after a commit', () => {
  for (const [first, second] of [
    ['commit', 'rollback'],
    ['rollback', 'commit'],
  ] as const) {
    const bench = lost()
    bench.prepared()
    bench.finish(0, first)
    expect(() => bench.finish(1, second)).toThrow('I10')
  }
})

test('I12: a lock that outlives the work', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'commit')
  expect(() => bench.oracle.atRest(bench.servers)).toThrow('I12: b')
  bench.finish(1, 'commit')
  bench.oracle.atRest(bench.servers)
})

test('I13: another recovery ends what the first one left', () => {
  const bench = lost()
  const { oracle, servers } = bench
  bench.prepared()
  const once = oracle.standing(servers)
  oracle.recoveredTwice(once, oracle.standing(servers))
  bench.finish(0, 'rollback')
  expect(() => oracle.recoveredTwice(once, oracle.standing(servers))).toThrow('I13')
})

test('I13: another recovery reports what the first one knew nothing of', () => {
  const { oracle, attempt } = lost()
  const told = oracle.reports
  attempt.reported = true
  expect(() => oracle.recoveredTwice(told, oracle.reports)).toThrow('I13')
})

test.each([
  ['no file', []],
  ['a name that a loss of power takes', ['sync']],
  ['bytes that a loss of power takes', ['sync-directory']],
] as const)('I14: what was cut is kept in %s', async (_, steps) => {
  const bench = new Bench()
  await bench.keep(steps)
  bench.oracle.tailCut(COPY)
  expect(bench.oracle.problems).toEqual([expect.stringContaining('I14')])
})

test('I14: what was cut is kept', async () => {
  const bench = new Bench()
  await bench.keep(['sync', 'sync-directory'])
  bench.oracle.tailCut(COPY)
  expect(bench.oracle.problems).toEqual([])
})

test('I15: a heuristic that nobody caused', () => {
  const bench = lost()
  bench.work()
  bench.hear('heuristic', 'HEURISTIC_MIXED')
  expect(() => bench.conclude()).toThrow('I15')
})

test('I15: a report to operators of what nobody caused', () => {
  const bench = lost()
  bench.work()
  bench.attempt.reported = true
  expect(() => bench.conclude()).toThrow('I15')
})

test('I15: a branch that was rolled back by hand, and nobody told', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'rollback', 'dba')
  bench.finish(1, 'commit')
  bench.oracle.logLost = false
  expect(() => bench.conclude()).toThrow('I15')
})

test('an id is begun once, prepared once, and answered once', () => {
  const bench = lost()
  const [server] = bench.servers
  expect(() => bench.oracle.begin(GTRID)).toThrow('begun twice')
  bench.prepared()
  expect(() => server && bench.oracle.prepared(server, { gtrid: GTRID, bqual: 'a' })).toThrow(
    'prepared twice',
  )
  bench.hear('committed')
  expect(() => bench.hear('committed')).toThrow('answered twice')
})

test('all is well where every branch ended alike and the caller heard so', () => {
  const bench = lost()
  bench.prepared()
  bench.finish(0, 'commit')
  bench.finish(1, 'commit')
  bench.hear('committed')
  bench.conclude()
  expect(bench.oracle.problems).toEqual([])
})

test('I11, I12: only what a hand has split, and operators were told of, stays prepared', () => {
  const bench = lost()
  bench.prepared()
  const left = `${GTRID}:b`
  bench.finish(0, 'commit', 'dba')
  expect(bench.oracle.isLeft(left)).toBe(false)
  expect(() => bench.oracle.atRest(bench.servers)).toThrow('I12')
  bench.oracle.splitTold.add(left)
  expect(bench.oracle.isLeft(left)).toBe(true)
  bench.oracle.atRest(bench.servers)
  bench.hear('committed')
  expect(bench.oracle.isLeft(left)).toBe(false)
})

test('I11: what no hand has committed is left to nobody', () => {
  const bench = lost()
  bench.prepared()
  bench.oracle.splitTold.add(`${GTRID}:b`)
  expect(bench.oracle.isLeft(`${GTRID}:b`)).toBe(false)
  bench.finish(0, 'rollback', 'dba')
  expect(bench.oracle.isLeft(`${GTRID}:b`)).toBe(false)
})
