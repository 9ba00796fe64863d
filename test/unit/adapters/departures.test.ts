/** No verb while the session that prepared a branch is ending (T11), on a clock of our own. */
import { describe, expect, it } from 'vitest'
import { NEEDS_PROCESS } from '../../../adapters/dialect/mysql.ts'
import { Departures } from '../../../adapters/mysql2/departures.ts'
import { GONE, settleFrom, type Who, whoIs } from '../../../adapters/mysql2/settle.ts'
import type { Decision, Xid } from '../../../src/adapter.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const XID = { gtrid: 'g', bqual: 'shop.7' }

/** A server with these sessions, which answers the verbs as it is told. */
class Server {
  readonly clock = new VirtualClock()
  readonly said: string[] = []
  sessions = new Set([7, 9])
  command = 'Sleep'
  connections = 9
  /** Without the privilege PROCESS, and the session is of another user. */
  hidden = false
  listed = true
  named = false
  ownId = 9
  verb: () => void = () => undefined
  /** Called at each KILL. */
  killed: () => void = () => undefined
  /** Called as is asked who names the branch. */
  asked: () => void = () => undefined
  readonly #departures = new Departures(this.clock)

  readonly settler = {
    run: async (text: string): Promise<readonly Readonly<Record<string, unknown>>[]> => {
      this.said.push(text)
      if (text.startsWith('XA COMMIT')) this.verb()
      if (text.startsWith('KILL')) this.killed()
      if (this.hidden && text === NEEDS_PROCESS) throw serverError(1227)
      if (text.startsWith('SHOW EXPLAIN')) {
        throw serverError(this.sessions.has(Number(text.split(' ')[3])) ? 1227 : 1094)
      }
      if (text.startsWith('SHOW GLOBAL')) return [{ Value: String(this.connections) }]
      return text.startsWith('SELECT ID')
        ? [...this.sessions]
            .filter((id) => !this.hidden || id === 9)
            .map((id) => ({ id, command: this.command }))
        : []
    },
    listed: async () => this.listed,
    named: async () => {
      this.asked()
      return this.named
    },
    threadId: async () => this.ownId,
    presence: (threadId: number | undefined) => this.#departures.of(this.settler, threadId),
  }

  settle(
    who: Who = 'unknown',
    xid: Xid = XID,
    decision: Decision = 'commit',
  ): ReturnType<typeof settleFrom> {
    const bound = { name: 'shop', clock: this.clock, answerMs: 1 }
    return settleFrom((attempt) => attempt(this.settler, who), bound, xid, decision)
  }

  get verbs(): readonly string[] {
    return this.said.filter((text) => /^(?:XA|KILL)/.test(text))
  }

  get looks(): number {
    return this.said.filter((text) => text.startsWith('SELECT ID')).length
  }
}

function serverError(errno: number): Error {
  return Object.assign(new Error(`error ${errno}`), { errno, sqlState: 'HY000' })
}

function attached(): never {
  throw serverError(1397)
}

const COMMIT = "XA COMMIT 'g','shop.7',1"

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
    await server.clock.advance(250)
    expect(server.verbs).toEqual([])
    await server.clock.advance(350)
    expect(server.verbs).toEqual(['KILL 7'])
    expect(await settled).toMatchObject({
      kind: 'later',
      cause: { message: 'session 7, which prepared the branch, has not ended' },
    })
  })

  it.each(['preparer', 'unknown'] as const)(
    'and is not, for KILL QUERY shows so until its next statement, is told to end (%s)',
    async (who) => {
      const server = new Server()
      server.command = 'Killed'
      server.killed = () => server.sessions.delete(7)
      const settled = server.settle(who)
      await server.clock.advance(400)
      expect(server.verbs).toEqual(['KILL 7', COMMIT])
      expect(await settled).toEqual({ kind: 'answered' })
    },
  )

  it('is another of the same id when it stays and the verb works', async () => {
    const server = new Server()
    const settled = server.settle()
    await server.clock.advance(60)
    expect(await settled).toEqual({ kind: 'answered' })
    expect(server.verbs).toEqual([COMMIT])
  })

  it.each(['Killed', undefined])(
    'leaves an answer unknown when it ends as it is given (%s)',
    async (command) => {
      const server = new Server()
      server.verb = () => {
        if (command === undefined) server.sessions.delete(7)
        else server.command = command
      }
      const settled = server.settle()
      await server.clock.advance(60)
      expect((await settled).kind).toBe('unknown')
    },
  )
})

