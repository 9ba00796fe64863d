/** The application's side of a branch, and the participant's own connection, on a clock of our own. */
import { describe, expect, test } from 'vitest'
import { Gate } from '../../../adapters/dialect/gate.ts'
import { Lane, type LaneDriver } from '../../../adapters/dialect/lane.ts'
import { systemClock } from '../../../src/adapter.ts'

const sealed = (): Error => new Error('sealed')

function gateWith(open: (boundMs: number) => Promise<void> = async () => undefined) {
  const log: string[] = []
  const gate = new Gate({
    participant: 'ledger',
    gtrid: 'g',
    enlist: () => {
      log.push('enlist')
      return 42
    },
    open: (boundMs) => {
      log.push(`open ${boundMs}`)
      return open(boundMs)
    },
  })
  return { gate, log }
}

describe('gate', () => {
  test('enlists and opens once, synchronously with the first statement', async () => {
    const { gate, log } = gateWith()
    expect(gate.enlisted).toBe(false)
    const first = gate.run('a', async () => log.push('a'))
    expect(log).toEqual(['enlist', 'open 42'])
    await Promise.all([first, gate.run('b', async () => log.push('b'))])
    expect(log).toEqual(['enlist', 'open 42', 'a', 'b'])
  })

  test('runs one statement at a time, also after one has failed', async () => {
    const { gate } = gateWith()
    const running: string[] = []
    const statement = (name: string, fails: boolean) =>
      gate.run(name, async () => {
        running.push(`${name}+`)
        await new Promise((resolve) => {
          setTimeout(resolve, 5)
        })
        running.push(`${name}-`)
        if (fails) throw new Error(name)
      })
    const ends = await Promise.allSettled([statement('a', true), statement('b', false)])
    expect(ends.map((end) => end.status)).toEqual(['rejected', 'fulfilled'])
    expect(running).toEqual(['a+', 'a-', 'b+', 'b-'])
    expect(gate.busy).toBe(false)
  })

  test('fails every statement with the failure to open, and dooms the branch', async () => {
    const { gate, log } = gateWith(async () => {
      throw new Error('no connection')
    })
    const ends = await Promise.allSettled([
      gate.run('a', async () => log.push('a')),
      gate.run('b', async () => log.push('b')),
    ])
    expect(ends.map((end) => end.status)).toEqual(['rejected', 'rejected'])
    expect(log).toEqual(['enlist', 'open 42'])
    expect(gate.seal(sealed)).toMatchObject({ code: 'STATEMENT_FAILED' })
  })

  test('a control statement is refused and dooms, and the first doom stands', async () => {
    const { gate, log } = gateWith()
    await expect(gate.run('COMMIT', async () => log.push('sent'))).rejects.toMatchObject({
      code: 'TRANSACTION_CONTROL',
    })
    gate.doom({ code: 'CONNECTION_LOST', reason: 'later', retryable: true })
    expect(log).toEqual([])
    expect(gate.seal(sealed)).toMatchObject({ code: 'STATEMENT_FAILED', retryable: false })
  })
})

interface Wire {
  readonly id: number
  alive: boolean
  destroyed: boolean
}

function laneWith(limitMs: number) {
  const wires: Wire[] = []
  const driver: LaneDriver<Wire> = {
    async open() {
      const wire = { id: wires.length, alive: true, destroyed: false }
      wires.push(wire)
      return wire
    },
    alive: (wire) => wire.alive,
    isAnswer: (cause) => cause instanceof RangeError,
    destroy(wire) {
      wire.alive = false
      wire.destroyed = true
    },
    end: async () => undefined,
    hold: () => undefined,
  }
  return { lane: new Lane('ledger', systemClock, limitMs, driver), wires }
}

describe('lane', () => {
  test('keeps its connection after an answer, and drops it after anything else', async () => {
    const { lane, wires } = laneWith(1_000)
    const fail = (cause: Error) =>
      lane.use(async () => {
        throw cause
      })
    await expect(fail(new RangeError('an answer'))).rejects.toThrow('an answer')
    expect(await lane.use(async ({ id }) => id)).toBe(0)
    await expect(fail(new Error('lost'))).rejects.toThrow('lost')
    expect(wires[0]?.destroyed).toBe(true)
    expect(await lane.use(async ({ id }) => id)).toBe(1)
    await lane.close()
    expect(wires[1]?.destroyed).toBe(true)
  })

  test('does one piece of work at a time', async () => {
    const { lane } = laneWith(1_000)
    let inside = 0
    let most = 0
    const work = () =>
      lane.use(async () => {
        inside += 1
        most = Math.max(most, inside)
        await Promise.resolve()
        inside -= 1
      })
    await Promise.all([work(), work(), work()])
    expect(most).toBe(1)
  })

  test('gives up work that does not end, with its connection', async () => {
    const { lane, wires } = laneWith(30)
    await expect(lane.use(() => new Promise(() => undefined))).rejects.toMatchObject({
      code: 'PARTICIPANT_UNREACHABLE',
    })
    expect(wires[0]?.destroyed).toBe(true)
    expect(await lane.use(async ({ id }) => id)).toBe(1)
  })

  test('finds a connection that died idle, and makes another', async () => {
    const { lane, wires } = laneWith(1_000)
    await lane.use(async () => undefined)
    for (const wire of wires) wire.alive = false
    expect(await lane.use(async ({ id }) => id)).toBe(1)
  })

  test('takes nothing after it was closed', async () => {
    const { lane, wires } = laneWith(1_000)
    await lane.close()
    await expect(lane.use(async () => undefined)).rejects.toMatchObject({
      code: 'PARTICIPANT_UNREACHABLE',
    })
    expect(wires).toEqual([])
  })
})
