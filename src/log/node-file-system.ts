/**
 * The real disk behind the FileSystem port. Nothing here blocks the event loop.
 *
 * Forced writes use O_DSYNC on Linux: one trip through the thread pool instead of two (measured
 * 0.16 ms against 0.19 ms for write and fdatasync on preallocated files). Elsewhere O_DSYNC may
 * stop at the drive's cache (macOS), so `sync` does the work.
 *
 * The lock is flock(2), taken by flock(1) on an inherited descriptor: the lock belongs to the open
 * file, which this process keeps, so it stays when flock(1) exits and ends with this process even
 * after kill -9. libuv opens with O_CLOEXEC, so no other child inherits it. Where there is no
 * flock(1) (macOS), perl does the same call.
 */
import { spawn } from 'node:child_process'
import {
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  mkdir,
  open,
  read,
  readdir,
  rename,
  stat,
  statfs,
  unlink,
  writev,
} from 'node:fs'
import { hostname } from 'node:os'
import { UnanimousError } from '../errors.ts'
import type { FileStat, FileSystem, OpenFile, OpenMode } from './file-system.ts'

const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700
const FORCED_BY_FLAG = process.platform === 'linux'

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR | constants.O_CREAT,
  force: FORCED_BY_FLAG ? constants.O_RDWR | constants.O_DSYNC : constants.O_RDWR,
}

/** The file system of this machine. */
export const nodeFileSystem: FileSystem = {
  self: { pid: process.pid, host: hostname() },

  open(path, mode) {
    return new Promise((resolve, reject) => {
      open(path, FLAGS[mode], FILE_MODE, (cause, fd) => {
        if (cause === null) resolve(new NodeFile(fd, mode === 'force' && FORCED_BY_FLAG))
        else reject(cause)
      })
    })
  },

  rename: (from, to) => done((settle) => rename(from, to, settle)),
  unlink: (path) => done((settle) => unlink(path, settle)),

  // fsync, not fdatasync: names are metadata.
  async syncDirectory(path) {
    const fd = await openForReading(path)
    try {
      await done((settle) => fsync(fd, settle))
    } finally {
      await done((settle) => close(fd, settle))
    }
  },

  list(path) {
    return new Promise((resolve, reject) => {
      readdir(path, (cause, names) => (cause === null ? resolve(names) : reject(cause)))
    })
  },

  makeDirectory(path) {
    return done((settle) => {
      mkdir(path, { recursive: true, mode: DIRECTORY_MODE }, (cause) => settle(cause))
    })
  },

  stat(path) {
    return new Promise((resolve, reject) => {
      stat(path, { bigint: true }, (cause, stats) => {
        if (cause === null) resolve(fileStat(stats))
        else if (cause.code === 'ENOENT') resolve(undefined)
        else reject(cause)
      })
    })
  },

  fileSystemType(path) {
    return new Promise((resolve, reject) => {
      statfs(path, (cause, stats) => (cause === null ? resolve(stats.type) : reject(cause)))
    })
  },
}

class NodeFile implements OpenFile {
  readonly #fd: number
  readonly #forced: boolean

  constructor(fd: number, forced: boolean) {
    this.#fd = fd
    this.#forced = forced
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      writev(this.#fd, buffers, position, (cause, taken) =>
        cause === null ? resolve(taken) : reject(cause),
      )
    })
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.#fd, buffer, 0, buffer.length, position, (cause, taken) =>
        cause === null ? resolve(taken) : reject(cause),
      )
    })
  }

  sync(): Promise<void> {
    return this.#forced ? Promise.resolve() : done((settle) => fdatasync(this.#fd, settle))
  }

  stat(): Promise<FileStat> {
    return new Promise((resolve, reject) => {
      fstat(this.#fd, { bigint: true }, (cause, stats) =>
        cause === null ? resolve(fileStat(stats)) : reject(cause),
      )
    })
  }

  async lock(mode: 'exclusive' | 'shared'): Promise<boolean> {
    for (const [command, args] of lockCommands(mode)) {
      const code = await runOn(this.#fd, command, args)
      if (code === 0) return true
      if (code === 1) return false
      if (code !== 'missing') {
        throw new UnanimousError('LOG_UNREADABLE', `${command} failed with exit code ${code}`)
      }
    }
    throw new UnanimousError(
      'LOG_UNSAFE',
      'there is no command that could lock the log directory',
      {
        hint: 'Install flock (util-linux or busybox) or perl, and see that PATH names it.',
      },
    )
  }

  close(): Promise<void> {
    return done((settle) => close(this.#fd, settle))
  }
}

function openForReading(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, constants.O_RDONLY, (cause, fd) => (cause === null ? resolve(fd) : reject(cause)))
  })
}

function lockCommands(mode: 'exclusive' | 'shared'): [string, string[]][] {
  const operation = mode === 'exclusive' ? 'LOCK_EX' : 'LOCK_SH'
  const script = `use Fcntl ":flock"; open(F, "+<&=", 3) || open(F, "<&=", 3) or exit 2; exit(flock(F, ${operation} | LOCK_NB) ? 0 : 1)`
  return [
    ['flock', [mode === 'exclusive' ? '-x' : '-s', '-n', '3']],
    ['perl', ['-e', script]],
  ]
}

function runOn(fd: number, command: string, args: string[]): Promise<number | 'missing'> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore', fd] })
    child.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') resolve('missing')
      else reject(cause)
    })
    child.once('exit', (code) => resolve(code ?? -1))
  })
}

function done(start: (settle: (cause: Error | null | undefined) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((cause) => (cause === null || cause === undefined ? resolve() : reject(cause)))
  })
}

function fileStat(stats: { size: bigint; ino: bigint; birthtimeNs: bigint }): FileStat {
  return { size: Number(stats.size), inode: stats.ino, birthNs: stats.birthtimeNs }
}
