/**
 * A program that is asked by lines on its standard input, and answers each by a line of JSON. Whatever
 * is compared runs in one of its own: what one contender asks of Node.js (each `AsyncLocalStorage` of
 * Node.js 20 makes every promise of its process dearer) is not paid by another.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** The command and its words. */
export type Program = readonly [string, ...string[]]

export class LineProcess {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string, undefined>

  private constructor(child: ChildProcess, answers: AsyncIterator<string, undefined>) {
    this.#child = child
    this.#answers = answers
  }

  /** @returns once it has said its first line: it is ready */
  static async start([tool, ...words]: Program): Promise<LineProcess> {
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
    const started = new LineProcess(child, lines[Symbol.asyncIterator]())
    await started.#answer()
    return started
  }

  /** @returns what it answers, a line of JSON, which the caller knows the form of */
  async ask<Answer>(...command: readonly (string | number)[]): Promise<Answer> {
    this.#child.stdin?.write(`${command.join(' ')}\n`)
    return (await this.#answer()) as Answer
  }

  /** Closes its pools and its log, and ends. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.stdin?.end()
    await gone
  }

  async #answer(): Promise<unknown> {
    const { value } = await this.#answers.next()
    if (value === undefined) throw new Error('a contender has ended')
    return JSON.parse(value)
  }
}
