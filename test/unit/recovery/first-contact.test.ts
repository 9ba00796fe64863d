import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../../src/errors.ts'
import { Events } from '../../../src/events.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { firstContact } from '../../../src/recovery/first-contact.ts'
import { formatGtrid } from '../../../src/xid.ts'
import { FakeParticipant, gid } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world() {
  const ledger = new FakeParticipant([])
  const shop = new FakeParticipant([])
  const clock = new VirtualClock()
  const log = new MemoryLog([])
  const registry = createRegistry({ ledger, shop }, clock, new Events())
  const meet = () => firstContact(registry, log, clock, 1_000)
  return { ledger, shop, clock, log, meet }
}

describe('first contact', () => {
  it('answers who answered', async () => {
    expect(await world().meet()).toEqual({ answered: ['ledger', 'shop'], unfit: [] })
  })

  it('rule 8: goes on without those that are down or silent', async () => {
    const { ledger, shop, clock, meet } = world()
    ledger.contact = () =>
      Promise.reject(new UnanimousError('PARTICIPANT_UNREACHABLE', 'connection refused'))
    shop.list = () => new Promise(() => undefined)
    const meeting = meet()
    await clock.advance(1_000)
    expect(await meeting).toEqual({ answered: [], unfit: [] })
  })

  it('hides no failure that an adapter does not know of', async () => {
    const { ledger, meet } = world()
    ledger.contact = () => Promise.reject(new TypeError('not a function'))
    await expect(meet()).rejects.toBeInstanceOf(TypeError)
  })

  it('answers who is unfit, with the reason', async () => {
    const { shop, meet } = world()
    const unfit = new UnanimousError('PARTICIPANT_UNFIT', 'shop: no grant', { hint: 'GRANT' })
    shop.contact = () => Promise.reject(unfit)
    expect(await meet()).toEqual({ answered: ['ledger'], unfit: [unfit] })
  })

  it('a branch of an incarnation that the log never had proves a copy', async () => {
    const { ledger, log, meet } = world()
    const gtrid = formatGtrid({
      logId: log.logId,
      incarnation: { epoch: 9, nonce: '00000000' },
      sequence: 1,
    })
    const xid = { gtrid, bqual: 'ledger' }
    ledger.prepared.set(gid(xid), xid)
    await expect(meet()).rejects.toMatchObject({ code: 'LOG_COPIED' })
  })
})
