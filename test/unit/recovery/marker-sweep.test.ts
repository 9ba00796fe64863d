/** Which marker rows the sweep deletes: only those that nobody will ask for. */
import { expect, it } from 'vitest'
import { Events } from '../../../src/events.ts'
import { noFailpoints } from '../../../src/failpoint.ts'
import { LiveSet } from '../../../src/participant/live.ts'
import { createRegistry } from '../../../src/participant/registry.ts'
import { Settlements } from '../../../src/participant/settle.ts'
import { sweepMarkers } from '../../../src/recovery/marker-sweep.ts'
import { Phases } from '../../../src/tracing.ts'
import { FakeParticipant, SERVER } from '../../support/fake-participant.ts'
import { MemoryLog } from '../../support/memory-log.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world(markers = true) {
  const clock = new VirtualClock()
  const trace: string[] = []
  const ledger = new FakeParticipant(trace, { markers })
  const shop = new FakeParticipant(trace)
  const log = new MemoryLog(trace)
  const events = new Events()
  const registry = createRegistry({ ledger, shop }, clock, events)
  const live = new LiveSet()
  const settlements = new Settlements(log, events, clock, () => undefined)
  const context = {
    registry,
    log,
    live,
    settlements,
    events,
    failpoints: noFailpoints,
    clock,
    phases: new Phases(clock),
  }
  const sweep = () => sweepMarkers({ ...context, stop: () => undefined }, ledger)
  return { ledger, shop, clock, log, live, settlements, sweep }
}

it('keeps the markers of what is live, decided, or ended but not durably, and takes the others', async () => {
  const w = world()
  const branches = [{ participant: 'ledger', bqual: 'ledger', server: SERVER, marker: true }]
  const [live, decided, ending, left] = ['live', 'decided', 'ending', 'left']
  w.live.join(live)
  w.log.add({ gtrid: decided, decidedAtMs: 0, branches })
  w.log.end = () => new Promise(() => undefined)
  w.settlements.follow(ending, branches)
  w.settlements.answer(ending, 'ledger', 'committed', 'live')
  w.ledger.listMarkers = async () => [live, decided, ending, left]
  await w.sweep()
  expect(w.ledger.collected).toEqual([left])
})

it('takes nothing once the log is poisoned, and asks nothing where there are no markers', async () => {
  const w = world()
  w.ledger.listMarkers = async () => ['left']
  w.log.poison = new Error('the disk')
  await w.sweep()
  expect(w.ledger.collected).toEqual([])
  const bare = world(false)
  bare.ledger.listMarkers = () => Promise.reject(new Error('no such table'))
  await bare.sweep()
})

it('keeps the marker that a hand has committed while another branch is prepared: it is the only proof', async () => {
  const w = world()
  const [split, left] = ['split', 'left']
  w.shop.prepared.set(split, { gtrid: split, bqual: 'shop' })
  w.ledger.listMarkers = async () => [split, left].filter((id) => !w.ledger.collected.includes(id))
  await w.sweep()
  expect(w.ledger.collected).toEqual([left])
  w.shop.prepared.clear()
  await w.sweep()
  expect(w.ledger.collected).toEqual([left, split])
})

it('keeps all while another participant cannot be listed, or does not answer', async () => {
  const w = world()
  w.ledger.listMarkers = async () => ['left']
  w.shop.list = () => Promise.reject(new Error('down'))
  await w.sweep()
  w.shop.list = () => new Promise(() => undefined)
  const silent = w.sweep()
  await w.clock.advance(1_000)
  await silent
  expect(w.ledger.collected).toEqual([])
})

it('reads on while it finds as many rows as it asks for', async () => {
  const w = world()
  const rows = Array.from({ length: 1_203 }, (_, index) => `left${index}`)
  const listMarkers = async (_: string, limit: number): Promise<string[]> =>
    rows.filter((row) => !w.ledger.collected.includes(row)).slice(0, limit)
  Object.assign(w.ledger, { listMarkers })
  await w.sweep()
  expect(w.ledger.collected).toEqual(rows)
})

it('ends, and deletes nothing, when all that it finds is the proof of what a hand has done', async () => {
  const w = world()
  const rows = Array.from({ length: 500 }, (_, index) => `split${index}`)
  for (const row of rows) w.shop.prepared.set(row, { gtrid: row, bqual: 'shop' })
  let rounds = 0
  w.ledger.listMarkers = async () => {
    rounds += 1
    // A full round would be read for ever: none of its rows goes.
    return rounds > 1 ? [] : rows
  }
  // `delete ... where gtrid in ()` is an error of syntax.
  w.ledger.collectMarkers = () => Promise.reject(new Error('no rows were named'))
  await w.sweep()
  expect(rounds).toBe(1)
})