describe('the session that is known to have prepared the branch', () => {
  it('is told to end, and no verb is sent while it is there', async () => {
    const server = new Server()
    server.killed = () => {
      server.command = 'Killed'
    }
    const settled = server.settle('preparer')
    await server.clock.advance(60)
    expect(server.verbs).toEqual(['KILL 7'])
    await server.clock.advance(200)
    server.sessions.delete(7)
    await server.clock.advance(60)
    expect(server.verbs).toEqual(['KILL 7'])
    await server.clock.advance(40)
    expect(server.verbs).toEqual(['KILL 7', COMMIT])
    expect(await settled).toEqual({ kind: 'answered' })
  })

  it('is left alone when its branch is not prepared any more', async () => {
    const server = new Server()
    server.listed = false
    const settled = server.settle('preparer')
    await server.clock.advance(60)
    expect(server.verbs).toEqual([])
    expect((await settled).kind).toBe('absent')
  })

  it('is waited for where it is not shown, and told to end', async () => {
    const server = new Server()
    server.hidden = true
    const settled = server.settle('preparer')
    await server.clock.advance(250)
    expect(server.verbs).toEqual([])
    await server.clock.advance(30)
    expect(server.verbs).toEqual(['KILL 7'])
    server.sessions.delete(7)
    await server.clock.advance(80)
    expect(server.verbs).toEqual(['KILL 7', COMMIT])
    expect(await settled).toEqual({ kind: 'answered' })
  })
})

describe('whose the session is that the branch names', () => {
  it.each([
    ['same', 'preparer'],
    ['restarted', 'stranger'],
    ['other-server', 'stranger'],
    [undefined, 'unknown'],
  ] as const)('in the life that is told as %s: %s', (life, who) => {
    expect(whoIs(life)).toBe(who)
  })
})

describe('a session that holds the branch', () => {
  it.each(['preparer', 'unknown'] as const)(
    'is left alone while another one runs what names the branch (%s)',
    async (who) => {
      const server = new Server()
      server.verb = attached
      server.named = true
      const settled = server.settle(who)
      await server.clock.advance(600)
      expect(server.verbs).not.toContain('KILL 7')
      expect(await settled).toMatchObject({
        kind: 'later',
        cause: { message: 'another session is finishing the branch' },
      })
    },
  )

  it.each(['preparer', 'unknown'] as const)(
    'is never our own, whose id was its in an earlier life (%s)',
    async (who) => {
      const server = new Server()
      server.verb = attached
      server.ownId = 7
      const settled = server.settle(who)
      await server.clock.advance(600)
      expect(server.verbs).not.toContain('KILL 7')
      expect(await settled).toMatchObject({ kind: 'later', cause: { code: 'PARTICIPANT_UNFIT' } })
    },
  )
})

describe('somebody else’s session', () => {
  it('is not ended when who was finishing the branch is done as is asked who does', async () => {
    const server = new Server()
    server.verb = attached
    server.asked = () => {
      server.listed = false
    }
    const settled = server.settle()
    await server.clock.advance(600)
    expect(server.verbs).toEqual([COMMIT])
    expect((await settled).kind).toBe('absent')
  })

  it('is not ended where that of the branch is gone with an earlier life', async () => {
    const server = new Server()
    server.connections = 6
    server.verb = attached
    const settled = server.settle()
    await server.clock.advance(600)
    expect(new Set(server.verbs)).toEqual(new Set([COMMIT]))
    expect((await settled).kind).toBe('later')
  })
})

describe('a session of that id, in another life of the server', () => {
  it('is neither waited for nor ended', async () => {
    const server = new Server()
    expect(await server.settle('stranger')).toEqual({ kind: 'answered' })
    expect(server.said).toEqual([COMMIT])
  })

  it('is not ended either while another session finishes the branch', async () => {
    const server = new Server()
    server.verb = attached
    const settled = server.settle('stranger')
    await server.clock.advance(600)
    expect((await settled).kind).toBe('later')
    expect(new Set(server.verbs)).toEqual(new Set([COMMIT]))
  })
})

