/**
 * What the peers are made with, and the processes in which they run. Each has one: Narayana's store is
 * chosen once a process.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Of the program that a peer runs in, up to its own words. */
export type Program = readonly [string, ...string[]]
/** How to run it, or what is missing for that, in words. */
export type Built = { readonly program: Program } | { readonly missing: string }

/** Compiles what runs on the JVM; Maven fetches what it needs the first time. */
export function buildJvm(): Built {
  const missing = ['mvn', 'java'].find((tool) => spawnSync(tool, ['-version']).error !== undefined)
  if (missing !== undefined) {
    return { missing: `no \`${missing}\` on this machine: Maven and Java 17 or newer are needed` }
  }
  const goals = ['compile', 'dependency:copy-dependencies', '-DincludeScope=runtime']
  const { status, stdout } = spawnSync('mvn', ['-q', '-B', ...goals], { cwd: here })
  if (status !== 0) return { missing: `Maven could not build them:\n${String(stdout)}` }
  const classes = `${here}target/classes:${here}target/dependency/*`
  // The same heap for each, all of it from the start.
  return { program: ['java', '-Xms512m', '-Xmx512m', '-cp', classes, 'peers.Main'] }
}

/** Makes a virtual environment; pip fetches what it needs the first time. */
export function buildPython(): Built {
  const environment = `${here}target/python`
  const steps: readonly Program[] = [
    ['python3', '-m', 'venv', environment],
    [`${environment}/bin/pip`, 'install', '-q', '-r', `${here}python/requirements.txt`],
  ]
  for (const [tool, ...words] of steps) {
    const { error, status, stderr } = spawnSync(tool, words)
    if (error !== undefined) return { missing: `no \`${tool}\` on this machine` }
    if (status !== 0) return { missing: `${tool} failed:\n${String(stderr)}` }
  }
  return { program: [`${environment}/bin/python`, `${here}python/session.py`] }
}

export class PeerProcess {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string, undefined>

  private constructor(child: ChildProcess, answers: AsyncIterator<string, undefined>) {
    this.#child = child
    this.#answers = answers
  }

  static async start([tool, ...words]: Program): Promise<PeerProcess> {
    const child = spawn(tool, words, { stdio: ['pipe', 'pipe', 'pipe'] })
    // Greetings of libraries; told when it ends before it is asked to.
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString()}`.slice(-4_000)
    })
    child.on('exit', (code) => {
      if (code !== 0) console.error(`${tool} ended with ${code}:\n${said}`)
    })
    const lines = createInterface({ input: child.stdout })
    const peer = new PeerProcess(child, lines[Symbol.asyncIterator]())
    await peer.#answer()
    return peer
  }

  /** @returns what it answers, a line of JSON. */
  async ask(...command: readonly (string | number)[]): Promise<Readonly<Record<string, number>>> {
    this.#child.stdin?.write(`${command.join(' ')}\n`)
    return await this.#answer()
  }

  /** Closes its pools and its log, and ends. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.stdin?.end()
    await gone
  }

  async #answer(): Promise<Readonly<Record<string, number>>> {
    const { value } = await this.#answers.next()
    if (value === undefined) throw new Error('a peer has ended')
    return JSON.parse(value) as Readonly<Record<string, number>>
  }
}
