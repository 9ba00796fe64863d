/**
 * A wire between a pool and its server that counts trips and, when asked, makes each direction
 * slower. A trip begins when the client speaks after the server did.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Wire {
  /** The server's URL, through the wire. */
  readonly url: string
  /** Trips since the last call. */
  takeTrips(): number
  close(): Promise<void>
}

export async function wireTo(url: string, delayMs: number): Promise<Wire> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let trips = 0
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: Number(target.port), host: target.hostname, noDelay: true })
    let spoke: 'client' | 'server' = 'server'
    client.on('data', (chunk) => {
      if (spoke === 'server') trips += 1
      spoke = 'client'
      later(delayMs, () => upstream.write(chunk))
    })
    upstream.on('data', (chunk) => {
      spoke = 'server'
      later(delayMs, () => client.write(chunk))
    })
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        later(delayMs, () => other.destroy())
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const through = new URL(url)
  through.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: through.href,
    takeTrips: () => {
      const taken = trips
      trips = 0
      return taken
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Timers of one length fire in the order in which they were set, so no byte overtakes another. */
function later(delayMs: number, run: () => void): void {
  if (delayMs === 0) run()
  else setTimeout(run, delayMs)
}
