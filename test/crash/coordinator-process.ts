/**
 * A coordinator in a process of its own, which can be killed: test/crash/child.ts, bundled so that a
 * new one starts in a tenth of a second.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { ACCOUNTS_URL, WALLETS_URL } from '../../examples/transfer/environment.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Nothing that works takes so long, on a loaded machine either. */
const LIMIT_MS = 30_000

export interface Bundle {
  readonly path: string
  remove(): void
}

/** Bundles a program with the library's sources as they are now. @param program - from `test` */
export async function bundle(program: string): Promise<Bundle> {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-child-'))
  const path = join(folder, 'child.cjs')
  await build({
    entryPoints: [join(ROOT, 'test', program)],
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['pg-native'],
    tsconfig: join(ROOT, 'tsconfig.json'),
    logLevel: 'error',
  })
  return { path, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** @param C - what it is told, @param S - what it says: a line of JSON each */
export class CoordinatorProcess<C extends object, S extends { readonly event: string }> {
  readonly said: S[] = []
  readonly exited: Promise<void>
  readonly #child: ChildProcess
  #errors = ''
  #ended = false
  #read = 0
  #heard: () => void = () => undefined

  constructor(path: string, env: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, [path], {
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child = child
    child.stdin.on('error', () => undefined)
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text
    })
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.said.push(JSON.parse(line) as S)
      this.#heard()
    })
    this.exited = once(child, 'close').then(() => {
      this.#ended = true
      this.#heard()
    })
  }

  get alive(): boolean {
    return !this.#ended
  }

  /** What it wrote to stderr. */
  get errors(): string {
    return this.#errors
  }

  /** Forgets what was said so far. */
  forget(): void {
    this.said.length = 0
    this.#read = 0
  }

  tell(command: C): void {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`)
  }

  /** The next line of one of these events, from where the last such wait ended. */
  async until<E extends S['event']>(...events: readonly E[]): Promise<Extract<S, { event: E }>> {
    const deadline = performance.now() + LIMIT_MS
    for (;;) {
      while (this.#read < this.said.length) {
        const line = this.said[this.#read]
        this.#read += 1
        if (line !== undefined && (events as readonly string[]).includes(line.event)) {
          return line as Extract<S, { event: E }>
        }
      }
      const leftMs = deadline - performance.now()
      if (this.#ended)
        throw new Error(`the process ended before ${events.join(', ')}: ${this.#errors}`)
      if (leftMs <= 0) throw new Error(`the process kept silent about ${events.join(', ')}`)
      await this.#news(leftMs)
    }
  }

  /** SIGSTOP, or SIGCONT. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name)
  }

  /** SIGKILL; resolves when it is gone and everything that it said was read. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  #news(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#heard = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

export function urls(accounts: string, wallets: string): Readonly<Record<string, string>> {
  return { [ACCOUNTS_URL]: accounts, [WALLETS_URL]: wallets }
}
