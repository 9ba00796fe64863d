/** The real disk, with the forces of a decision log counted. */
import type { FileSystem } from '../../src/log/file-system.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'

export interface CountingFiles extends FileSystem {
  readonly forces: number
}

export function countingFiles(): CountingFiles {
  let forces = 0
  return {
    ...nodeFileSystem,
    get forces() {
      return forces
    },
    open: async (path, mode) => {
      const file = await nodeFileSystem.open(path, mode)
      if (mode !== 'force') return file
      return {
        write: (buffers, position) => file.write(buffers, position),
        read: (buffer, position) => file.read(buffer, position),
        sync: () => {
          forces += 1
          return file.sync()
        },
        stat: () => file.stat(),
        lock: (how) => file.lock(how),
        close: () => file.close(),
      }
    },
  }
}
