/** Loopback ports for servers. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

const LOWEST = 15_000
const DEFAULT_EPHEMERAL = 32_768

/**
 * A port that is free now, below the range from which the system draws the local ports of outgoing
 * connections: a client that retries against a killed server could else be given the server's own
 * port, connect to itself, and keep the server from coming back.
 */
export async function freePort(): Promise<number> {
  const width = Math.max(lowestEphemeral() - LOWEST, 1000)
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * width)
    if (await isFree(port)) return port
  }
}

function lowestEphemeral(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10)
  } catch {
    return DEFAULT_EPHEMERAL
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      server.close(() => resolve(true))
    })
  })
}
