/**
 * A user's project with the library installed as its package would be: compiled, under node_modules,
 * found by its public names. The command line runs in it as a process of its own, and so does an
 * application that can be killed at any point of the protocol.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { mustRun } from '../../scripts/run-command.ts'
import { ROOT } from '../../scripts/source-tree.ts'

export interface CliResult {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** An application that has reached the point of the protocol at which it was told to stop. */
export interface StoppedApplication {
  readonly pid: number
  kill(): Promise<void>
}

export interface CliProject {
  readonly folder: string
  /** The command line's file, for a shell. */
  readonly main: string
  write(name: string, text: string): Promise<void>
  cli(...args: readonly string[]): Promise<CliResult>
  /** As on a terminal, with colours. */
  coloured(...args: readonly string[]): Promise<CliResult>
  /** As a user whom permissions bind, the tests' own user too when that is root. */
  bound(...args: readonly string[]): Promise<CliResult>
  /** Runs a program of the project. */
  node(...args: readonly string[]): Promise<CliResult>
  /** Starts the command line and leaves the rest to the caller. */
  spawnCli(...args: readonly string[]): ChildProcess
  /** Runs one transaction until SIGKILL at the point. */
  crashAt(point: string): Promise<void>
  /** Runs one transaction until the point, and stays there. */
  stopAt(point: string): Promise<StoppedApplication>
}

const APPLICATION = `
import { Coordinator } from 'unanimous'
import config from './unanimous.config.mjs'

const [mode, point] = process.argv.slice(2)
const failpoints = (name) => {
  if (name !== point) return undefined
  if (mode === 'crash') process.kill(process.pid, 'SIGKILL')
  process.stdout.write('stopped\\n')
  return new Promise(() => undefined)
}
setInterval(() => undefined, 60_000)
const { log, participants } = config
const coordinator = await Coordinator.open({ log, participants, seams: { failpoints } })
await coordinator.transaction(async (tx) => {
  await tx.ledger.query('insert into entry (note) values ($1)', ['from ' + tx.gtrid])
  await tx.shop.query('insert into entry (note) values (?)', ['from ' + tx.gtrid])
}, { name: 'transfer', meta: { transferId: 'T-8841' } })
process.exit(0)
`

/** What a pipe gives: the command line decides by its stream. */
const NO_COLOURS: NodeJS.ProcessEnv = { NO_COLOR: undefined, FORCE_COLOR: undefined }
const COLOURS: NodeJS.ProcessEnv = { NO_COLOR: undefined, FORCE_COLOR: '1' }

/** Call at the top of a test file. Removed after it. */
export async function cliProject(): Promise<CliProject> {
  const parent = existsSync('/var/tmp') ? '/var/tmp' : tmpdir()
  const folder = await mkdtemp(join(parent, 'unanimous-cli-'))
  const running = new Set<ChildProcess>()
  afterAll(async () => {
    await Promise.all([...running].map((child) => kill(child)))
    await rm(folder, { recursive: true, force: true })
  })
  await install(folder)
  await writeFile(join(folder, 'application.mjs'), APPLICATION)

  const run = (words: readonly string[], env: NodeJS.ProcessEnv = NO_COLOURS): ChildProcess => {
    const [command = '', ...args] = words
    const child = spawn(command, args, {
      cwd: folder,
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    running.add(child)
    child.once('exit', () => running.delete(child))
    return child
  }
  const start = (args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess =>
    run([process.execPath, ...args], env)
  const main = join(folder, 'node_modules/unanimous/dist/src/cli/main.js')
  return {
    folder,
    main,
    write: (name, text) => writeFile(join(folder, name), text),
    cli: (...args) => collect(start([main, ...args])),
    coloured: (...args) => collect(start([main, ...args], COLOURS)),
    bound: (...args) =>
      collect(run([...boundBy(process.getuid?.()), process.execPath, main, ...args])),
    node: (...args) => collect(start(args)),
    spawnCli: (...args) => start([main, ...args]),
    async crashAt(point) {
      const child = start(['application.mjs', 'crash', point])
      const { err } = await collect(child)
      if (child.signalCode !== 'SIGKILL') throw new Error(`it was not killed at ${point}: ${err}`)
    },
    async stopAt(point) {
      const child = start(['application.mjs', 'stop', point])
      await new Promise<void>((resolve, reject) => {
        child.stdout?.once('data', () => resolve())
        child.once('exit', () => reject(new Error(`it did not stop at ${point}`)))
      })
      return { pid: child.pid ?? 0, kill: () => kill(child) }
    },
  }
}

/** The superuser reads what it may not, unless these capabilities are taken from it (util-linux). */
function boundBy(user: number | undefined): readonly string[] {
  return user === 0 ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : []
}

async function install(folder: string): Promise<void> {
  const modules = join(folder, 'node_modules')
  const ours = join(modules, 'unanimous')
  await mkdir(ours, { recursive: true })
  await mustRun('tsc', ['-p', 'tsconfig.build.json', '--outDir', join(ours, 'dist')])
  await copyFile(join(ROOT, 'package.json'), join(ours, 'package.json'))
  await symlink(join(ROOT, 'node_modules'), join(ours, 'node_modules'))
  for (const driver of ['pg', 'mysql2']) {
    await symlink(join(ROOT, 'node_modules', driver), join(modules, driver))
  }
}

export async function collect(child: ChildProcess): Promise<CliResult> {
  let out = ''
  let err = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, out, err }
}

function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}
