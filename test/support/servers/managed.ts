/**
 * A server process of ours: data in a temporary folder, copied from an initialised, empty one in
 * the cache (a copy takes a fraction of an initialisation).
 *
 * Invariants: the folder and the process are under guard from before they exist, so that nothing
 * outlives this process; the port stays the server's own over a restart.
 */
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Account } from './account.ts'
import { canReach, serverAccount } from './account.ts'
import type { Build } from './build.ts'
import { buildKey } from './build.ts'
import { cached } from './cache.ts'
import type { Guarded } from './guard.ts'
import { guard } from './guard.ts'
import { freePort } from './port.ts'
import type { Identity } from './probe.ts'
import { identify } from './probe.ts'
import { killTree, signalTree, stopTree } from './process-tree.ts'
import { recipeOf } from './recipe.ts'
import { run, tail } from './run.ts'
import type { Flavour, Report, Server, Wish } from './server.ts'
import { messageOf } from './server.ts'

const READY_LIMIT_MS = 60_000
const POLL_MS = 25
/** Somebody else may take a port between our look and the server's bind. */
const PORT_TRIES = 3

export async function startManaged(
  build: Build,
  report: Report,
  { fresh, settings }: Pick<Wish, 'fresh' | 'settings'>,
): Promise<Server> {
  const account = await serverAccount()
  const folder = temporaryFolder(account)
  const guarded = guard({ folder })
  try {
    const password =
      fresh === true
        ? await initialise(build, folder, account)
        : await copyTemplate(await templateOf(build, account, report), folder, account)
    return await launch({ build, account, folder, password, guarded, settings })
  } catch (error) {
    await guarded.dispose()
    throw error
  }
}

async function launch(place: Place): Promise<ManagedServer> {
  for (let attempt = 1; ; attempt += 1) {
    const server = new ManagedServer(place, await freePort())
    try {
      await server.launch()
      return server
    } catch (error) {
      const taken = /address already in use/i.test(messageOf(error))
      if (!taken || attempt === PORT_TRIES) throw error
    }
  }
}

async function copyTemplate(
  template: string,
  folder: string,
  account: Account | undefined,
): Promise<string> {
  await run(['cp', '-R', join(template, 'data'), join(folder, 'data')], { account })
  return readFileSync(join(template, 'password'), 'utf8')
}

/** An initialised data folder with the superuser's password beside it, owned by the account. */
function templateOf(build: Build, account: Account | undefined, report: Report): Promise<string> {
  const owner = account === undefined ? '' : `-${account.uid}`
  return cached(`templates/${buildKey(build)}${owner}`, async (folder) => {
    report(`initialising ${build.flavour} (${build.source})`)
    giveTo(account, folder)
    await initialise(build, folder, account)
  })
}

/** @returns the superuser's new password. */
async function initialise(
  build: Build,
  folder: string,
  account: Account | undefined,
): Promise<string> {
  const password = randomBytes(16).toString('hex')
  writeFileSync(join(folder, 'password'), password, { mode: 0o600 })
  giveTo(account, join(folder, 'password'))
  await recipeOf(build.flavour).initialise(build, { folder, password, account })
  return password
}

function temporaryFolder(account: Account | undefined): string {
  const parent = [tmpdir(), '/tmp', '/var/tmp'].find((path) => canReach(path, account))
  if (parent === undefined) throw new Error(`the servers' account cannot reach ${tmpdir()}`)
  const folder = mkdtempSync(join(parent, 'unanimous-'))
  giveTo(account, folder)
  return folder
}

function giveTo(account: Account | undefined, path: string): void {
  if (account !== undefined) chownSync(path, account.uid, account.gid)
}

/** Where a server lives, over all its restarts. */
interface Place {
  readonly build: Build
  readonly account: Account | undefined
  readonly folder: string
  readonly password: string
  readonly guarded: Guarded
  readonly settings: readonly string[] | undefined
}

/** One life of the server's process. */
interface Life {
  readonly pid: number
  hasEnded: boolean
  /** Resolves when the process has ended and was reaped: MySQL takes a zombie for a living owner. */
  waitForEnd(): Promise<void>
}

class ManagedServer implements Server {
  readonly flavour: Flavour
  readonly source: string
  readonly url: string
  version = ''
  private readonly place: Place
  private readonly port: number
  private life: Life | undefined
  private isStopped = false

  constructor(place: Place, port: number) {
    this.place = place
    this.port = port
    this.flavour = place.build.flavour
    this.source = place.build.source
    this.url = recipeOf(place.build.flavour).url(place.password, '127.0.0.1', port)
  }

  /** Starts the process and waits until the server answers. */
  async launch(): Promise<void> {
    const life = this.spawn()
    this.life = life
    this.place.guarded.update({ folder: this.place.folder, pid: life.pid })
    const identity = await this.ready(life)
    this.version = identity.version
  }

  async kill(): Promise<void> {
    const life = this.running()
    await killTree(life.pid)
    await life.waitForEnd()
  }

  async restart(): Promise<void> {
    if (this.isStopped) throw new Error('the server was stopped, and its data are gone')
    if (this.life?.hasEnded === false) throw new Error('the server runs: kill() it first')
    await this.launch()
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await this.place.guarded.dispose()
    await this.life?.waitForEnd()
  }

  async suspend(): Promise<void> {
    await stopTree(this.running().pid)
  }

  async resume(): Promise<void> {
    signalTree(this.running().pid, 'SIGCONT')
  }

  private running(): Life {
    if (this.life === undefined || this.life.hasEnded) throw new Error('the server does not run')
    return this.life
  }

  private spawn(): Life {
    const { build, account, folder, settings } = this.place
    const [file = '', ...args] = recipeOf(build.flavour).command(build, folder, this.port, settings)
    const log = openSync(this.logPath(), 'a')
    const child = spawn(file, args, {
      cwd: folder,
      // A session of its own: Ctrl-C in a terminal is for us, and the guardian ends the server.
      detached: true,
      env: { ...process.env, ...build.env },
      stdio: ['ignore', log, log],
      ...account,
    })
    closeSync(log)
    child.unref()
    return lifeOf(child)
  }

  private async ready(life: Life): Promise<Identity> {
    const deadline = Date.now() + READY_LIMIT_MS
    for (;;) {
      try {
        return await identify(this.url)
      } catch (error) {
        if (life.hasEnded) throw new Error(`${this.flavour} did not start:\n${this.logTail()}`)
        if (Date.now() > deadline) {
          throw new Error(
            `${this.flavour} does not answer (${messageOf(error)}):\n${this.logTail()}`,
          )
        }
      }
      await sleep(POLL_MS)
    }
  }

  private logPath(): string {
    return join(this.place.folder, 'log')
  }

  private logTail(): string {
    return tail(readFileSync(this.logPath(), 'utf8'))
  }
}

function lifeOf(child: ChildProcess): Life {
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      life.hasEnded = true
      resolve()
    }
    child.once('exit', end)
    child.once('error', end)
  })
  const life: Life = {
    pid: child.pid ?? 0,
    hasEnded: false,
    async waitForEnd() {
      // Nothing else may keep this process alive until the news arrives.
      child.ref()
      await ended
    },
  }
  return life
}
