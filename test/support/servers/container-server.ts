/** A server in a container. Killed and started again, the container keeps its data and its port. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerRuntimeClient, StartedTestContainer } from 'testcontainers'
import type { ContainerPlan } from './container-plan.ts'
import type { Guarded } from './guard.ts'
import { guard } from './guard.ts'
import { identify } from './probe.ts'
import { recipeOf } from './recipe.ts'
import type { ContainerRemains } from './remains.ts'
import { tail } from './run.ts'
import type { Flavour, Server } from './server.ts'
import { messageOf } from './server.ts'

const READY_LIMIT_MS = 120_000
const POLL_MS = 50

type EngineContainer = ReturnType<ContainerRuntimeClient['container']['getById']>

interface Parts {
  readonly container: EngineContainer
  readonly guarded: Guarded
}

export class ContainerServer implements Server {
  readonly flavour: Flavour
  readonly source: string
  readonly url: string
  version = ''
  private readonly container: EngineContainer
  private readonly guarded: Guarded
  private isStopped = false

  private constructor(source: string, flavour: Flavour, url: string, parts: Parts) {
    this.source = source
    this.flavour = flavour
    this.url = url
    this.container = parts.container
    this.guarded = parts.guarded
  }

  static async start(
    image: string,
    plan: ContainerPlan,
    client: ContainerRuntimeClient,
    port: number,
  ): Promise<ContainerServer> {
    const { started, parts } = await startContainer(image, plan, client, port)
    const host = started.getHost() === 'localhost' ? '127.0.0.1' : started.getHost()
    const url = recipeOf(plan.flavour).url(plan.password, host, started.getMappedPort(plan.port))
    const server = new ContainerServer(`Docker (testcontainers) ${image}`, plan.flavour, url, parts)
    try {
      await server.ready()
    } catch (error) {
      await server.stop()
      throw error
    }
    return server
  }

  async kill(): Promise<void> {
    await this.container.kill()
    await this.container.wait()
  }

  async restart(): Promise<void> {
    if (this.isStopped) throw new Error('the server was stopped, and its data are gone')
    await this.container.start()
    await this.ready()
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await this.guarded.dispose()
  }

  async suspend(): Promise<void> {
    await this.container.pause()
  }

  async resume(): Promise<void> {
    await this.container.unpause()
  }

  private async ready(): Promise<void> {
    const deadline = Date.now() + READY_LIMIT_MS
    for (;;) {
      try {
        const { version } = await identify(this.url)
        this.version = version
        return
      } catch (error) {
        const isRunning = (await this.container.inspect()).State.Running
        if (!isRunning || Date.now() > deadline) {
          const reason = messageOf(error)
          throw new Error(`${this.source} did not start (${reason}):\n${await this.logTail()}`)
        }
      }
      await sleep(POLL_MS)
    }
  }

  private async logTail(): Promise<string> {
    const log = await this.container.logs({ stdout: true, stderr: true })
    return tail(textOf(log))
  }
}

/** The engine sends frames: a header of 8 bytes that ends in the length, and then text. */
function textOf(log: Buffer): string {
  let text = ''
  for (let at = 0; at + 8 <= log.length; ) {
    const end = at + 8 + log.readUInt32BE(at + 4)
    text += log.toString('utf8', at + 8, end)
    at = end
  }
  return text
}

/** The container is under guard from the moment it exists, before it runs. */
async function startContainer(
  image: string,
  plan: ContainerPlan,
  client: ContainerRuntimeClient,
  port: number,
): Promise<{ started: StartedTestContainer; parts: Parts }> {
  const { GenericContainer, Wait } = await import('testcontainers')
  const isHere = client.info.containerRuntime.host === 'localhost'
  const created: Parts[] = []

  class GuardedContainer extends GenericContainer {
    protected override async beforeContainerCreated(): Promise<void> {
      // The engine would listen on all addresses.
      const binding = { HostPort: String(port), ...(isHere ? { HostIp: '127.0.0.1' } : {}) }
      this.hostConfig.PortBindings = { [`${plan.port}/tcp`]: [binding] }
    }
    protected override async containerCreated(id: string): Promise<void> {
      const container = client.container.getById(id)
      created.push({
        container,
        guarded: guard({ container: { id, engine: engineOf(container) } }),
      })
    }
  }

  const definition = new GuardedContainer(image)
    .withAutoCleanup(false)
    .withExposedPorts({ container: plan.port, host: port })
    .withEnvironment(plan.environment)
    .withCommand(plan.command)
    // A login through TCP is the only sign that counts, and we look for it ourselves.
    .withWaitStrategy(Wait.forAll([]))
  try {
    const started = await definition.start()
    const [parts] = created
    if (parts === undefined) throw new Error('testcontainers did not tell of its container')
    return { started, parts }
  } catch (error) {
    await Promise.all(created.map(({ guarded }) => guarded.dispose()))
    throw error
  }
}

/** How the client that testcontainers chose reaches its engine. */
function engineOf(container: EngineContainer): ContainerRemains['engine'] {
  const { socketPath, host, port, protocol } = container.modem as Record<string, unknown>
  if (typeof socketPath === 'string') return { socketPath }
  if (typeof host === 'string' && protocol !== 'https') return { host, port: Number(port) }
  throw new Error('an engine behind TLS is not supported: set URLs of running servers instead')
}
