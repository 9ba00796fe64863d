/** A way to a server that can be shut: a database that is down, for those who come through here. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface Door {
  /** The URL that leads through the door. */
  readonly url: string
  /** Breaks every connection, and refuses new ones. */
  shut(): Promise<void>
  /** Lets through again, under the same URL. */
  open(): Promise<void>
}

/** An open door to the server behind the URL. */
export async function doorTo(url: string): Promise<Door> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const make = (): Server =>
    createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname)
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(socket)
        socket.on('error', () => undefined)
        socket.on('close', () => {
          sockets.delete(socket)
          other.destroy()
        })
        socket.pipe(other)
      }
    })
  const listen = (server: Server, port: number): Promise<Server> =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => resolve(server))
    })
  let server = await listen(make(), 0)
  const { port } = server.address() as AddressInfo
  const through = new URL(url)
  through.host = `127.0.0.1:${port}`
  return {
    url: through.href,
    async shut() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
    async open() {
      server = await listen(make(), port)
    },
  }
}
