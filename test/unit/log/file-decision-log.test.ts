import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import type { DecisionLog, OperatedLog } from '../../../src/log/decision-log.ts'
import { NAME_MS } from '../../../src/log/log-writer.ts'
import { dumpLog } from '../../../src/log/read-log.ts'
import { MAX_SERVERS } from '../../../src/log/record-limits.ts'
import type { BranchRecord } from '../../../src/protocol/vocabulary.ts'
import { FakeDisk, type Request } from '../../support/fake-disk.ts'
import {
  commitOne,
  DIRECTORY,
  endOne,
  SMALL_SEGMENT,
  SMALLEST_SEGMENT,
  type TestLog,
  testLog,
  transfer,
  unawaited,
} from '../../support/test-log.ts'

describe('the register', () => {
  it('answers commit once the record is durable, to everyone who asks', async () => {
    const log = await testLog(new FakeDisk()).start()
    const gtrid = log.begin()
    expect(log.register(gtrid)).toBe('open')
    const first = log.decide(transfer(gtrid))
    expect(log.register(gtrid)).toBe('handed-over')
    const late = log.abort(gtrid)
    expect(await Promise.all([first, late, log.decide(transfer(gtrid))])).toEqual([
      'commit',
      'commit',
      'commit',
    ])
    expect(log.register(gtrid)).toBe('commit')
    expect(log.find(gtrid)?.record).toEqual(transfer(gtrid))
  })

  it('keeps an abort while the transaction is live, and refuses the commit after it', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = log.begin()
    const operations = disk.operations.length
    expect(await log.abort(gtrid)).toBe('abort')
    expect(await log.decide(transfer(gtrid))).toBe('abort')
    expect(log.register(gtrid)).toBe('abort')
    log.release(gtrid)
    expect(log.register(gtrid)).toBe('none')
    await expect(log.decide(transfer(gtrid))).rejects.toMatchObject({ code: 'TRANSACTION_UNKNOWN' })
    expect(disk.operations.slice(operations).filter(({ kind }) => kind === 'rename')).toEqual([])
  })

  it('refuses a commit for a gtrid that is not live', async () => {
    const log = await testLog(new FakeDisk()).start()
    await expect(log.decide(transfer('una1-elsewhere'))).rejects.toMatchObject({
      code: 'TRANSACTION_UNKNOWN',
    })
    expect(await log.abort('una1-elsewhere')).toBe('abort')
  })

  it('keeps a commit after release until it is ended', async () => {
    const log = await testLog(new FakeDisk()).start()
    const gtrid = await commitOne(log)
    expect(log.register(gtrid)).toBe('commit')
    expect(await log.abort(gtrid)).toBe('commit')
    expect(await log.decide(transfer(gtrid))).toBe('commit')
  })

  it('never gives the same gtrid twice, over restarts', async () => {
    const disk = new FakeDisk()
    const seen = new Set<string>()
    for (let run = 0; run < 3; run += 1) {
      const log = await testLog(disk).start()
      for (let n = 0; n < 5; n += 1) seen.add(log.begin())
      await log.close()
    }
    expect(seen.size).toBe(15)
  })

  it('refuses a record that the format cannot hold before it is handed over', async () => {
    const log = await testLog(new FakeDisk()).start()
    const gtrid = log.begin()
    const tooLong = transfer(gtrid, { meta: 'x'.repeat(1025) })
    await expect(log.decide(tooLong)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    expect(log.register(gtrid)).toBe('open')
    expect(await log.abort(gtrid)).toBe('abort')
  })
})