describe('a session that is not shown', () => {
  it('is given a time to leave, and an answer while it is there is none', async () => {
    const server = new Server()
    server.hidden = true
    const settled = server.settle()
    await server.clock.advance(250)
    expect(server.verbs).toEqual([])
    await server.clock.advance(30)
    expect(server.verbs).toEqual([COMMIT])
    expect((await settled).kind).toBe('unknown')
  })

  it('has left when the server knows no such session', async () => {
    const server = new Server()
    server.hidden = true
    const settled = server.settle()
    await server.clock.advance(40)
    server.sessions.delete(7)
    await server.clock.advance(50)
    expect(server.verbs).toEqual([])
    await server.clock.advance(30)
    expect(await settled).toEqual({ kind: 'answered' })
    expect(server.verbs).toEqual([COMMIT])
  })
})

describe('a session that has no name, behind a proxy', () => {
  const xid = { gtrid: 'g', bqual: 'shop' }

  it.each(['preparer', 'unknown'] as const)('leaves an answer to proof (%s)', async (who) => {
    const server = new Server()
    expect(await server.settle(who, xid)).toMatchObject({ kind: 'absent' })
    expect(server.verbs).toEqual(["XA COMMIT 'g','shop',1"])
  })

  it('is no matter for a roll-back, which a sweep repeats', async () => {
    expect(await new Server().settle('unknown', xid, 'abort')).toEqual({ kind: 'answered' })
  })

  it('is gone with its life of the server', async () => {
    expect(await new Server().settle('stranger', xid)).toEqual({ kind: 'answered' })
  })
})

describe('one look', () => {
  it.each([false, true])(
    'serves for all that have prepared a branch (hidden: %s)',
    async (hidden) => {
      const server = new Server()
      server.hidden = hidden
      server.sessions = new Set([5, 9])
      const departures = new Departures(server.clock)
      departures.renew(['shop.3', 'shop.4', 'shop.5', 'shop'])
      departures.expect('shop.6')
      expect(await departures.of(server.settler, 3)).toEqual({ kind: 'gone', inMs: 50 })
      await server.clock.advance(50)
      expect(await departures.of(server.settler, 4)).toEqual(GONE)
      expect(await departures.of(server.settler, 6)).toEqual(GONE)
      expect(server.looks).toBe(1)
      expect(await departures.of(server.settler, 5)).toEqual({ kind: hidden ? 'hidden' : 'there' })
    },
  )

  it('says nothing of a session that may have been coming, nor of a branch listed later', async () => {
    const server = new Server()
    server.sessions = new Set([9])
    const departures = new Departures(server.clock)
    departures.renew(['shop.3'])
    await departures.of(server.settler, 3)
    await server.clock.advance(50)
    expect(await departures.of(server.settler, 4)).toEqual({ kind: 'gone', inMs: 50 })
    departures.renew(['shop.3'])
    expect(await departures.of(server.settler, 3)).toEqual({ kind: 'gone', inMs: 50 })
    expect(server.looks).toBe(3)
  })

  it('says nothing of an id that is not given out yet', async () => {
    const server = new Server()
    server.sessions = new Set([9])
    const departures = new Departures(server.clock)
    departures.renew(['shop.3', 'shop.10'])
    await departures.of(server.settler, 3)
    server.connections = 10
    server.sessions.add(10)
    expect(await departures.of(server.settler, 10)).toEqual({ kind: 'there' })
  })

  it('at a session that stays leaves what is known of the others', async () => {
    const server = new Server()
    const departures = new Departures(server.clock)
    departures.renew(['shop.3', 'shop.4', 'shop.7'])
    await departures.of(server.settler, 3)
    await server.clock.advance(40)
    expect(await departures.of(server.settler, 7)).toEqual({ kind: 'there' })
    await server.clock.advance(10)
    expect(await departures.of(server.settler, 4)).toEqual(GONE)
  })

  it('is not needed for a session of an earlier life of the server', async () => {
    const server = new Server()
    expect(await new Departures(server.clock).of(server.settler, 10)).toEqual(GONE)
    expect(server.looks).toBe(0)
  })

  it('is of one life: another connection looks again', async () => {
    const server = new Server()
    server.sessions = new Set([9])
    const departures = new Departures(server.clock)
    expect(await departures.of(server.settler, 7)).toMatchObject({ kind: 'gone' })
    server.sessions.add(7)
    expect(await departures.of({ run: server.settler.run }, 7)).toEqual({ kind: 'there' })
  })
})
