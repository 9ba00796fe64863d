/** Child processes for the scripts: output kept until it is wanted, tools found in node_modules. */
import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { ROOT } from './source-tree.ts'

export interface CommandOptions {
  /** The root of the repository unless given. */
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Show the output while it comes. */
  readonly live?: boolean
  /** After which it is ended, and has not passed. Default: none. */
  readonly timeoutMs?: number
}

export interface CommandResult {
  readonly passed: boolean
  /** Standard output, then standard error. */
  readonly output: string
  readonly stdout: string
  readonly seconds: number
}

export const TOOLS: string = join(ROOT, 'node_modules', '.bin')

export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const started = performance.now()
  const path = [TOOLS, process.env['PATH'] ?? ''].join(delimiter)
  const child = spawn(command, args, {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, PATH: path, NO_COLOR: '1', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs,
    killSignal: 'SIGKILL',
  })
  const texts = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      texts[stream] += text
      if (options.live === true) process[stream].write(text)
    })
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve({
        passed: code === 0,
        output: texts.stdout + texts.stderr,
        stdout: texts.stdout,
        seconds: (performance.now() - started) / 1000,
      })
    })
  })
}

/** Runs a command that must succeed. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await runCommand(command, args, options)
  if (result.passed) return result
  throw new Error(`${command} ${args.join(' ')} failed:\n${result.output}`)
}
