/** Looks for what a server may have left on this machine: for the tests of its removal. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

/** Folders of servers in a temporary folder. */
export function serverFolders(parent: string): string[] {
  return readdirSync(parent).filter((name) => name.startsWith('unanimous-'))
}

/** System V shared memory that a PostgreSQL in this folder holds (Linux; else none is seen). */
export function sharedMemoryOf(folder: string): string | undefined {
  const pidFile = join(folder, 'data', 'postmaster.pid')
  if (!existsSync(pidFile)) return undefined
  return /^ *\d+ +(\d+) *$/m.exec(readFileSync(pidFile, 'utf8'))?.[1]
}

export function sharedMemoryExists(id: string): boolean {
  const table = '/proc/sysvipc/shm'
  if (!existsSync(table)) return false
  const lines = readFileSync(table, 'utf8').trim().split('\n').slice(1)
  return lines.some((line) => line.trim().split(/\s+/)[1] === id)
}

/** Processes whose command line names this text (Linux; else none is seen). */
export function processesNaming(text: string): string[] {
  if (!existsSync('/proc/self/cmdline')) return []
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || name === String(process.pid)) return false
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text)
    } catch {
      return false
    }
  })
}

export function isListening(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
