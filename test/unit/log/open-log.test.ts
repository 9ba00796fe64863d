import { describe, expect, it } from 'vitest'
import { adoptLog } from '../../../src/log/open-log.ts'
import { readLog, verifyLog } from '../../../src/log/read-log.ts'
import { parseGtrid } from '../../../src/xid.ts'
import { FakeDisk, keepNone } from '../../support/fake-disk.ts'
import {
  commitOne,
  DIRECTORY,
  SMALL_SEGMENT,
  seededRandom,
  testLog,
  transfer,
} from '../../support/test-log.ts'

it('no spare outlives a first segment whose name was not durable when its owner died', async () => {
  const disk = new FakeDisk()
  await new Promise<void>((reached) => {
    const failpoints = (name: string): Promise<void> | undefined => {
      if (name !== 'log:after-rename') return undefined
      reached()
      return new Promise(() => undefined)
    }
    testLog(disk, { failpoints }).start().catch(reached)
  })
  const restarted = disk.afterKill()
  await (await testLog(restarted).start()).close()
  const keepSpare = (index: number): boolean => {
    const operation = restarted.operations[index]
    return operation?.kind === 'create' && operation.path.endsWith('/spare')
  }
  for (let count = disk.operations.length; count <= restarted.operations.length; count += 1) {
    const opened = await testLog(restarted.afterCrash(keepSpare, count)).open()
    await opened.close()
  }
})

describe('incarnations', () => {
  it('every open forces a new one before its first use', async () => {
    const disk = new FakeDisk()
    const first = await testLog(disk).start()
    const crashed = disk.afterCrash(keepNone)
    const second = await testLog(crashed, { random: seededRandom(2) }).start()
    expect(second.logId).toBe(first.logId)
    expect([first.incarnation.epoch, second.incarnation.epoch]).toEqual([1, 2])
    expect(second.standing(first.incarnation)).toBe('older')
    expect(second.standing(second.incarnation)).toBe('current')
    expect(parseGtrid(second.begin())?.incarnation).toEqual(second.incarnation)
  })

  it('tells a copy by an incarnation that this log never had', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await log.close()
    const original = await testLog(disk.afterKill(), { random: seededRandom(2) }).start()
    const copy = await testLog(disk.afterKill(), { random: seededRandom(3) }).start()
    expect(copy.standing(original.incarnation)).toBe('alien')
    expect(copy.standing({ ...log.incarnation, epoch: 7 })).toBe('alien')
    expect(copy.standing(log.incarnation)).toBe('older')
  })

  it('nothing is current, and nothing was written, before start', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await log.close()
    const operations = disk.operations.length
    const opened = await testLog(disk).open()
    expect(opened.standing(log.incarnation)).toBe('older')
    await opened.close()
    const touched = disk.operations.slice(operations).filter(({ kind }) => kind !== 'write')
    expect(touched.map(({ kind }) => kind)).toEqual(['sync'])
  })

  it('forgets the oldest ones, of which branches are orphans then', async () => {
    const disk = new FakeDisk()
    const seen = []
    for (let run = 0; run < 5; run += 1) {
      const log = await testLog(disk, { random: seededRandom(run) }).start({ keepIncarnations: 3 })
      seen.push(log.incarnation)
      await log.close()
    }
    const opened = await testLog(disk).open({ keepIncarnations: 3 })
    expect(seen.map((incarnation) => opened.standing(incarnation))).toEqual([
      'forgotten',
      'forgotten',
      'older',
      'older',
      'older',
    ])
  })
})

