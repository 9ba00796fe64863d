/**
 * Maven, and the processes in which the peers of the JVM run. Each has one: Narayana's store is chosen
 * once a process.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))

/** The same heap for each, all of it from the start. */
const HEAP = ['-Xms512m', '-Xmx512m']

/** Compiles the peers. @returns what is missing for that, in words; `undefined` when all is there. */
export function buildPeers(report: (line: string) => void): string | undefined {
  for (const tool of ['mvn', 'java']) {
    if (spawnSync(tool, ['-version']).error !== undefined) {
      return `no \`${tool}\` on this machine: the peers need Maven and Java 17 or newer`
    }
  }
  report('peers: building with Maven (the first time it fetches them)')
  const goals = ['compile', 'dependency:copy-dependencies', '-DincludeScope=runtime']
  const { status, stdout } = spawnSync('mvn', ['-q', '-B', ...goals], { cwd: here })
  return status === 0 ? undefined : `Maven could not build the peers:\n${String(stdout)}`
}

export class PeerProcess {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string, undefined>

  private constructor(child: ChildProcess, answers: AsyncIterator<string, undefined>) {
    this.#child = child
    this.#answers = answers
  }

  /** @param words - what Main.java takes */
  static async start(words: readonly string[]): Promise<PeerProcess> {
    const classes = `${here}target/classes:${here}target/dependency/*`
    const child = spawn('java', [...HEAP, '-cp', classes, 'peers.Main', ...words], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    // Greetings of libraries; told when it ends before it answers.
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString()}`.slice(-4_000)
    })
    child.on('exit', (code) => {
      if (code !== 0) console.error(`${words[0]} ended with ${code}:\n${said}`)
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