describe('answers and ends', () => {
  it('ends only after every branch answered, and forgets only once that is durable', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    const gtrid = await commitOne(log)
    expect(() => log.end(gtrid)).toThrow(/ends after/)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    expect(() => log.end(gtrid)).toThrow(/shop.4711 answered/)
    unawaited(log.answered(gtrid, 'shop.4711', 'committed-unproven'))
    const end = log.end(gtrid)
    expect(log.find(gtrid)).toBeDefined()
    test.clock.advance(1000)
    await end
    expect(log.find(gtrid)).toBeUndefined()
    expect((await testLog(disk.afterCrash(() => false)).start()).pending()).toEqual([])
  })

  it('forces lazy records within a second when no decision carries them', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    const gtrid = await commitOne(log)
    let durable = false
    unawaited(
      log.answered(gtrid, 'ledger', 'committed').then(() => {
        durable = true
      }),
    )
    await settle()
    expect(durable).toBe(false)
    test.clock.advance(1000)
    await settle()
    expect(durable).toBe(true)
  })

  it('lets lazy records ride on the next decision', async () => {
    const log = await testLog(new FakeDisk()).start()
    const gtrid = await commitOne(log)
    const answered = log.answered(gtrid, 'ledger', 'committed')
    await commitOne(log)
    await answered
    expect(log.find(gtrid)?.answers.get('ledger')).toBe('committed')
  })

  it('forces lazy records at close', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'heuristic-hazard'))
    await log.close()
    const [pending] = (await testLog(disk.afterCrash(() => false)).start()).pending()
    expect([...(pending?.answers ?? [])]).toEqual([['ledger', 'heuristic-hazard']])
  })

  it('keeps the word of the server against a later conclusion from absence', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    unawaited(log.answered(gtrid, 'ledger', 'heuristic-hazard'))
    unawaited(log.answered(gtrid, 'shop.4711', 'heuristic-hazard'))
    unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
    await log.close()
    const [pending] = (await testLog(disk).start()).pending()
    expect([...(pending?.answers ?? [])]).toEqual([
      ['ledger', 'committed'],
      ['shop.4711', 'committed'],
    ])
  })

  it('never ends a transaction with a heuristic branch', async () => {
    const log = await testLog(new FakeDisk()).start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    unawaited(log.answered(gtrid, 'shop.4711', 'heuristic-rollback'))
    expect(() => log.end(gtrid)).toThrow(/ends after/)
  })

  it('writes nothing, and rolls nowhere, when what was lazy was carried or superseded', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
    unawaited(log.end(gtrid))
    await commitOne(log)
    const operations = disk.operations.length
    for (let n = 0; n < 5; n += 1) {
      test.clock.advance(1000)
      await settle()
    }
    expect(disk.operations.length).toBe(operations)
  })

  it('answers for the last of many lazy records only once that one is durable', async () => {
    const test = testLog(new FakeDisk())
    const log = await test.start({ segmentBytes: SMALLEST_SEGMENT })
    const gtrid = await commitOne(log)
    // More than one frame can take.
    for (let n = 0; n < 500; n += 1) {
      const answer = n % 2 === 0 ? 'heuristic-hazard' : 'heuristic-rollback'
      unawaited(log.answered(gtrid, 'ledger', answer))
    }
    const last = log.answered(gtrid, 'shop.4711', 'heuristic-hazard')
    test.clock.advance(1000)
    await last
    expect(log.find(gtrid)?.answers.get('shop.4711')).toBe('heuristic-hazard')
  })

  it('answers for a lazy record of a later batch only once that batch is durable', async () => {
    const test = testLog(new FakeDisk())
    const log = await test.start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    await commitOne(log)
    let durable = false
    const later = log.answered(gtrid, 'shop.4711', 'heuristic-hazard').then(() => {
      durable = true
    })
    await settle()
    expect(durable).toBe(false)
    test.clock.advance(1000)
    await later
    expect(log.find(gtrid)?.answers.get('shop.4711')).toBe('heuristic-hazard')
  })

  it('writes no answer that an end behind it makes needless, and answers both together', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    const gtrid = await commitOne(log)
    let told = 0
    for (const bqual of ['ledger', 'shop.4711']) {
      unawaited(
        log.answered(gtrid, bqual, 'committed').then(() => {
          told += 1
        }),
      )
    }
    const end = log.end(gtrid)
    await settle()
    expect(told).toBe(0)
    test.clock.advance(1000)
    await end
    expect(told).toBe(2)
    const kinds = []
    for await (const { records } of dumpLog(DIRECTORY, disk)) {
      kinds.push(...records.map(({ type }) => type))
    }
    expect(kinds).toContain('end')
    expect(kinds).not.toContain('answered')
  })

  it('takes an answer or an end of what was ended before as said already', async () => {
    const test = testLog(new FakeDisk())
    const log = await test.start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
    const end = log.end(gtrid)
    const late = log.answered(gtrid, 'ledger', 'committed')
    test.clock.advance(1000)
    await Promise.all([end, late])
    await log.answered(gtrid, 'ledger', 'committed')
    await log.end(gtrid)
  })
})