describe('an opened log', () => {
  it('starts once, and lets the lock go when it is closed instead', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    const opened = await test.open()
    await expect(test.open()).rejects.toMatchObject({ code: 'LOG_LOCKED' })
    await opened.close()
    const again = await test.open()
    const log = await again.start()
    await expect(again.start()).rejects.toThrow(/starts once/)
    await again.close()
    await expect(test.open()).rejects.toMatchObject({ code: 'LOG_LOCKED' })
    await log.close()
  })

  it('makes durable what came from the page cache alone before it can be acted on', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    disk.fault = ({ kind }) => (kind === 'sync' ? { error: 'EIO' } : undefined)
    await commitOne(log).catch(() => undefined)
    // The kernel marked the pages clean: they can be read, and the disk never saw them.
    const restarted = disk.afterKill()
    const again = await testLog(restarted).start()
    expect(again.pending()).toHaveLength(1)
    const afterPowerLoss = await testLog(restarted.afterCrash(keepNone)).start()
    expect(afterPowerLoss.pending()).toEqual(again.pending())
  })

  it('refuses to start, and frees the lock, when that fails', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await commitOne(log)
    await log.close()
    const test = testLog(disk)
    for (const [error, code] of [
      ['ENOSPC', 'LOG_FULL'],
      ['EIO', 'LOG_UNREADABLE'],
    ]) {
      const opened = await test.open()
      disk.fault = ({ kind, path }) =>
        kind === 'write' && path.endsWith('spare') ? { error: error ?? '' } : undefined
      await expect(opened.start()).rejects.toMatchObject({ code })
      disk.fault = undefined
    }
    expect((await test.start()).pending()).toHaveLength(1)
  })
})

describe('damage that is survived', () => {
  it('cuts a torn batch, keeps a copy of it and says so', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await commitOne(log)
    const end = await endOf(disk)
    const decided = disk.operations.length
    await commitOne(log)
    const crashed = disk.afterCrash((_, sector) => sector % 2 === 1, decided + 1)
    const torn = Buffer.from(crashed.bytes(end.file).subarray(end.offset, end.offset + 4096))
    const test = testLog(crashed)
    expect((await test.start()).pending()).toHaveLength(1)
    const [event] = test.events
    expect(event).toMatchObject({ kind: 'tail-cut', file: end.file, offset: end.offset })
    const copy = event?.kind === 'tail-cut' ? event.copy : ''
    expect(crashed.bytes(copy).subarray(0, 4096)).toEqual(torn)
  })

  it('takes the good copy of the last batch, and says what it repaired', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    await log.close()
    const { file, offset } = await endOf(disk)
    disk.bytes(file).fill(0, offset - 8192, offset - 4096)
    const test = testLog(disk)
    const again = await test.start()
    expect(again.find(gtrid)).toBeDefined()
    expect(test.events).toEqual([{ kind: 'copy-repaired', file, offset: offset - 8192 }])
    await again.close()
    const quiet = testLog(disk)
    await (await quiet.start()).close()
    expect(quiet.events).toEqual([])
  })

  it('takes the second copy when the whole first one is gone, however long it was', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const before = await endOf(disk)
    const gtrids = Array.from({ length: 9 }, () => log.begin())
    const meta = 'm'.repeat(1024)
    await Promise.all(gtrids.map((gtrid) => log.decide(transfer(gtrid, { meta }))))
    await log.close()
    const { file, offset } = await endOf(disk)
    const copy = (offset - before.offset) / 2
    expect(copy).toBeGreaterThan(2 * 4096)
    disk.bytes(file).fill(0, before.offset, before.offset + copy)
    expect((await testLog(disk).start()).pending()).toHaveLength(9)
  })

  it('stops at the loss of every segment', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await log.close()
    await disk.unlink(`${DIRECTORY}/segment-0000000001.log`)
    await expect(testLog(disk).open()).rejects.toMatchObject({ code: 'LOG_CORRUPT' })
  })
})

