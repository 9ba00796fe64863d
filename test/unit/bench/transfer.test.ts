import { connect, createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { chart } from '../../../bench/transfer/chart.ts'
import { type Row, rowsOf, type Turn } from '../../../bench/transfer/measure.ts'
import { wireTo } from '../../../bench/transfer/wire.ts'

/** One of a second. */
function turn(count: number, p50Ms: number): Turn {
  return { count, tookMs: 1_000, p50Ms, cpuUs: 100, forces: 0 }
}

const TURNS = new Map([
  ['yardstick', [turn(100, 10), turn(10, 100), turn(50, 20)]],
  ['other', [turn(120, 5), turn(20, 50), turn(55, 10)]],
])

describe('the figures of the transfer benchmark', () => {
  it('takes ratios within a round, so that a slow round counts no more than a quick one', () => {
    const [yardstick, other] = rowsOf(TURNS, 8, 'yardstick')
    expect(yardstick?.throughputRatio).toEqual({ median: 1, low: 1, high: 1 })
    expect(other?.throughputRatio.median).toBe(1.2)
    expect(other?.latencyRatio.median).toBe(0.5)
    expect(other).toMatchObject({ variant: 'other', callers: 8, perSecond: 55, p50Ms: 10 })
  })

  it('draws a bar for each variant', () => {
    const axes = { of: (row: Row) => row.throughputRatio, group: 'caller' }
    const drawn = chart('two servers', rowsOf(TURNS, 8, 'yardstick'), axes)
    expect(drawn.match(/<rect [^>]*height="\d+\.\d"/g)).toHaveLength(2)
    expect(drawn).not.toMatch(/NaN|undefined|Infinity/)
  })
})

describe('the wire of the transfer benchmark', () => {
  it('counts a trip each time the client speaks after the server, and passes every byte on', async () => {
    const server = createServer((socket) => socket.pipe(socket))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : 0
    const wire = await wireTo(`tcp://127.0.0.1:${port}`, 1)
    const client = connect(Number(new URL(wire.url).port), '127.0.0.1')
    for (const said of ['one', 'two', 'three']) {
      const heard = new Promise((resolve) => client.once('data', resolve))
      client.write(said)
      expect(String(await heard)).toBe(said)
    }
    expect(wire.takeTrips()).toBe(3)
    expect(wire.takeTrips()).toBe(0)
    client.destroy()
    await wire.close()
    await new Promise((resolve) => server.close(resolve))
  })
})