describe('an operator', () => {
  const entry = { action: 'forget', who: 'ada', host: 'db1', reason: 'settled by hand' }

  it('takes what was said before a restart as said already', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'committed'))
    await log.close()
    const restarted = await testLog(disk).start()
    const forces = syncs(disk)
    await restarted.answered(gtrid, 'ledger', 'committed')
    expect(syncs(disk)).toBe(forces)
    expect(restarted.find(gtrid)?.answers.get('ledger')).toBe('committed')
  })

  it('ends and forgets once, however often it is told', async () => {
    const log = await testLog(new FakeDisk()).start()
    const [ended, forgotten] = [await commitOne(log), await commitOne(log)]
    unawaited(log.answered(ended, 'ledger', 'committed'))
    unawaited(log.answered(ended, 'shop.4711', 'committed'))
    const entry = { action: 'forget', gtrid: forgotten, who: 'op', host: 'h', reason: 'seen' }
    await Promise.all([log.forget(entry), log.forget(entry), log.end(ended), log.end(ended)])
    expect(log.pending()).toEqual([])
  })

  it('forgets a decision that no end could, and stays on record', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    unawaited(log.answered(gtrid, 'ledger', 'heuristic-hazard'))
    await log.forget({ ...entry, gtrid })
    expect(log.find(gtrid)).toBeUndefined()
    const restarted = disk.afterCrash(() => false)
    expect((await testLog(restarted).start()).pending()).toEqual([])
    const records = []
    for await (const batch of dumpLog(DIRECTORY, restarted)) records.push(...batch.records)
    expect(records).toContainEqual({
      type: 'operator',
      ...entry,
      gtrid,
      bqual: '',
      atMs: 1_000_000,
    })
  })

  it('is told what cannot be recorded, and what is not pending', async () => {
    const log = await testLog(new FakeDisk()).start()
    const long = { ...entry, gtrid: 'x', reason: 'r'.repeat(1025) }
    await expect(log.operator(long)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(log.forget({ ...entry, gtrid: 'x' })).rejects.toMatchObject({
      code: 'TRANSACTION_UNKNOWN',
    })
  })
})

describe('group commit', () => {
  it('puts what arrives together into one force, and what arrives meanwhile into the next', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk, { nextTurn: (run) => void setImmediate(run) }).start()
    await settle()
    const before = syncs(disk)
    const gtrids = Array.from({ length: 8 }, () => log.begin())
    const first = gtrids.slice(0, 4).map((gtrid) => log.decide(transfer(gtrid)))
    let second: Promise<unknown>[] = []
    disk.onRequest = ({ kind }) => {
      if (kind !== 'sync' || second.length > 0) return
      second = gtrids.slice(4).map((gtrid) => log.decide(transfer(gtrid)))
    }
    await Promise.all(first)
    expect(syncs(disk) - before).toBe(1)
    expect(gtrids.map((gtrid) => log.register(gtrid))).toEqual([
      ...Array.from({ length: 4 }, () => 'commit'),
      ...Array.from({ length: 4 }, () => 'handed-over'),
    ])
    await Promise.all(second)
    expect(syncs(disk) - before).toBe(2)
    expect(log.pending().map(({ record }) => record.gtrid)).toEqual(gtrids)
  })

  it('answers nobody before the sync has returned', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    let letGo: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      letGo = resolve
    })
    disk.onRequest = ({ kind }) => (kind === 'sync' ? gate : undefined)
    let answered = false
    const gtrid = log.begin()
    const decision = log.decide(transfer(gtrid)).then(() => {
      answered = true
    })
    await settle()
    expect(answered).toBe(false)
    expect(log.find(gtrid)).toBeUndefined()
    letGo()
    await decision
    expect(log.find(gtrid)).toBeDefined()
  })
})

