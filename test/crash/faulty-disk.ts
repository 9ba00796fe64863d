/**
 * The machine's files on a disk that can be full, or broken: what needs new blocks fails with ENOSPC, as
 * a full disk has it, or every change fails with EIO.
 */
import type { FileSystem, OpenFile } from '../../src/log/file-system.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'

export class FaultyDisk {
  state: 'sound' | 'full' | 'fails' = 'sound'

  readonly files: FileSystem = {
    ...nodeFileSystem,
    open: async (path, mode) => {
      const isNew = mode === 'write' && (await nodeFileSystem.stat(path)) === undefined
      if (this.state === 'full' && isNew) throw diskError('ENOSPC')
      return this.#file(await nodeFileSystem.open(path, mode))
    },
    rename: async (from, to) => {
      this.#fail()
      await nodeFileSystem.rename(from, to)
    },
    syncDirectory: async (path) => {
      this.#fail()
      await nodeFileSystem.syncDirectory(path)
    },
  }

  #file(file: OpenFile): OpenFile {
    return {
      write: async (buffers, position) => {
        this.#fail()
        const end = buffers.reduce((sum, { length }) => sum + length, position)
        if (this.state === 'full' && end > (await file.stat()).size) throw diskError('ENOSPC')
        return file.write(buffers, position)
      },
      sync: async () => {
        this.#fail()
        await file.sync()
      },
      read: (buffer, position) => file.read(buffer, position),
      stat: () => file.stat(),
      lock: (mode) => file.lock(mode),
      close: () => file.close(),
    }
  }

  #fail(): void {
    if (this.state === 'fails') throw diskError('EIO')
  }
}

function diskError(code: 'EIO' | 'ENOSPC'): Error {
  return Object.assign(new Error(`${code}: injected`), { code })
}
