/** The socket of a running coordinator against clients that hang, flood, send garbage or vanish. */
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { UnanimousError } from '../../../src/errors.ts'
import { askLive } from '../../../src/live/client.ts'
import { type LiveHandlers, type LiveServer, serveLive } from '../../../src/live/server.ts'
import { type DrainReport, encodeLine } from '../../../src/live/wire.ts'
import { testFolders } from '../../support/folder.ts'
import { settle, VirtualClock } from '../../support/virtual-clock.ts'

const folder = testFolders()
const servers: LiveServer[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await Promise.all(servers.splice(0).map((each) => each.close()))
})

const REPORT: DrainReport = { ended: 0, aborted: 0, running: 0, left: 7 }
const never = (): Promise<never> => Promise.reject(new Error('not in this test'))
const HANDLERS: LiveHandlers = {
  status: never,
  list: never,
  show: never,
  recover: never,
  drain: async () => REPORT,
}
const options = { clock: systemClock }

async function served(
  handlers: Partial<LiveHandlers> = {},
  clock: VirtualClock | typeof systemClock = systemClock,
  directory?: string,
) {
  const place = directory ?? (await folder())
  const server = await serveLive({
    directory: place,
    clock,
    handlers: { ...HANDLERS, ...handlers },
  })
  servers.push(server)
  return { directory: place, server, path: join(place, 'live', 'socket') }
}

/** Where handlers wait until a test lets them go on. */
function held() {
  const waiting: (() => void)[] = []
  return {
    get waiting(): number {
      return waiting.length
    },
    wait: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve)
      }),
    release: () => {
      for (const resolve of waiting.splice(0)) resolve()
    },
  }
}

/** A raw client: what it heard so far, and whether it was cut off. */
function dial(path: string) {
  const socket = createConnection(path)
  sockets.push(socket)
  const heard = { text: '', closed: false }
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    heard.text += chunk
  })
  socket.on('close', () => {
    heard.closed = true
  })
  socket.on('error', () => undefined)
  return { socket, heard }
}

describe('a request', () => {
  it('is answered, and the client is told the result', async () => {
    const { directory } = await served()
    const answer = await askLive(directory, 'drain', {}, options)
    expect(answer).toEqual({ kind: 'answered', result: REPORT })
  })

  it('is answered to a client that closes its own side first', async () => {
    const { path } = await served()
    const { socket, heard } = dial(path)
    socket.end(encodeLine({ request: 'drain' }))
    await expect.poll(() => heard.closed).toBe(true)
    expect(JSON.parse(heard.text)).toEqual({ v: 1, result: REPORT })
  })

  it('gets the pieces of a long answer put together, in their order', async () => {
    const done = Array.from({ length: 250 }, (_, index) => ({
      gtrid: `g${index}`,
      participant: 'ledger',
      bqual: 'ledger',
      did: 'committed' as const,
    }))
    const looked = { atMs: 1, logId: 'l', owner: undefined, participants: [], operators: [] }
    const inspection = { ...looked, apart: [] }
    const { directory } = await served({
      recover: async (_params, tell) => {
        for (let from = 0; from < 200; from += 100)
          await tell({ done: done.slice(from, from + 100) })
        await tell({ transactions: [{ gtrid: 'x' }] })
        return {
          done: done.slice(200),
          unsettled: [],
          inspection: { ...inspection, transactions: [] },
        }
      },
    })
    let pieces = 0
    const onPart = (): void => {
      pieces += 1
    }
    const answer = await askLive(directory, 'recover', {}, { ...options, onPart })
    if (answer.kind !== 'answered') throw new Error(answer.kind)
    expect(pieces).toBe(3)
    expect(answer.result.done).toEqual(done)
    expect(answer.result.inspection.transactions).toEqual([{ gtrid: 'x' }])
  })

  it('hears the coordinator refuse, with code and hint', async () => {
    const { directory } = await served({
      drain: () =>
        Promise.reject(new UnanimousError('LOG_POISONED', 'a write failed', { hint: 'restart' })),
    })
    await expect(askLive(directory, 'drain', {}, options)).rejects.toMatchObject({
      code: 'LOG_POISONED',
      message: 'a write failed',
      hint: 'restart',
    })
  })

  it.each([
    ['that nobody knows', encodeLine({ request: 'reboot' }), 'does not know'],
    ['by a name that every object has', encodeLine({ request: 'toString' }), 'does not know'],
    ['of another version', '{"v":2,"request":"drain"}\n', 'version 2'],
    ['that is no JSON', 'GET / HTTP/1.1\r\n\r\n', 'no JSON'],
    ['that is no object', '[]\n', 'no JSON object'],
  ])('%s is refused', async (_what, line, message) => {
    const { path } = await served()
    const { socket, heard } = dial(path)
    socket.write(line)
    await expect.poll(() => heard.closed).toBe(true)
    const { error } = JSON.parse(heard.text) as { error: { $error: { message: string } } }
    expect(error.$error.message).toContain(message)
  })
})