describe('poison', () => {
  it.each(['write', 'sync'] as const)(
    'a failed %s rejects all who wait, for good',
    async (kind) => {
      const disk = new FakeDisk()
      const test = testLog(disk)
      const log = await test.start()
      await settle()
      const safe = await commitOne(log)
      const open = log.begin()
      const [first, second] = [log.begin(), log.begin()]
      disk.fault = (request) => (request.kind === kind ? { error: 'EIO' } : undefined)
      const waiting = [log.decide(transfer(first)), log.decide(transfer(second))]
      const lazy = log.answered(safe, 'ledger', 'committed')
      const late = log.abort(first)
      for (const promise of [...waiting, lazy, late]) {
        await expect(promise).rejects.toMatchObject({ code: 'LOG_POISONED' })
      }
      disk.fault = undefined
      const operations = disk.operations.length
      expect(log.poison).toBeInstanceOf(Error)
      // What was not made durable is not known here either.
      expect(log.find(first)).toBeUndefined()
      expect(test.events).toMatchObject([{ kind: 'poisoned' }])
      expect(() => log.begin()).toThrow(/failed/)
      await expect(log.decide(transfer(open))).rejects.toMatchObject({ code: 'LOG_POISONED' })
      await expect(log.abort(second)).rejects.toMatchObject({ code: 'LOG_POISONED' })
      expect(await log.abort(open)).toBe('abort')
      await expect(log.answered(safe, 'shop.4711', 'committed')).rejects.toMatchObject({
        code: 'LOG_POISONED',
      })
      // The batch that failed may hold it: nothing is presumed of what is not live.
      await expect(log.abort('una1-elsewhere')).rejects.toMatchObject({ code: 'LOG_POISONED' })
      log.release(second)
      expect(log.register(second)).toBe('handed-over')
      await log.close()
      expect(disk.operations.length).toBe(operations)
    },
  )

  it.each(['deleted', 'replaced'] as const)(
    'a segment that somebody %s answers nobody any more: no other process will find what it takes',
    async (how) => {
      const disk = new FakeDisk()
      const test = testLog(disk)
      const log = await test.start()
      const segment = (): string => disk.paths().find((path) => path.includes('segment-')) ?? ''
      const first = segment()
      while (segment() === first) {
        await commitOne(log)
        test.clock.advance(NAME_MS)
      }
      const name = segment()
      await disk.unlink(name)
      if (how === 'replaced') disk.put(name, Buffer.alloc(SMALL_SEGMENT))
      test.clock.advance(NAME_MS)
      await expect(log.decide(transfer(log.begin()))).rejects.toMatchObject({
        code: 'LOG_POISONED',
        message: expect.stringContaining('deleted, moved or replaced') as string,
        hint: expect.stringContaining('back') as string,
      })
      expect(() => log.begin()).toThrow('deleted, moved or replaced')
    },
  )

  it('a segment that lost its name fails nobody while a write is under way: the file may be closed then', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    await settle()
    await disk.unlink(disk.paths().find((path) => path.includes('segment-')) ?? '')
    let goOn = (): void => undefined
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    disk.onRequest = ({ kind }) => (kind === 'write' ? held : undefined)
    let ended = false
    const decided = log.decide(transfer(log.begin())).finally(() => {
      ended = true
    })
    decided.catch(() => undefined)
    await settle()
    expect([ended, log.poison]).toEqual([false, undefined])
    goOn()
    await expect(decided).rejects.toMatchObject({ code: 'LOG_POISONED' })
  })

  it('a segment that is another one by its inode alone goes on where inodes change by themselves', async () => {
    const disk = new FakeDisk()
    disk.fsType = 0x65735546
    const test = testLog(disk)
    const log = await test.start()
    await settle()
    const name = disk.paths().find((path) => path.includes('segment-')) ?? ''
    await disk.unlink(name)
    disk.put(name, Buffer.alloc(SMALL_SEGMENT))
    await commitOne(log)
    await disk.unlink(name)
    test.clock.advance(NAME_MS)
    await expect(commitOne(log)).rejects.toMatchObject({ code: 'LOG_POISONED' })
  })

  it('a segment whose name cannot be looked at is taken for what it was', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    await settle()
    disk.fault = ({ kind }) => (kind === 'stat' ? { error: 'EACCES' } : undefined)
    await commitOne(log)
    test.clock.advance(NAME_MS)
    await commitOne(log)
    expect(log.poison).toBeUndefined()
  })

  it('rejects no answer unhandled that nobody waits for', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await settle()
    const gtrid = await commitOne(log)
    // Vitest fails a run with an unhandled rejection.
    const unheard: unknown[] = [log.answered(gtrid, 'ledger', 'committed')]
    disk.fault = ({ kind }) => (kind === 'write' ? { error: 'EIO' } : undefined)
    await log.decide(transfer(log.begin())).catch(codeOf)
    unheard.push(log.answered(gtrid, 'shop.4711', 'committed'))
    await settle()
    expect(unheard).toHaveLength(2)
    expect(log.poison).toBeInstanceOf(Error)
  })

  it('a disk that takes nothing of a write has failed it', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = log.begin()
    disk.fault = ({ kind }) => (kind === 'write' ? { short: 0 } : undefined)
    await expect(log.decide(transfer(gtrid))).rejects.toMatchObject({
      code: 'LOG_POISONED',
      message: expect.stringContaining('took no byte'),
    })
  })

  it('a spare that fails at any moment of a batch leaves no answer that is not true', async () => {
    const heard = new Set<string>()
    for (let turns = 0; turns < 30; turns += 1) {
      const { disk, log, gtrid, decided } = await spareFailsBefore(turns)
      const outcome = await decided.catch(codeOf)
      heard.add(outcome)
      expect(log.poison).toBeInstanceOf(Error)
      disk.fault = undefined
      const restarted = await testLog(disk.afterKill()).start()
      if (outcome === 'commit') expect(restarted.find(gtrid)).toBeDefined()
    }
    expect([...heard].toSorted()).toEqual(['LOG_POISONED', 'commit'])
  })

  it('after a roll that failed, nothing more is decided', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start({ segmentBytes: SMALLEST_SEGMENT })
    await settle()
    disk.fault = ({ kind }) => (kind === 'sync-directory' ? { error: 'EIO' } : undefined)
    const outcomes: string[] = []
    for (let n = 0; n < 20 && log.poison === undefined; n += 1) {
      const gtrid = log.begin()
      outcomes.push(await log.decide(transfer(gtrid)).catch(codeOf))
      log.release(gtrid)
    }
    expect(outcomes.at(-1)).toBe('LOG_POISONED')
    expect(outcomes.slice(0, -1).every((outcome) => outcome === 'commit')).toBe(true)
  })
})

