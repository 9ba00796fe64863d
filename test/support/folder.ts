/** A folder for a test file's logs and sockets: on a disk where there is one. Removed after the file. */
import { existsSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll } from 'vitest'

/** Call at the top of a test file; each call of what it answers makes a new folder. */
export function testFolders(): () => Promise<string> {
  const folders: string[] = []
  afterAll(() => Promise.all(folders.map((each) => rm(each, { recursive: true, force: true }))))
  return async () => {
    const folder = await mkdtemp(join(existsSync('/var/tmp') ? '/var/tmp' : tmpdir(), 'una-t-'))
    folders.push(folder)
    return folder
  }
}

/** Copies a log directory. Its owner may be dead and its socket there still: Node.js copies none. */
export function copyLog(from: string, to: string): Promise<void> {
  return cp(from, to, { recursive: true, filter: (path) => basename(path) !== 'live' })
}
