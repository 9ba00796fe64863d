/** Recovery of slots that nobody holds, over a disk and a participant in memory. */
import { beforeEach, describe, expect, it } from 'vitest'
import { Siblings } from '../../../src/coordinator/siblings.ts'
import { Coordinator } from '../../../src/coordinator.ts'
import { Events } from '../../../src/events.ts'
import type { OperatedLog } from '../../../src/log/decision-log.ts'
import { openSlot, readSlots } from '../../../src/log/slots.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { formatGtrid, parseGtrid } from '../../../src/xid.ts'
import { FakeDisk } from '../../support/fake-disk.ts'
import { FakeParticipant, gid, type Script, SERVER } from '../../support/fake-participant.ts'
import { ManualClock, SMALL_SEGMENT, testLog } from '../../support/test-log.ts'

const location = { root: '/logs', segmentBytes: SMALL_SEGMENT }
let disk = new FakeDisk()

beforeEach(() => {
  disk = new FakeDisk()
})

/** Where a test waits, what is awaited comes first: participants answer in time. */
class PatientClock extends ManualClock {
  override timer(delayMs: number, fire: () => void, holds = false): { clear(): void } {
    if (holds) setTimeout(() => this.advance(delayMs), 5)
    return super.timer(delayMs, fire)
  }
}

/** Slot 1 is ours; every further one belongs to a process that `dies`. */
async function world(script: Script = {}) {
  const clock = new PatientClock()
  const { seams } = testLog(disk, { clock })
  const told: Record<string, unknown>[] = []
  const events = new Events((name, event) => told.push({ name, ...event }))
  const ledger = new FakeParticipant([], script)
  const registry = createRegistry({ ledger }, clock, events)
  const own = await openSlot(location, seams)
  const siblings = new Siblings({
    location,
    own: own.name,
    registry,
    events,
    seams,
    contactMs: 1_000,
  })
  const other = async (): Promise<OperatedLog> => (await openSlot(location, seams)).log.start()
  const prepare = (gtrid: string): void => {
    ledger.prepared.set(gid({ gtrid, bqual: 'ledger' }), { gtrid, bqual: 'ledger' })
  }
  const branches = [{ participant: 'ledger', bqual: 'ledger', server: SERVER, marker: false }]
  const commit = async (log: OperatedLog): Promise<string> => {
    const gtrid = log.begin()
    await log.decide({ gtrid, decidedAtMs: 1, branches })
    log.release(gtrid)
    return gtrid
  }
  const visit = async (): Promise<void> => {
    clock.advance(60_000)
    await siblings.visit()
    await siblings.settled()
  }
  return { own, siblings, ledger, told, seams, other, prepare, commit, visit, clock }
}

