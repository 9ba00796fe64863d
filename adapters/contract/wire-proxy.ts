/**
 * A TCP proxy between a driver and its server that cuts the connection at a chosen message: the
 * client's packet is found by a text in it, and either never arrives, or arrives and is carried out
 * while the client hears nothing.
 */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'

export type CutPoint =
  /** The message never reaches the server. */
  | 'before'
  /** The server carries the message out; its answer is lost. */
  | 'after'

export interface WireProxy {
  readonly port: number
  /** Cuts the first connection whose client sends this text. One cut at a time. */
  cut(text: string, when: CutPoint): void
  /** Resolves when a cut has happened; after a cut `after`, when the server has answered. */
  cutDone(): Promise<void>
  /** Closes every connection, as a server that goes away does. */
  dropAll(): void
  /** While stalled nothing passes, on old connections and new ones, and nobody is told. */
  stall(stalled: boolean): void
  close(): Promise<void>
}

export async function wireProxy(host: string, port: number): Promise<WireProxy> {
  const sockets = new Set<Socket>()
  let armed: { text: string; when: CutPoint; done: () => void } | undefined
  let done: Promise<void> = Promise.resolve()
  let stalled = false

  const server = createServer((client) => {
    const upstream = dial(port, host)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    upstream.on('data', (chunk) => {
      if (!stalled) client.write(chunk)
    })
    client.on('data', (chunk) => {
      if (stalled) return
      if (armed === undefined || !chunk.includes(armed.text)) {
        upstream.write(chunk)
        return
      }
      const { when, done: finished } = armed
      armed = undefined
      if (when === 'before') {
        upstream.destroy()
        client.destroy()
        finished()
        return
      }
      client.removeAllListeners('close')
      upstream.removeAllListeners('data')
      client.destroy()
      sockets.delete(client)
      upstream.once('data', () => {
        upstream.destroy()
        finished()
      })
      upstream.write(chunk)
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    cut(text, when) {
      done = new Promise((resolve) => {
        armed = { text, when, done: resolve }
      })
    },
    cutDone: () => done,
    dropAll() {
      for (const socket of sockets) socket.destroy()
    },
    stall(now) {
      stalled = now
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
