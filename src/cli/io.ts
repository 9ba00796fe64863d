/**
 * What a command may do to the world outside of logs and databases: data to stdout, messages to
 * stderr, colours where they are wanted. Whatever goes out passes {@link redact}.
 */
import type { styleText } from 'node:util'
import type { Clock } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import { redact } from '../redact.ts'

export { redact }

export type Style = Parameters<typeof styleText>[0]

export interface Io {
  readonly cwd: string
  readonly clock: Clock
  /** Messages go to a terminal: a line may be written over. */
  readonly interactive: boolean
  /** Data, to stdout: a text that ends with a newline. */
  out(text: string): void
  /** A message, to stderr: a text that ends with a newline. */
  err(text: string): void
  /** Styles data for stdout; leaves it as it is where colours are not wanted. */
  paint(style: Style, text: string): string
}

/** A message with the way out, as stderr shows it. */
export function messageLines(message: string, hint: string | undefined): string {
  return redact(hint === undefined ? `${message}\n` : `${message}\n  ${hint}\n`)
}

/** An error that ended the command. */
export function errorLines(cause: unknown): string {
  if (cause instanceof UnanimousError) return messageLines(`error: ${cause.message}`, cause.hint)
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
  return messageLines(
    `error: ${text}`,
    'This is not expected: please report it with the lines above.',
  )
}
