/**
 * Where a live coordinator's socket is: `<log directory>/live/socket`.
 *
 *   - Its folder is the owner's alone (0700) before the socket appears in it: there is no moment at
 *     which another user could connect.
 *   - Whoever holds the log's lock may take away what is there: its owner is dead.
 *   - A socket's path has at most 103 bytes (`sun_path`, the shortest of the systems that we know).
 *     A longer one is reached through a symbolic link that lives as long as one call. Not through a
 *     relative path: libuv unlinks a socket by the path that it was given, from wherever the process
 *     is by then.
 */
import { chmod, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const FOLDER = 'live'
const SOCKET = 'socket'
const FOLDER_MODE = 0o700
const SOCKET_MODE = 0o600
const MAX_PATH_BYTES = 103

/** Makes the place for a socket, and clears away a dead owner's. The caller holds the log's lock. */
export async function prepareSocketPlace(directory: string): Promise<void> {
  const folder = join(directory, FOLDER)
  await mkdir(folder, { recursive: true, mode: FOLDER_MODE })
  await chmod(folder, FOLDER_MODE)
  await removeSocket(directory)
}

/** Leaves the socket to its owner, behind the folder that already is. */
export async function protectSocket(directory: string): Promise<void> {
  await chmod(join(directory, FOLDER, SOCKET), SOCKET_MODE)
}

export async function removeSocket(directory: string): Promise<void> {
  await rm(join(directory, FOLDER, SOCKET), { force: true, recursive: true })
}

/**
 * Runs `use` with a path of the socket that a bind or a connect takes. The path may be gone when it
 * returns.
 */
export async function withSocketPath<T>(
  directory: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = resolve(directory, FOLDER)
  const path = join(folder, SOCKET)
  if (fits(path)) return use(path)
  const linked = await mkdtemp(join(tmpdir(), 'una-'))
  try {
    const short = join(linked, 'l', SOCKET)
    if (!fits(short)) throw new Error(`${tmpdir()} is too long for the path of a socket`)
    await symlink(folder, join(linked, 'l'))
    return await use(short)
  } finally {
    await rm(linked, { force: true, recursive: true })
  }
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_PATH_BYTES
}