describe('a slot that nobody holds', () => {
  it('is recovered, whole, and let go', async () => {
    const w = await world()
    const log = await w.other()
    const decided = await w.commit(log)
    const undecided = log.begin()
    w.prepare(decided)
    w.prepare(undecided)
    await w.visit()
    expect(w.ledger.prepared.size, 'while its owner lives').toBe(2)
    await log.close()
    await w.visit()
    expect([...w.ledger.committed]).toEqual([`${decided}:ledger`])
    expect([...w.ledger.rolledBack]).toEqual([`${undecided}:ledger`])
    expect((await readSlots('/logs', disk))[1]).toMatchObject({
      owner: undefined,
      snapshot: { pending: [] },
    })
  })

  it('is not opened when nothing in it can be settled: an incarnation would be spent', async () => {
    const w = await world()
    const log = await w.other()
    await log.close()
    const before = disk.operations.length
    for (let n = 0; n < 5; n += 1) await w.visit()
    expect(disk.operations.length).toBe(before)
  })

  it('keeps its decision when another server answers under the name', async () => {
    const w = await world({ proof: { kind: 'none', life: 'other-server' } })
    const log = await w.other()
    const gtrid = await w.commit(log)
    await log.close()
    await w.visit()
    const [, slot] = await readSlots('/logs', disk)
    expect(slot?.snapshot?.pending[0]?.record.gtrid).toBe(gtrid)
    expect(slot?.snapshot?.pending[0]?.answers.size).toBe(0)
    expect(w.told).toMatchObject([{ name: 'participant:warning', code: 'OTHER_SERVER' }])
  })

  it("keeps its decision when another server lists the branch: a copy's answer is not the branch's", async () => {
    const w = await world({ server: 'a copy' })
    const log = await w.other()
    const gtrid = await w.commit(log)
    w.prepare(gtrid)
    await log.close()
    await w.visit()
    expect(w.ledger.prepared.size).toBe(1)
    const [, slot] = await readSlots('/logs', disk)
    expect(slot?.snapshot?.pending[0]?.answers.size).toBe(0)
    expect(w.told).toMatchObject([{ name: 'participant:warning', code: 'OTHER_SERVER' }])
    w.ledger.script.server = SERVER.server
    await w.visit()
    expect([...w.ledger.committed]).toEqual([`${gtrid}:ledger`])
  })

  it('that is damaged stops only itself, and is reported once', async () => {
    const w = await world()
    const damaged = await w.other()
    const sound = await w.other()
    const gtrid = await w.commit(sound)
    w.prepare(gtrid)
    await damaged.close()
    await sound.close()
    disk.bytes('/logs/slot-2/segment-0000000001.log').fill(0)
    await w.visit()
    await w.visit()
    expect([...w.ledger.committed]).toEqual([`${gtrid}:ledger`])
    const stopped = w.told.filter(({ kind }) => kind === 'sibling-stopped')
    expect(stopped).toMatchObject([{ slot: 'slot-2', code: 'LOG_CORRUPT' }])
  })

  it('that is a copy is not touched: the original may have decided otherwise', async () => {
    const w = await world()
    const log = await w.other()
    const decided = await w.commit(log)
    const nonce = log.incarnation.nonce === 'zzzzzzzz' ? 'yyyyyyyy' : 'zzzzzzzz'
    const alien = formatGtrid({ logId: log.logId, incarnation: { epoch: 2, nonce }, sequence: 1 })
    await log.close()
    w.prepare(decided)
    w.prepare(alien)
    const before = disk.operations.length
    await w.visit()
    expect(w.ledger.prepared.size).toBe(2)
    const written = disk.operations.slice(before).flatMap((one) => ('bytes' in one ? [one] : []))
    // The owner's name, for people, and no record.
    expect(written.every(({ bytes }) => bytes.length <= 512)).toBe(true)
    expect(w.told).toMatchObject([{ kind: 'sibling-stopped', code: 'LOG_COPIED' }])
  })

  it('that cannot be written stops only itself', async () => {
    const w = await world()
    const mine = await w.own.log.start()
    const log = await w.other()
    const gtrid = await w.commit(log)
    w.prepare(gtrid)
    await log.close()
    disk.fault = ({ kind, path }) =>
      kind === 'sync' && path.startsWith('/logs/slot-2/') ? { error: 'EIO' } : undefined
    await w.visit()
    expect(w.ledger.committed.size, 'durable again comes before settling').toBe(0)
    expect(w.told).toMatchObject([{ kind: 'sibling-stopped', slot: 'slot-2' }])
    await w.commit(mine)
    expect(mine.poison).toBeUndefined()
    disk.fault = undefined
    await w.visit()
    expect([...w.ledger.committed]).toEqual([`${gtrid}:ledger`])
  })
})

describe('log ids under the root', () => {
  it('are known, also those of a process that came later; others are not', async () => {
    const w = await world()
    const first = await w.other()
    expect(await w.siblings.owns(first.logId)).toBe(true)
    const later = await w.other()
    expect(await w.siblings.owns(later.logId)).toBe(true)
    await w.own.log.start()
    expect(await w.siblings.owns('abcdefabcdefabcd')).toBe(false)
  })

  it('are never reported as orphans by a coordinator, and strangers are', async () => {
    const w = await world()
    const live = await w.other()
    const theirs = live.begin()
    const stranger = theirs.replace(live.logId, 'abcdefabcdefabcd')
    expect(parseGtrid(stranger)?.logId).toBe('abcdefabcdefabcd')
    w.prepare(theirs)
    w.prepare(stranger)
    await (await w.own.log.start()).close()
    const reported: unknown[] = []
    const note = (details: object): void => {
      if ('id' in details) reported.push(details.id)
    }
    const quiet = (): void => undefined
    const coordinator = await Coordinator.open({
      log: location,
      participants: { ledger: w.ledger },
      logger: { debug: quiet, info: quiet, warn: note, error: note },
      seams: { files: disk },
    })
    await coordinator.close()
    expect(reported).toEqual([`${stranger}:ledger`])
    expect(w.ledger.prepared.size).toBe(2)
  })
})

describe('a free slot that proves to be a copy', () => {
  it('is passed over by the process that looks for one', async () => {
    const w = await world()
    const log = await w.own.log.start()
    const incarnation = { epoch: 5, nonce: 'zzzzzzzz' }
    w.prepare(formatGtrid({ logId: log.logId, incarnation, sequence: 1 }))
    await log.close()
    const coordinator = await Coordinator.open({
      log: location,
      participants: { ledger: w.ledger },
      seams: { files: disk },
    })
    const free = async (): Promise<readonly boolean[]> =>
      (await readSlots('/logs', disk)).map(({ owner }) => owner === undefined)
    // It looks into the other one from time to time, and holds it for that moment.
    await expect.poll(free).toEqual([true, false])
    expect(coordinator.logId).not.toBe(log.logId)
    expect(w.ledger.prepared.size).toBe(1)
    await coordinator.close()
  })
})