describe('space', () => {
  it('makes both segments before the first transaction, or does not start', async () => {
    const disk = new FakeDisk()
    disk.fault = ({ kind, path }) =>
      kind === 'write' && path.endsWith('spare') ? { error: 'ENOSPC' } : undefined
    const test = testLog(disk)
    await expect(test.start()).rejects.toMatchObject({ code: 'LOG_FULL' })
    disk.fault = undefined
    const log = await test.start()
    disk.fault = ({ kind, path }) =>
      kind === 'open' && !disk.paths().includes(path) ? { error: 'ENOSPC' } : undefined
    for (let n = 0; n < 100; n += 1) {
      const gtrid = await commitOne(log)
      unawaited(log.answered(gtrid, 'ledger', 'committed'))
      unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
      unawaited(log.end(gtrid))
    }
    await log.close()
    await (await test.start()).close()
  })

  it('refuses begin, and no decision, when there is no space for a spare segment', async () => {
    const { disk, test, log } = await withoutSpare()
    const live = beginAll(log)
    expect(live.length).toBeGreaterThan(5)
    // Each forced by itself: the worst that can happen to the space.
    for (const gtrid of live) expect(await log.decide(transfer(gtrid))).toBe('commit')
    expect(log.poison).toBeUndefined()

    disk.fault = undefined
    test.clock.advance(2000)
    beginAll(log)
    await settle()
    expect(beginAll(log).length).toBeGreaterThan(0)
  })

  it('takes no record of an operator where only decisions have a place', async () => {
    const { log } = await withoutSpare()
    const live = beginAll(log)
    for (const gtrid of live.splice(0, live.length / 2)) log.release(gtrid)
    const entry = { action: 'commit', gtrid: 'g', who: 'op', host: 'h', reason: 'r'.repeat(999) }
    const offered = Array.from({ length: 100 }, () => log.operator(entry).catch(codeOf))
    const taken = (await Promise.all(offered)).filter((answer) => answer === undefined)
    expect(taken.length).toBeGreaterThan(0)
    expect(taken.length).toBeLessThan(100)
    let answer: unknown
    while (answer === undefined) answer = await log.operator(entry).catch(codeOf)
    expect(answer).toBe('LOG_FULL')
    for (const gtrid of live) expect(await log.decide(transfer(gtrid))).toBe('commit')
    expect(log.poison).toBeUndefined()
  })

  it('refuses the server too many, and decides for those that it knows', async () => {
    const log = await testLog(new FakeDisk()).start({ segmentBytes: 8 * SMALL_SEGMENT })
    const to = (server: string): ReturnType<typeof transfer> =>
      transfer(log.begin(), {
        branches: [
          { participant: 'p', bqual: 'p', server: { server, startedAtMs: 1 }, marker: false },
        ],
      })
    for (let n = 0; n < MAX_SERVERS; n += 1) expect(await log.decide(to(`s${n}`))).toBe('commit')
    await expect(log.decide(to('one more'))).rejects.toMatchObject({ code: 'LOG_FULL' })
    expect(await log.decide(to('s0'))).toBe('commit')
  })

  it('lets lazy records wait while only decisions have a place', async () => {
    const { test, log } = await withoutSpare()
    const live = beginAll(log)
    const [first = '', ...others] = live
    await log.decide(transfer(first))
    let durable = 0
    for (let n = 0; n < 100; n += 1) {
      const answer = n % 2 === 0 ? 'heuristic-hazard' : 'heuristic-rollback'
      unawaited(
        log.answered(first, 'ledger', answer).then(() => {
          durable += 1
        }),
      )
      test.clock.advance(1000)
      await settle()
    }
    expect(durable).toBeLessThan(100)
    for (const gtrid of others) expect(await log.decide(transfer(gtrid))).toBe('commit')
    expect(log.poison).toBeUndefined()
    await log.close()
  })

  it('lets every live transaction decide at its largest, over any number of segments', async () => {
    const log = await testLog(new FakeDisk()).start()
    const live = beginAll(log)
    expect(live.length).toBeGreaterThan(10)
    for (const gtrid of live) expect(await log.decide(largest(gtrid))).toBe('commit')
    expect(log.pending()).toHaveLength(live.length)
  })

  it('reads back the largest record as it was', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = log.begin()
    await log.decide(largest(gtrid))
    const again = await testLog(disk.afterCrash(() => false)).start()
    expect(again.find(gtrid)?.record).toEqual(largest(gtrid))
  })

  it('has no second spare made for whoever begins while a roll leaves the old segment', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start({ segmentBytes: SMALL_SEGMENT })
    let rolls = 0
    let opened = 0
    disk.onRequest = ({ kind, path }) => {
      if (kind === 'open' && path.endsWith('spare')) opened += 1
      if (kind !== 'rename' || !path.includes('segment-')) return
      rolls += 1
      log.release(log.begin())
    }
    for (let n = 0; n < 200; n += 1) unawaited(endOne(log, await commitOne(log)))
    await log.close()
    expect(rolls).toBeGreaterThan(2)
    // Once to be a segment, once to be blank again. Two that make it blank at a time leave the salt of one
    // remembered and that of the other in its pages: a segment that no opening believes.
    expect(opened).toBe(2 * rolls)
  })

  it('has no spare made under a name that a failed one still has to lose', async () => {
    const { disk, test, log } = await withoutSpare()
    disk.fault = ({ kind, path }) =>
      kind === 'write' && path.endsWith('spare') ? { error: 'ENOSPC' } : undefined
    let lost = 0
    disk.onRequest = ({ kind, path }) => {
      if (kind !== 'unlink' || !path.endsWith('spare') || lost > 0) return
      lost += 1
      disk.fault = undefined
      test.clock.advance(2000)
      log.release(log.begin())
    }
    test.clock.advance(2000)
    log.release(log.begin())
    await settle()
    expect(lost).toBe(1)
    expect(disk.paths()).not.toContain(`${DIRECTORY}/spare`)
    log.release(log.begin())
    await settle()
    expect(disk.paths()).toContain(`${DIRECTORY}/spare`)
    expect(log.poison).toBeUndefined()
  })

  it('rolls for ever within two files', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start({ segmentBytes: SMALLEST_SEGMENT })
    const kept = await commitOne(log)
    for (let n = 0; n < 200; n += 1) {
      const gtrid = await commitOne(log)
      unawaited(log.answered(gtrid, 'ledger', 'committed'))
      unawaited(log.answered(gtrid, 'shop.4711', 'committed'))
      unawaited(log.end(gtrid))
    }
    await log.close()
    const names = disk.paths()
    expect(names).toHaveLength(4)
    expect(names.filter((name) => name.includes('segment-'))).toHaveLength(1)
    const again = await testLog(disk).start({ segmentBytes: SMALLEST_SEGMENT })
    expect(again.pending().map(({ record }) => record.gtrid)).toEqual([kept])
  })
})

