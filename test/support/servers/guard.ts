/** Tells the guardian, a process of its own, what to remove should this process end. */
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Remains } from './remains.ts'
import { dispose } from './remains.ts'

/** One thing under guard. */
export interface Guarded {
  /** Replaces what is known: a server has a new process after each restart. */
  update(remains: Remains): void
  /** Removes it now. */
  dispose(): Promise<void>
}

let guardian: ChildProcess | undefined

export function guard(first: Remains): Guarded {
  const name = randomUUID()
  let current: Remains | undefined
  const update = (remains: Remains): void => {
    current = remains
    tell([name, remains])
  }
  update(first)
  return {
    update,
    async dispose() {
      if (current === undefined) return
      await dispose(current)
      current = undefined
      tell([name])
    },
  }
}

function tell(message: readonly [string, Remains?]): void {
  guardian ??= startGuardian()
  guardian.stdin?.write(`${JSON.stringify(message)}\n`)
}

/** Detached, so that Ctrl-C in a terminal reaches only us; unreferenced, so that we may end. */
function startGuardian(): ChildProcess {
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  const program = fileURLToPath(new URL('./guardian.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', loader, program], {
    cwd: tmpdir(),
    detached: true,
    env: { PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.unref()
  if (child.stdin instanceof Socket) child.stdin.unref()
  // If it dies, the servers live on until they are stopped in order: nothing to do about it here.
  child.stdin?.on('error', () => undefined)
  return child
}
