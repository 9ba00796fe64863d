/** The application's side of a branch, and the participant's own connection, on a clock of our own. */
import { describe, expect, test } from 'vitest'
import { Gate } from '../../../adapters/dialect/gate.ts'
import { Lane, type LaneDriver } from '../../../adapters/dialect/lane.ts'
import { newClient } from '../../../adapters/dialect/nesting.ts'
import { systemClock } from '../../../src/adapter.ts'

const sealed = (): Error => new Error('sealed')

function gateWith(
  open: (boundMs: number) => Promise<void> = async () => undefined,
  savepoints: readonly string[] = [],
) {
  const log: string[] = []
  const gate = new Gate({
    participant: 'ledger',
    dialect: 'PostgreSQL',
    request: {
      gtrid: 'g',
      enlist() {
        log.push('enlist')
        return 42
      },
      savepoints: () => savepoints,
    },
    open: (boundMs) => {
      log.push(`open ${boundMs}`)
      return open(boundMs)
    },
    speak: async (texts) => {
      log.push(...texts)
    },
    isolation: async () => 'repeatable read',
  })
  const client = newClient()
  const run = <T>(text: string, send: () => Promise<T>): Promise<T> =>
    gate.run(client, text, (instead) => {
      if (instead === undefined) return send()
      log.push(`${instead.tag}: ${instead.texts.join('; ')}`)
      return send()
    })
  return { gate, log, client, run }
}

describe('gate', () => {
  test('enlists and opens once, synchronously with the first statement', async () => {
    const { gate, log, run } = gateWith()
    expect(gate.enlisted).toBe(false)
    const first = run('a', async () => log.push('a'))
    expect(log).toEqual(['enlist', 'open 42'])
    await Promise.all([first, run('b', async () => log.push('b'))])
    expect(log).toEqual(['enlist', 'open 42', 'a', 'b'])
  })

  test('runs one statement at a time, also after one has failed', async () => {
    const { gate, run } = gateWith()
    const running: string[] = []
    const statement = (name: string, fails: boolean) =>
      run(name, async () => {
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

  test('runs one statement at a time, also one that comes when another has ended and a third runs', async () => {
    const { run } = gateWith()
    const running: string[] = []
    const statement = (name: string) =>
      run(name, async () => {
        running.push(`${name}+`)
        await new Promise((resolve) => setTimeout(resolve, 5))
        running.push(`${name}-`)
      })
    const last = statement('a').then(() => statement('c'))
    await Promise.all([statement('b'), last])
    expect(running).toEqual(['a+', 'a-', 'b+', 'b-', 'c+', 'c-'])
  })

  test('fails every statement with the failure to open, and dooms the branch', async () => {
    const { gate, log, run } = gateWith(async () => {
      throw new Error('no connection')
    })
    const ends = await Promise.allSettled([
      run('a', async () => log.push('a')),
      run('b', async () => log.push('b')),
    ])
    expect(ends.map((end) => end.status)).toEqual(['rejected', 'rejected'])
    expect(log).toEqual(['enlist', 'open 42'])
    expect(gate.seal(sealed)).toMatchObject({ code: 'STATEMENT_FAILED' })
  })

  test('a control statement is refused and dooms, and the first doom stands', async () => {
    const { gate, log, run } = gateWith()
    await expect(run('COMMIT', async () => log.push('sent'))).rejects.toMatchObject({
      code: 'TRANSACTION_CONTROL',
    })
    gate.doom({ code: 'CONNECTION_LOST', reason: 'later', retryable: true })
    expect(log).toEqual([])
    expect(gate.seal(sealed)).toMatchObject({ code: 'STATEMENT_FAILED', retryable: false })
  })

  test('a BEGIN of a client is a savepoint, and its COMMIT releases it', async () => {
    const { gate, log, run } = gateWith()
    for (const text of ['BEGIN', 'insert', 'COMMIT']) await run(text, async () => log.push('sent'))
    expect(log.slice(2)).toEqual([
      'BEGIN: SAVEPOINT una_1',
      'sent',
      'sent',
      'COMMIT: RELEASE SAVEPOINT una_1',
      'sent',
    ])
    expect(gate.seal(sealed)).toBeUndefined()
  })

  test('a COMMIT that failed leaves its transaction to be rolled back', async () => {
    const { run, log, gate } = gateWith()
    await run('BEGIN', async () => undefined)
    await expect(run('COMMIT', () => Promise.reject(new Error('aborted')))).rejects.toThrow()
    await run('ROLLBACK', async () => undefined)
    expect(log.at(-1)).toBe('ROLLBACK: ROLLBACK TO SAVEPOINT una_1; RELEASE SAVEPOINT una_1')
    expect(gate.seal(sealed)).toBeUndefined()
  })

  test('takes an isolation that the branch has or exceeds, and refuses a stronger one', async () => {
    const { gate, run } = gateWith()
    await run('begin isolation level read committed', async () => undefined)
    await run('set transaction isolation level repeatable read, read write', async () => undefined)
    await run('commit', async () => undefined)
    expect(gate.doomed).toBeUndefined()
    await expect(
      run('start transaction isolation level serializable', async () => undefined),
    ).rejects.toMatchObject({
      code: 'TRANSACTION_CONTROL',
      hint: expect.stringContaining('ledger'),
    })
    expect(gate.doomed).toMatchObject({ code: 'STATEMENT_FAILED' })
  })

  test('a transaction that nobody ended is work still running', async () => {
    const { gate, run } = gateWith()
    await run('BEGIN', async () => undefined)
    expect(gate.seal(sealed)).toMatchObject({ code: 'WORK_STILL_RUNNING' })
  })

  test('a released client is rolled back before the branch votes, also after the seal', async () => {
    const { gate, run, client, log } = gateWith()
    await run('BEGIN', async () => undefined)
    gate.release(client)
    expect(gate.seal(sealed)).toBeUndefined()
    expect(await gate.drain()).toBeUndefined()
    expect(log.slice(-2)).toEqual(['ROLLBACK TO SAVEPOINT una_1', 'RELEASE SAVEPOINT una_1'])
  })

  test('sets the savepoints around the caller before its statement, once', async () => {
    const { run, log, gate } = gateWith(undefined, ['s1', 's2'])
    await run('a', async () => log.push('a'))
    await run('b', async () => log.push('b'))
    expect(log.slice(2)).toEqual(['SAVEPOINT s1', 'SAVEPOINT s2', 'a', 'b'])
    await gate.endSavepoint('s2', 'release')
    await gate.endSavepoint('s1', 'rollback')
    expect(log.slice(-3)).toEqual([
      'RELEASE SAVEPOINT s2',
      'ROLLBACK TO SAVEPOINT s1',
      'RELEASE SAVEPOINT s1',
    ])
  })

  test('an open result is work still running until it is being closed', async () => {
    const { gate, client } = gateWith()
    const turn = await gate.turn(client, 'select', true)
    expect(gate.busy).toBe(true)
    turn.closing()
    expect(gate.seal(sealed)).toBeUndefined()
    let drained = false
    const draining = Promise.resolve(gate.drain()).then(() => {
      drained = true
    })
    await Promise.resolve()
    expect(drained).toBe(false)
    turn.end(true)
    await draining
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