describe('a client that misbehaves', () => {
  it('and sends nothing is cut off in time', async () => {
    const clock = new VirtualClock()
    const { path } = await served({}, clock)
    const { heard, socket } = dial(path)
    await new Promise((resolve) => socket.once('connect', resolve))
    await expect.poll(() => clock.waiting).toBeGreaterThan(0)
    await clock.advance(4_999)
    expect(heard.closed).toBe(false)
    await clock.advance(1)
    await expect.poll(() => heard.closed).toBe(true)
  })

  it('and floods without a newline is cut off, and costs 16 KiB', async () => {
    const { path, directory } = await served()
    const { socket, heard } = dial(path)
    const flood = Buffer.alloc(1_048_576, 'x')
    const pour = (): void => {
      while (!socket.destroyed && socket.write(flood));
    }
    socket.on('drain', pour)
    pour()
    await expect.poll(() => heard.closed).toBe(true)
    expect(heard.text).toBe('')
    expect(socket.bytesWritten - socket.writableLength).toBeLessThan(8 * 1_048_576)
    expect((await askLive(directory, 'drain', {}, options)).kind).toBe('answered')
  })

  it('and floods behind its request gets an answer and no more', async () => {
    const { path } = await served()
    const { socket, heard } = dial(path)
    socket.write(encodeLine({ request: 'drain' }))
    const pour = (): void => {
      while (!socket.destroyed && socket.write(Buffer.alloc(65_536, 'x')));
    }
    socket.on('drain', pour)
    pour()
    await expect.poll(() => heard.closed).toBe(true)
  })

  it('and never reads its answer is cut off, and holds one piece of it in memory', async () => {
    const clock = new VirtualClock()
    let told = 0
    let gone = false
    const { path } = await served(
      {
        list: async (_params, tell) => {
          while (!gone) {
            gone = !(await tell({ transactions: [{ text: 'x'.repeat(1_048_576) }] }))
            told += 1
          }
          throw new Error('gone')
        },
      },
      clock,
    )
    const { socket } = dial(path)
    socket.pause()
    socket.write(encodeLine({ request: 'list' }))
    await expect.poll(() => clock.waiting).toBeGreaterThan(1)
    await settle()
    await clock.advance(10_000)
    await expect.poll(() => gone).toBe(true)
    expect(told).toBeLessThan(5)
  })

  it('and vanishes while it is served disturbs nobody', async () => {
    const gate = held()
    let ended = false
    const { path, directory } = await served({
      list: async (_params, tell) => {
        await gate.wait()
        // What is sent before the server has heard of it goes nowhere, and is no error.
        while (await tell({ transactions: [] })) await settle()
        ended = true
        throw new Error('gone')
      },
    })
    const { socket } = dial(path)
    socket.write(encodeLine({ request: 'list' }))
    await expect.poll(() => gate.waiting).toBe(1)
    socket.destroy()
    gate.release()
    await expect.poll(() => ended).toBe(true)
    expect((await askLive(directory, 'drain', {}, options)).kind).toBe('answered')
  })

  it('in a crowd is refused at once, and served when the crowd is gone', async () => {
    const { path, directory } = await served()
    const crowd = Array.from({ length: 40 }, () => dial(path))
    await expect.poll(() => crowd.filter(({ heard }) => heard.closed).length).toBe(24)
    await expect(askLive(directory, 'drain', {}, options)).rejects.toMatchObject({
      code: 'COORDINATOR_UNREACHABLE',
    })
    for (const { socket } of crowd) socket.destroy()
    await expect
      .poll(() => askLive(directory, 'drain', {}, options).catch(() => undefined))
      .toMatchObject({ kind: 'answered' })
  })

  it('asks for a fifth long answer at a time is refused by name', async () => {
    const gate = held()
    const { directory } = await served({ drain: () => gate.wait().then(() => REPORT) })
    const four = Array.from({ length: 4 }, () => askLive(directory, 'drain', {}, options))
    await expect.poll(() => gate.waiting).toBe(4)
    await expect(askLive(directory, 'drain', {}, options)).rejects.toThrow('busy')
    gate.release()
    expect((await Promise.all(four)).map(({ kind }) => kind)).toEqual(four.map(() => 'answered'))
  })
})

