/** No verb while the session that prepared a branch is ending (T11), on a clock of our own. */
import { describe, expect, it } from 'vitest'
import { Departures } from '../../../adapters/mysql2/departures.ts'
import { settleFrom } from '../../../adapters/mysql2/settle.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const XID = { gtrid: 'g', bqual: 'shop.7' }

/** A server with these sessions, which answers the verbs as it is told. */
class Server {
  readonly clock = new VirtualClock()
  readonly said: string[] = []
  sessions = new Set([7, 9])
  command = 'Sleep'
  connections = 9
  verb: () => void = () => undefined
  readonly #departures = new Departures(this.clock)

  readonly settler = {
    run: async (text: string): Promise<readonly Readonly<Record<string, unknown>>[]> => {
      this.said.push(text)
      if (text.startsWith('XA COMMIT')) this.verb()
      if (text.startsWith('KILL')) return []
      if (text.startsWith('SHOW GLOBAL')) return [{ Value: String(this.connections) }]
      return text.startsWith('SELECT ID')
        ? [...this.sessions].map((id) => ({ id, command: this.command }))
        : []
    },
    listed: async () => true,
    named: async () => false,
    threadId: async () => 9,
    presence: (threadId: number) => this.#departures.of(this.settler, threadId),
  }

  settle(): ReturnType<typeof settleFrom> {
    return settleFrom(this.settler, { name: 'shop', clock: this.clock, answerMs: 1 }, XID, 'commit')
  }

  get verbs(): readonly string[] {
    return this.said.filter((text) => /^(?:XA|KILL)/.test(text))
  }

  get looks(): number {
    return this.said.filter((text) => text.startsWith('SELECT ID')).length
  }
}

function attached(): never {
  throw Object.assign(new Error('XAER_NOTA'), { errno: 1397, sqlState: 'XAE04' })
}

describe('a session that is ending', () => {
  it('is waited for, and for a moment after it has left the list', async () => {
    const server = new Server()
    const settled = server.settle()
    await server.clock.advance(20)
    expect(server.verbs).toEqual([])
    server.sessions.delete(7)
    await server.clock.advance(30)
    expect([server.looks, server.verbs]).toEqual([2, []])
    await server.clock.advance(60)
    expect(server.verbs).toEqual(["XA COMMIT 'g','shop.7',1"])
    expect(await settled).toEqual({ kind: 'answered' })
  })

  it('is waited for as well when we have told it to end', async () => {
    const server = new Server()
    server.verb = attached
    const settled = server.settle()
    await server.clock.advance(60)
    const before = ["XA COMMIT 'g','shop.7',1", 'KILL 7']
    expect(server.verbs).toEqual(before)
    server.verb = () => undefined
    await server.clock.advance(200)
    expect(server.verbs).toEqual(before)
    server.sessions.delete(7)
    await server.clock.advance(100)
    expect(server.verbs).toEqual([...before, before[0]])
    expect(await settled).toEqual({ kind: 'answered' })
  })

  it('is never asked, however long it takes, and is settled another time', async () => {
    const server = new Server()
    server.command = 'Killed'
    const settled = server.settle()
    await server.clock.advance(600)
    expect(server.verbs).toEqual([])
    expect((await settled).kind).toBe('later')
  })

  it('is another of the same id when it stays and the verb works', async () => {
    const server = new Server()
    const settled = server.settle()
    await server.clock.advance(60)
    expect(await settled).toEqual({ kind: 'answered' })
    expect(server.verbs).toEqual(["XA COMMIT 'g','shop.7',1"])
  })
})

describe('one look', () => {
  it('serves for all that had been there', async () => {
    const server = new Server()
    server.sessions = new Set([9])
    const departures = new Departures(server.clock)
    const first = departures.of(server.settler, 3)
    await server.clock.advance(50)
    expect(await first).toBe('gone')
    expect(await departures.of(server.settler, 4)).toBe('gone')
    expect(server.looks).toBe(1)
    await server.clock.advance(1_000)
    const again = departures.of(server.settler, 4)
    await server.clock.advance(50)
    expect(await again).toBe('gone')
    expect(server.looks, 'one second later another one').toBe(2)
    server.connections = 12
    const later = departures.of(server.settler, 11)
    await server.clock.advance(50)
    expect(await later).toBe('gone')
    expect(server.looks).toBe(3)
  })

  it('is not needed for a session of an earlier life of the server', async () => {
    const server = new Server()
    expect(await new Departures(server.clock).of(server.settler, 10)).toBe('gone')
    expect(server.looks).toBe(0)
  })

  it('is of one life: another connection looks again', async () => {
    const server = new Server()
    server.sessions = new Set([9])
    const departures = new Departures(server.clock)
    const first = departures.of(server.settler, 7)
    await server.clock.advance(50)
    expect(await first).toBe('gone')
    server.sessions.add(7)
    expect(await departures.of({ run: server.settler.run }, 7)).toBe('there')
  })
})
