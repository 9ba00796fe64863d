/**
 * A server in a container, through testcontainers.
 *
 * Invariants: an engine that does not answer is given up within a second; an image that can be
 * neither found nor pulled is a reason to look elsewhere, not an error; containers are removed by our
 * guardian, so that Ryuk (an image to pull, with the engine's socket inside) is not needed. The host
 * port is fixed, because Docker would draw another at each restart.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { ContainerRuntimeClient } from 'testcontainers'
import type { ContainerPlan } from './container-plan.ts'
import { planFor } from './container-plan.ts'
import { ContainerServer } from './container-server.ts'
import { freePort } from './port.ts'
import type { Flavour, Provider, Report, Server, Wish } from './server.ts'
import { messageOf, Unavailable } from './server.ts'

const ANSWER_LIMIT_MS = 800

const IMAGES: Readonly<Record<Flavour, { variable: string; name: string; version: string }>> = {
  postgres: { variable: 'UNANIMOUS_POSTGRES_IMAGE', name: 'postgres', version: '18' },
  mariadb: { variable: 'UNANIMOUS_MARIADB_IMAGE', name: 'mariadb', version: '11.8' },
  mysql: { variable: 'UNANIMOUS_MYSQL_IMAGE', name: 'mysql', version: '9' },
}

interface Image {
  readonly flavour: Flavour
  readonly name: string
  readonly isLocal: boolean
}

export const docker: Provider = {
  name: 'Docker',
  async start(wish, report) {
    const client = await engine()
    const refusals: string[] = []
    for (const image of await imagesFor(wish, client)) {
      try {
        await pullIfMissing(image, client, report)
      } catch (error) {
        refusals.push(messageOf(error))
        continue
      }
      return await startImage(image, client)
    }
    throw new Unavailable(refusals.join('; '), `docker pull ${defaultImage(wish)}`)
  },
}

async function engine(): Promise<ContainerRuntimeClient> {
  const address = engineAddress()
  if (address === undefined) {
    throw new Unavailable('no engine on this machine', 'start a Docker engine')
  }
  if (!(await answers(address))) {
    throw new Unavailable(`the engine at ${address} does not answer`, 'start the Docker engine')
  }
  const { getContainerRuntimeClient } = await import('testcontainers')
  return await getContainerRuntimeClient()
}

/** Where testcontainers would look, and in its order. */
function engineAddress(): string | undefined {
  const { DOCKER_HOST, XDG_RUNTIME_DIR } = process.env
  if (DOCKER_HOST) return DOCKER_HOST
  const sockets = [
    '/var/run/docker.sock',
    ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, 'docker.sock')] : []),
    join(homedir(), '.docker', 'run', 'docker.sock'),
    join(homedir(), '.docker', 'desktop', 'docker.sock'),
    `/run/user/${userInfo().uid}/docker.sock`,
  ]
  const found = sockets.find((path) => existsSync(path))
  return found === undefined ? undefined : `unix://${found}`
}

function answers(address: string): Promise<boolean> {
  const { protocol, hostname, port, pathname } = new URL(address)
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ANSWER_LIMIT_MS)
    const settle = (isUp: boolean): void => {
      clearTimeout(timer)
      resolve(isUp)
    }
    if (protocol === 'unix:') {
      const call = request({ socketPath: pathname, path: '/_ping' }, (answer) => {
        answer.resume()
        settle(answer.statusCode === 200)
      })
      call.on('error', () => settle(false))
      call.end()
      return
    }
    const socket = connect({ host: hostname, port: Number(port) || 2375 })
    socket.once('connect', () => {
      socket.destroy()
      settle(true)
    })
    socket.once('error', () => settle(false))
  })
}

/** The images that may do, those that need no pull first. */
async function imagesFor(wish: Wish, client: ContainerRuntimeClient): Promise<Image[]> {
  const images: Image[] = []
  for (const flavour of wish.flavours) {
    const { variable, name, version } = IMAGES[flavour]
    const image = process.env[variable] || `${name}:${wish.version ?? version}`
    images.push({ flavour, name: image, isLocal: await isLocal(image, client) })
  }
  return images.sort((a, b) => Number(b.isLocal) - Number(a.isLocal))
}

async function isLocal(name: string, client: ContainerRuntimeClient): Promise<boolean> {
  const { ImageName } = await import('testcontainers')
  return client.image.exists(ImageName.fromString(name))
}

async function pullIfMissing(
  { name, isLocal: isHere }: Image,
  client: ContainerRuntimeClient,
  report: Report,
): Promise<void> {
  if (isHere) return
  report(`pulling the image ${name}`)
  const { ImageName } = await import('testcontainers')
  try {
    await client.image.pull(ImageName.fromString(name))
  } catch (error) {
    throw new Unavailable(`the image ${name} is not here and cannot be pulled: ${messageOf(error)}`)
  }
  // A pull that fails half-way ends its progress without an error.
  if (!(await isLocal(name, client))) throw new Unavailable(`the image ${name} cannot be pulled`)
}

function defaultImage(wish: Wish): string {
  const { name, version } = IMAGES[wish.flavours[0] ?? 'postgres']
  return `${name}:${wish.version ?? version}`
}

async function startImage(image: Image, client: ContainerRuntimeClient): Promise<Server> {
  const { ImageName } = await import('testcontainers')
  const { Config } = await client.image.inspect(ImageName.fromString(image.name))
  const isOfficial = Config.Entrypoint !== undefined && Config.Entrypoint !== null
  const plan: ContainerPlan = planFor(image.flavour, isOfficial, randomBytes(16).toString('hex'))
  return await ContainerServer.start(image.name, plan, client, await freePort())
}