describe('the place of the socket', () => {
  it('is its owner’s alone, also where everything is open to everyone', async () => {
    const directory = await folder()
    await chmod(directory, 0o777)
    const before = process.umask(0)
    try {
      const { path } = await served({}, systemClock, directory)
      expect((await stat(join(directory, 'live'))).mode & 0o777).toBe(0o700)
      expect((await stat(path)).mode & 0o777).toBe(0o600)
    } finally {
      process.umask(before)
    }
  })

  it('may be deeper than a socket’s path can say', async () => {
    const directory = join(await folder(), 'x'.repeat(120), 'y'.repeat(120))
    await mkdir(directory, { recursive: true })
    const before = await readdir(tmpdir())
    const { server, path } = await served({}, systemClock, directory)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await askLive(directory, 'drain', {}, options)).kind).toBe('answered')
    await server.close()
    await expect(stat(path)).rejects.toThrow('ENOENT')
    const links = (await readdir(tmpdir())).filter((name) => /^una-\w{6}$/.test(name))
    expect(links.filter((name) => !before.includes(name))).toEqual([])
  })

  it('takes over what a dead owner left, and what is no socket', async () => {
    const directory = await folder()
    await mkdir(join(directory, 'live'))
    await writeFile(join(directory, 'live', 'socket'), 'not a socket')
    expect(await askLive(directory, 'drain', {}, options)).toEqual({ kind: 'not-live' })
    await served({}, systemClock, directory)
    expect((await askLive(directory, 'drain', {}, options)).kind).toBe('answered')
  })

  it('is empty again when the coordinator has closed', async () => {
    const { directory, server } = await served()
    await server.close()
    expect(await readdir(join(directory, 'live'))).toEqual([])
    expect(await askLive(directory, 'drain', {}, options)).toEqual({ kind: 'not-live' })
  })
})

describe('a server that closes', () => {
  it('does not wait for an answer that never comes', async () => {
    const gate = held()
    const { directory, server } = await served({ drain: () => gate.wait().then(() => REPORT) })
    const asked = askLive(directory, 'drain', {}, options)
    const failed = expect(asked).rejects.toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
    await expect.poll(() => gate.waiting).toBe(1)
    await server.close()
    await failed
  })
})

describe('the client', () => {
  it('takes a missing directory for nobody', async () => {
    expect(await askLive('/nowhere/at/all', 'status', {}, options)).toEqual({ kind: 'not-live' })
  })

  it('does not take a coordinator that is silent for a dead one', async () => {
    const directory = await folder()
    await mkdir(join(directory, 'live'))
    const mute = createServer(() => undefined)
    await new Promise<void>((resolve) => {
      mute.listen(join(directory, 'live', 'socket'), () => resolve())
    })
    const clock = new VirtualClock()
    const asked = askLive(directory, 'status', {}, { clock })
    const failed = expect(asked).rejects.toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
    await expect.poll(() => clock.waiting).toBe(1)
    await clock.advance(10_000)
    await failed
    mute.close()
  })

  it('waits for as long as the coordinator says that it is at work', async () => {
    const clock = new VirtualClock()
    const gate = held()
    const { path } = await served({ drain: () => gate.wait().then(() => REPORT) }, clock)
    const { socket, heard } = dial(path)
    socket.write(encodeLine({ request: 'drain' }))
    await expect.poll(() => gate.waiting).toBe(1)
    for (let second = 0; second < 30; second += 2) await clock.advance(2_000)
    gate.release()
    await expect.poll(() => heard.closed).toBe(true)
    const lines = heard.text.trim().split('\n')
    expect(lines.filter((line) => line === '{"v":1,"alive":true}').length).toBeGreaterThanOrEqual(
      10,
    )
    expect(JSON.parse(lines.at(-1) ?? '')).toEqual({ v: 1, result: REPORT })
  })
})
