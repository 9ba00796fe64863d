/** A folder for a test file's logs and sockets: on a disk where there is one. Removed after the file. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
