/** Child processes of the demo: the worker, and the command line tool. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { WorkerLine } from '../worker.ts'

export type Environment = Readonly<Record<string, string>>

const HERE = fileURLToPath(new URL('..', import.meta.url))
const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const WORKER = fileURLToPath(new URL('../worker.ts', import.meta.url))

const running: Set<ChildProcess> = new Set()
let over = false

function start(script: string, words: readonly string[], env: Environment): ChildProcess {
  // A coordinator that began now would make its log's directory anew, behind the cleaning up.
  if (over) throw new Error('the demo is over')
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...words], {
    cwd: HERE,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

/** SIGKILL to whatever still runs; nothing is started any more. */
export function killChildren(): void {
  over = true
  for (const child of running) child.kill('SIGKILL')
}

export interface CliAnswer {
  readonly code: number | null
  readonly output: string
}

/** Runs `unanimous <words>` where its configuration is. */
export async function runCli(words: readonly string[], env: Environment): Promise<CliAnswer> {
  const child = start(CLI, words, env)
  child.stdin?.end()
  const [out, err] = await Promise.all([read(child.stdout), read(child.stderr), ended(child)])
  return { code: child.exitCode, output: out + err }
}

/** A worker process and what it has said. */
export class Worker {
  readonly #child: ChildProcess
  readonly #heard: WorkerLine[] = []
  readonly #listeners: Set<() => void> = new Set()
  readonly #ended: Promise<void>
  #errors = ''
  #hasEnded = false

  constructor(env: Environment) {
    const child = start(WORKER, [], env)
    this.#child = child
    // A worker that dies takes its end of the pipe with it.
    child.stdin?.on('error', () => undefined)
    const errors = read(child.stderr)
    const lines = child.stdout === null ? undefined : createInterface(child.stdout)
    lines?.on('line', (line) => {
      this.#heard.push(JSON.parse(line) as WorkerLine)
      this.#notify()
    })
    const drained = lines === undefined ? Promise.resolve() : once(lines, 'close')
    this.#ended = Promise.all([ended(child), drained, errors]).then(([, , said]) => {
      this.#errors = said
      this.#hasEnded = true
      this.#notify()
    })
  }

  get heard(): readonly WorkerLine[] {
    return this.#heard
  }

  /** Resolves with the first line of this kind. @throws when the worker ended without it */
  async until<E extends WorkerLine['event']>(
    event: E,
  ): Promise<Extract<WorkerLine, { readonly event: E }>> {
    for (;;) {
      const line = this.#heard.find((each) => each.event === event)
      if (line !== undefined) return line as Extract<WorkerLine, { readonly event: E }>
      if (this.#hasEnded) throw new Error(`the worker ended before "${event}":\n${this.#errors}`)
      await new Promise<void>((resolve) => this.#listeners.add(resolve))
    }
  }

  /** Resolves when it was killed. @throws when it ended in any other way */
  async killed(): Promise<void> {
    await this.#ended
    if (this.#child.signalCode === 'SIGKILL') return
    throw new Error(
      `the worker was not killed, it ended with ${this.#child.exitCode}:\n${this.#errors}`,
    )
  }

  /** Tells a waiting worker to end. @throws when it does not end in order */
  async finish(): Promise<void> {
    this.#child.stdin?.end()
    await this.#ended
    if (this.#child.exitCode === 0) return
    throw new Error(`the worker ended with ${this.#child.exitCode}:\n${this.#errors}`)
  }

  #notify(): void {
    for (const listener of this.#listeners) listener()
    this.#listeners.clear()
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function read(stream: NodeJS.ReadableStream | null): Promise<string> {
  return stream === null ? '' : text(stream)
}
