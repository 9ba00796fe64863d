/** Runs a child process that kills itself at a named point of the protocol. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { ACCOUNTS_URL, DECISIONS, WALLETS_URL } from '../../examples/transfer/environment.ts'

/** An answer that a caller heard. */
export interface Heard {
  readonly id: string
  readonly answer: string
}

const CHILD = fileURLToPath(new URL('./crash-child.ts', import.meta.url))

/**
 * @param words - SCENARIO and POINT, as test/support/crash-child.ts describes them
 * @returns what callers had heard by then
 */
export async function crash(
  urls: { readonly accounts: string; readonly wallets: string },
  log: string,
  words: Readonly<Record<string, string>>,
): Promise<readonly Heard[]> {
  const child = spawn(process.execPath, ['--import', 'tsx', CHILD], {
    env: {
      ...process.env,
      [ACCOUNTS_URL]: urls.accounts,
      [WALLETS_URL]: urls.wallets,
      [DECISIONS]: log,
      ...words,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const closed = once(child, 'close')
  const [out, errors] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  expect(child.signalCode, `it was to die at ${words['POINT']}\n${errors}`).toBe('SIGKILL')
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Heard)
}
