import { beforeEach, describe, expect, it } from 'vitest'
import type { FileSystem } from '../../../src/log/file-system.ts'
import { openSibling, openSlot, readSlots } from '../../../src/log/slots.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { commitOne, SMALL_SEGMENT, testLog } from '../../support/test-log.ts'

const options = { root: '/logs', segmentBytes: SMALL_SEGMENT }
let disk = new FakeDisk()

beforeEach(() => {
  disk = new FakeDisk()
})

describe('slots under a root', () => {
  it('each process takes one of its own, and a free one before a new one', async () => {
    const { seams } = testLog(disk)
    const first = await openSlot(options, seams)
    const second = await openSlot(options, seams)
    expect([first.name, second.name]).toEqual(['slot-1', 'slot-2'])
    await (await second.log.start()).close()
    await (await first.log.start()).close()
    expect((await openSlot(options, seams)).name).toBe('slot-1')
    expect((await openSlot(options, seams)).name).toBe('slot-2')
    expect((await openSlot(options, seams)).name).toBe('slot-3')
  })

  it('shows them without taking them', async () => {
    const { seams } = testLog(disk)
    const slot = await openSlot(options, seams)
    const log = await slot.log.start()
    const gtrid = await commitOne(log)
    const [status] = await readSlots('/logs', disk)
    expect(status).toMatchObject({ name: 'slot-1', owner: { pid: 1 }, problem: undefined })
    expect(status?.snapshot?.logId).toBe(log.logId)
    expect(status?.snapshot?.pending[0]?.record.gtrid).toBe(gtrid)
    expect(await readSlots('/nothing', disk)).toEqual([])
  })

  it('opens what a dead process left for recovery, unless somebody holds it', async () => {
    const { seams } = testLog(disk)
    const own = await openSlot(options, seams)
    const dead = await openSlot(options, seams)
    const log = await dead.log.start()
    const gtrid = await commitOne(log)
    expect(await openSibling('slot-2', options, seams)).toBeUndefined()
    await log.close()
    const sibling = await (await openSibling('slot-2', options, seams))?.start()
    expect(sibling?.find(gtrid)).toBeDefined()
    expect(sibling?.incarnation.epoch).toBe(2)
    await own.log.close()
  })

  it('leaves those that others take between the look and the lock', async () => {
    const { seams } = testLog(disk)
    await (await (await openSlot(options, seams)).log.start()).close()
    let opened = 0
    let isOther = false
    disk.onRequest = async ({ kind, path }) => {
      if (isOther || kind !== 'open' || !path.endsWith('/lock')) return
      opened += 1
      // First comes the look at slot 1, then the locks of slots 1, 2 and 3.
      if (opened !== 2 && opened !== 3) return
      isOther = true
      await (await disk.open(path, 'write')).lock('exclusive')
      isOther = false
    }
    expect((await openSlot(options, seams)).name).toBe('slot-3')
  })

  it('gives up when others take every one of them', async () => {
    const { seams } = testLog(disk)
    const open: FileSystem['open'] = async (path, mode) => ({
      ...(await disk.open(path, mode)),
      lock: async () => false,
    })
    const files = Object.assign(Object.create(disk) as FileSystem, {
      open,
      list: disk.list.bind(disk),
      stat: disk.stat.bind(disk),
    })
    await expect(openSlot(options, { ...seams, files })).rejects.toMatchObject({
      code: 'LOG_LOCKED',
      message: expect.stringContaining('no slot under /logs'),
    })
  })

  it('stops where no slot can be had, and does not pass over all of them', async () => {
    const test = testLog(disk)
    await (await (await openSlot(options, test.seams)).log.start()).close()
    disk.fsType = 0x6969
    await expect(openSlot(options, test.seams)).rejects.toMatchObject({ code: 'LOG_UNSAFE' })
    expect(test.events).toEqual([])
  })

  it('passes over one that is damaged, and says so', async () => {
    const test = testLog(disk)
    const slot = await openSlot(options, test.seams)
    await (await slot.log.start()).close()
    disk.bytes('/logs/slot-1/segment-0000000001.log').fill(0)
    expect((await openSlot(options, test.seams)).name).toBe('slot-2')
    expect(test.events).toMatchObject([
      { kind: 'warning', message: expect.stringContaining('slot-1') },
    ])
    const [status] = await readSlots('/logs', disk)
    expect(status?.problem).toMatchObject({ code: 'LOG_CORRUPT' })
  })
})
