/** A server that somebody else runs: its URL is in the environment. We never end or harm it. */
import { identify } from './probe.ts'
import type { Flavour, Provider, Server, Wish } from './server.ts'
import { messageOf, Unavailable } from './server.ts'

const VARIABLES: Readonly<Record<Flavour, string>> = {
  postgres: 'UNANIMOUS_POSTGRES_URL',
  mariadb: 'UNANIMOUS_MYSQL_URL',
  mysql: 'UNANIMOUS_MYSQL_URL',
}

export const environment: Provider = {
  name: 'environment',
  async start(wish: Wish): Promise<Server> {
    const variable = VARIABLES[wish.flavours[0] ?? 'postgres']
    const url = process.env[variable]
    if (!url)
      throw new Unavailable(`${variable} is not set`, `${variable}=<url of a running server>`)
    try {
      return foreignServer(url, variable, await identify(url))
    } catch (error) {
      throw new Unavailable(`the server of ${variable} does not answer: ${messageOf(error)}`)
    }
  },
}

function foreignServer(
  url: string,
  variable: string,
  identity: { flavour: Flavour; version: string },
): Server {
  const refuse = async (): Promise<never> => {
    throw new Error(`the server of ${variable} is not ours to kill, restart or suspend`)
  }
  return {
    ...identity,
    source: `environment (${variable})`,
    url,
    kill: refuse,
    restart: refuse,
    suspend: refuse,
    resume: refuse,
    stop: async () => undefined,
  }
}