describe('close', () => {
  it('waits for the force in flight, takes nothing new, and frees the lock', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const log = await test.start()
    const gtrid = log.begin()
    const open = log.begin()
    const decision = log.decide(transfer(gtrid))
    await Promise.all([log.close(), log.close()])
    expect(await decision).toBe('commit')
    expect(() => log.begin()).toThrow(/closed/)
    await expect(log.decide(transfer(open))).rejects.toMatchObject({ code: 'COORDINATOR_CLOSED' })
    expect((await test.start()).pending()).toHaveLength(1)
  })
})

/** A log on a disk that is full, and whose spare could not be recycled (copy on write). */
async function withoutSpare(): Promise<{ disk: FakeDisk; test: TestLog; log: OperatedLog }> {
  const disk = new FakeDisk()
  const test = testLog(disk)
  await (await test.start()).close()
  let started = false
  disk.fault = ({ kind, path }) => {
    if (kind === 'rename' && path.endsWith('spare')) started = true
    return started && kind === 'open' && path.endsWith('spare') ? { error: 'ENOSPC' } : undefined
  }
  const log = await test.start()
  await settle()
  expect(disk.paths()).not.toContain(`${DIRECTORY}/spare`)
  return { disk, test, log }
}

/** Begins transactions until the log refuses. */
function beginAll(log: DecisionLog): string[] {
  const live: string[] = []
  for (;;) {
    try {
      live.push(log.begin())
    } catch (cause) {
      expect(cause).toMatchObject({ code: 'LOG_FULL' })
      return live
    }
  }
}

