/**
 * What a server would leave behind, and its removal. Used when a server is stopped in order, and by
 * the guardian when the process that started it is no more.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { killTree } from './process-tree.ts'

/** A container, and how its engine is reached: a socket's path, or host and port. */
export interface ContainerRemains {
  readonly id: string
  readonly engine:
    | { readonly socketPath: string }
    | { readonly host: string; readonly port: number }
}

export interface Remains {
  readonly pid?: number | undefined
  readonly folder?: string | undefined
  readonly container?: ContainerRemains | undefined
}

export async function dispose(remains: Remains): Promise<void> {
  if (remains.pid !== undefined) await killTree(remains.pid)
  if (remains.container !== undefined) await removeContainer(remains.container)
  if (remains.folder === undefined) return
  releaseSharedMemory(join(remains.folder, 'data', 'postmaster.pid'))
  await rm(remains.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
}

/**
 * PostgreSQL keeps a few bytes of System V shared memory to tell that its data folder is in use.
 * A killed server leaves them until the machine restarts; the last line of its pid file names them.
 */
function releaseSharedMemory(pidFile: string): void {
  try {
    const id = /^ *\d+ +(\d+) *$/m.exec(readFileSync(pidFile, 'utf8'))?.[1]
    if (id !== undefined) execFileSync('ipcrm', ['-m', id], { stdio: 'ignore' })
  } catch {
    // No pid file: not PostgreSQL, or it ended in order. Or no such segment any more.
  }
}

function removeContainer({ id, engine }: ContainerRemains): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `/containers/${id}?force=1&v=1`
    const call = request({ ...engine, method: 'DELETE', path }, (answer) => {
      const { statusCode = 0 } = answer
      answer.resume()
      // 404: somebody else removed it. 409: somebody else is at it.
      if (statusCode < 300 || statusCode === 404 || statusCode === 409) answer.once('end', resolve)
      else reject(new Error(`the engine refuses to remove container ${id} (${statusCode})`))
    })
    call.once('error', reject)
    call.end()
  })
}
