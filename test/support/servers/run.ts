/** Runs a program to its end. The message of a failure carries the end of what it wrote. */
import { spawn } from 'node:child_process'
import type { Account } from './account.ts'

export interface RunOptions {
  readonly account?: Account | undefined
  readonly cwd?: string | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly input?: string | undefined
}

/** @returns what the program wrote to standard output. @throws when it cannot run or exits non-zero. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const [file, ...args] = command
  if (file === undefined) throw new Error('no program to run')
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    ...options.account,
  })
  let output = ''
  let trouble = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    trouble += text
  })
  // A program that ends before reading its input gives EPIPE here; its exit code tells the story.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const code = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exit, signal) => resolve(exit ?? signal ?? 'unknown'))
  })
  if (code === 0) return output
  throw new Error(`${file} exited with ${code}: ${tail(`${output}\n${trouble}`)}`)
}

/** The last lines of a long text. */
export function tail(text: string, lines = 12): string {
  return text.trim().split('\n').slice(-lines).join('\n')
}
