/**
 * FileSystem: everything the decision log asks of a disk, as a port, so that a fake disk can forget
 * what was not synced, tear sectors and fail on demand.
 *
 * What the log believes of a disk, and no more:
 *  1. Bytes are durable once `sync` of their file returned; a name (create, rename, unlink) once
 *     `syncDirectory` returned. Before that any subset may survive a crash, sector by sector.
 *  2. `rename` replaces a name at once or not at all.
 *  3. After a failed write or sync nothing is known of the file, and trying again proves nothing:
 *     Linux marks the pages clean and may answer the next fsync with success.
 *  4. A lock is the kernel's: it ends with the process that holds it and with nothing else.
 */

/** What a file is, so that a copy of it can be told from itself. */
export interface FileStat {
  readonly size: number
  readonly inode: bigint
  /** Nanoseconds since the epoch; 0 where the file system does not keep a birth time. */
  readonly birthNs: bigint
}

export interface OpenFile {
  /** Writes the buffers one after the other at the position; answers how many bytes were taken. */
  write(buffers: readonly Uint8Array[], position: number): Promise<number>
  /** Fills the buffer from the position; answers how many bytes there were. */
  read(buffer: Uint8Array, position: number): Promise<number>
  /**
   * Makes durable what was written through this opening of the file; of others it may or may not.
   */
  sync(): Promise<void>
  stat(): Promise<FileStat>
  /** Takes the kernel's lock on the file, or answers `false` when another holds it. Never waits. */
  lock(mode: 'exclusive' | 'shared'): Promise<boolean>
  /** Also releases the lock. */
  close(): Promise<void>
}

/**
 *  - `read`: the file must exist
 *  - `write`: created when missing, for reading and writing
 *  - `force`: the file must exist; a write may be durable at its return, `sync` then costs nothing
 */
export type OpenMode = 'read' | 'write' | 'force'

export interface FileSystem {
  /** Who a lock's owner file names. */
  readonly self: { readonly pid: number; readonly host: string }
  open(path: string, mode: OpenMode): Promise<OpenFile>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Names in the directory, without their path. */
  list(path: string): Promise<readonly string[]>
  /** Creates the directory and those above it; harmless when it exists. */
  makeDirectory(path: string): Promise<void>
  /** `undefined` when there is nothing of this name. */
  stat(path: string): Promise<FileStat | undefined>
  /** The magic number of the file system that holds the path (Linux `statfs`); 0 when unknown. */
  fileSystemType(path: string): Promise<number>
}

/** Writes all of the buffers: a short write is no error, what follows it may be. */
export async function writeAll(
  file: OpenFile,
  buffers: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let rest = buffers
  let at = position
  for (;;) {
    const taken = await file.write(rest, at)
    rest = dropBytes(rest, taken)
    if (rest.length === 0) return
    if (taken === 0) throw new Error('the file system took no byte of a write')
    at += taken
  }
}

/** Reads the whole file, of which the caller knows the size. */
export async function readAll(file: OpenFile, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size)
  return bytes.subarray(0, await readInto(file, bytes, 0))
}

/** Fills the buffer from the position; answers how many bytes there were. */
export async function readInto(
  file: OpenFile,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let at = 0
  while (at < buffer.length) {
    const taken = await file.read(buffer.subarray(at), position + at)
    if (taken === 0) break
    at += taken
  }
  return at
}

function dropBytes(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let left = count
  let index = 0
  for (const buffer of buffers) {
    if (left < buffer.length) break
    left -= buffer.length
    index += 1
  }
  const partial = buffers[index]
  if (partial === undefined) return []
  return [partial.subarray(left), ...buffers.slice(index + 1)]
}
