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
  /** From now on each direction takes so much longer. */
  slow(delayMs: number): void
  close(): Promise<void>
}

export async function wireTo(url: string, delayMs = 0): Promise<Wire> {
  let addedMs = delayMs
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let trips = 0
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: Number(target.port), host: target.hostname, noDelay: true })
    let spoke: 'client' | 'server' = 'server'
    client.on('data', (chunk) => {
      if (spoke === 'server') trips += 1
      spoke = 'client'
      later(addedMs, () => upstream.write(chunk))
    })
    upstream.on('data', (chunk) => {
      spoke = 'server'
      later(addedMs, () => client.write(chunk))
    })
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        later(addedMs, () => other.destroy())
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
    slow: (ms) => {
      addedMs = ms
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