/**
 * A decision is handed over so many turns of the microtask queue after the disk has failed the spare of the
 * next segment, and before the log knows it or later.
 */
async function spareFailsBefore(turns: number): Promise<{
  disk: FakeDisk
  log: OperatedLog
  gtrid: string
  decided: Promise<string>
}> {
  const disk = new FakeDisk()
  await (await testLog(disk).start()).close()
  let fail: () => void = () => undefined
  const failing = new Promise<void>((resolve) => {
    fail = resolve
  })
  let recycling = false
  const isSpare = ({ kind, path }: Request): boolean =>
    recycling && kind === 'open' && path.endsWith('/spare')
  disk.onRequest = (request) => (isSpare(request) ? failing : undefined)
  disk.fault = (request) => (isSpare(request) ? { error: 'EIO' } : undefined)
  const log = await testLog(disk, {
    failpoints: (name) => {
      if (name === 'log:after-retire') recycling = true
    },
  }).start()
  const gtrid = log.begin()
  fail()
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
  const decided = log.decide(transfer(gtrid))
  unawaited(decided)
  await settle()
  return { disk, log, gtrid, decided }
}

function largest(gtrid: string): ReturnType<typeof transfer> {
  const branches = Array.from({ length: 16 }, (_, index): BranchRecord => {
    const participant = `p${index}`.padEnd(40, 'x')
    return {
      participant,
      bqual: `${participant}.${'9'.repeat(23)}`,
      server: { server: `${index}`.padEnd(512, 's'), startedAtMs: index, timeline: '0000000A' },
      xid8: '1'.repeat(20),
      marker: true,
    }
  })
  return transfer(gtrid, { name: 'n'.repeat(128), meta: 'é'.repeat(512), branches })
}

function codeOf(cause: unknown): string {
  return cause instanceof UnanimousError ? cause.code : String(cause)
}

function syncs(disk: FakeDisk): number {
  return disk.operations.filter(({ kind }) => kind === 'sync').length
}

function settle(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 2))
}