describe('copies', () => {
  it('refuses a directory whose lock file is another one, until it is adopted', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    await log.close()
    const copy = new FakeDisk()
    copy.birthNs = 2_000n
    for (const path of disk.paths()) copy.put(path, disk.bytes(path))
    const test = testLog(copy)
    await expect(test.open()).rejects.toMatchObject({ code: 'LOG_COPIED' })
    await adoptLog({ directory: DIRECTORY, segmentBytes: SMALL_SEGMENT }, test.seams)
    const adopted = await test.start()
    expect(adopted.standing(log.incarnation)).toBe('forgotten')
    expect(adopted.find(gtrid)).toBeDefined()
    await adopted.close()
    await (await test.start()).close()
  })

  it('refuses a directory whose lock file was left behind', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await log.close()
    await disk.unlink(`${DIRECTORY}/lock`)
    await expect(testLog(disk).open()).rejects.toMatchObject({ code: 'LOG_COPIED' })
  })

  it('only warns where inodes prove nothing', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    await log.close()
    disk.birthNs = 5n
    disk.fsType = 0x65735546
    const test = testLog(disk)
    await (await test.start()).close()
    expect(test.events.map(({ kind }) => kind)).toEqual(['warning', 'warning'])
  })
})

describe('the lock', () => {
  it('is taken on the file that has the name, also when that was replaced meanwhile', async () => {
    const disk = new FakeDisk()
    const test = testLog(disk)
    let replaced = false
    disk.onRequest = async ({ kind, path }) => {
      if (replaced || kind !== 'stat' || !path.endsWith('/lock')) return
      replaced = true
      await disk.unlink(path)
    }
    await test.start()
    await expect(test.open()).rejects.toMatchObject({ code: 'LOG_LOCKED' })
  })
})

describe('file systems', () => {
  it.each([0x6969, 0xfe534d42, 0xff534d42, 0x01021994])(
    'refuses type %i unless allowed',
    async (type) => {
      const disk = new FakeDisk()
      disk.fsType = type
      const test = testLog(disk)
      await expect(test.open()).rejects.toMatchObject({ code: 'LOG_UNSAFE' })
      await (await test.start({ allowUnsafeFileSystem: true })).close()
      expect(test.events).toMatchObject([{ kind: 'warning' }])
    },
  )
})

describe('options', () => {
  it.each([
    [{ segmentBytes: 100_000 }],
    [{ segmentBytes: 4096 }],
    [{ lockWaitMs: Number.NaN }],
    [{ keepIncarnations: 0 }],
    [{ directory: '' }],
  ])('refuses %o', async (options) => {
    await expect(testLog(new FakeDisk()).open(options)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  })

  it('takes another segment size over from an earlier life', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    await log.close()
    const larger = await testLog(disk).start({ segmentBytes: 2 * SMALL_SEGMENT })
    await commitOne(larger)
    await larger.close()
    const smaller = await testLog(disk).start({ segmentBytes: SMALL_SEGMENT / 2 })
    expect(smaller.find(gtrid)).toBeDefined()
    await smaller.close()
  })

  it('refuses a segment size that what is pending does not fit', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const meta = 'm'.repeat(1024)
    for (let n = 0; n < 24; n += 1) await commitOne(log, { meta })
    await log.close()
    const test = testLog(disk)
    await expect(test.start({ segmentBytes: SMALL_SEGMENT / 4 })).rejects.toMatchObject({
      code: 'LOG_FULL',
    })
    expect((await test.start()).pending()).toHaveLength(24)
  })
})

describe('reading without the lock', () => {
  it('shows decisions and owner while the log is in use', async () => {
    const disk = new FakeDisk()
    const log = await testLog(disk).start()
    const gtrid = await commitOne(log)
    const snapshot = await readLog(DIRECTORY, disk)
    expect(snapshot.pending.map(({ record }) => record.gtrid)).toEqual([gtrid])
    expect(snapshot.standing(log.incarnation)).toBe('older')
    expect(snapshot.owner).toMatchObject({ pid: 1, host: 'fake' })
    await log.close()
    expect((await readLog(DIRECTORY, disk)).owner).toBeUndefined()
  })

  it('says that there is no log', async () => {
    await expect(readLog(DIRECTORY, new FakeDisk())).rejects.toMatchObject({
      code: 'LOG_UNREADABLE',
    })
  })
})

async function endOf(disk: FakeDisk): Promise<{ file: string; offset: number }> {
  const report = await verifyLog(DIRECTORY, disk)
  return { file: report.file, offset: report.end }
}
