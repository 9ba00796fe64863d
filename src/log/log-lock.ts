/**
 * LogLock: one owner of a log directory, and the directory's own identity.
 *
 *   lock    locked by its owner with the kernel's lock, which ends with the process: after kill -9
 *           it is free, while a stopped owner keeps it. No time-out. It records its own inode and
 *           birth time, so a copied or restored directory betrays itself
 *   owner   for people: who holds it. Never believed
 *
 * The lock excludes everyone on this kernel, in other containers too. It says nothing about another
 * machine, so file systems that are shared between machines are refused.
 */
import { type Clock, sleep } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { type LogEvent, type LogOwner, UNKNOWN_OWNER } from './decision-log.ts'
import { type FileStat, type FileSystem, type OpenFile, readAll, writeAll } from './file-system.ts'

const LOCK_NAME = 'lock'
const OWNER_NAME = 'owner'
/**
 * The identity and the owner are padded to this: a shorter text then replaces a longer one whole.
 */
const TEXT_BYTES = 512
/** A reader that looks who owns the log holds the lock for a moment: that is not a refusal. */
const PEEK_MS = 250
/** Between two tries to take a lock that another holds. */
const POLL_MS = 50

/**
 * Magic numbers of statfs(2) whose files several machines share, or that forget at a power loss.
 */
const REFUSED_TYPES: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xfe534d42, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0x5346414f, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
])

/**
 * Where inodes or birth times may change although nothing was copied, or a sync may not reach a
 * disk.
 */
const DOUBTFUL_TYPES: ReadonlyMap<number, string> = new Map([
  [0x65735546, 'FUSE'],
  [0x01021997, '9p'],
  [0x794c7630, 'overlayfs'],
])

/** Those on which a log is at home; for people, and the list need not be complete. */
const LOCAL_TYPES: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'XFS'],
  [0x9123683e, 'Btrfs'],
  [0x2fc12fc1, 'ZFS'],
  [0xf2f52010, 'F2FS'],
])

/** Which file system a directory is on, and whether a log is safe there. */
export interface DirectoryFileSystem {
  readonly name: string
  readonly trust: 'local' | 'doubtful' | 'refused'
}

/** The file system of an existing directory. */
export async function fileSystemOf(
  directory: string,
  files: FileSystem,
): Promise<DirectoryFileSystem> {
  const type = await files.fileSystemType(directory)
  const refused = REFUSED_TYPES.get(type)
  if (refused !== undefined) return { name: refused, trust: 'refused' }
  const doubtful = DOUBTFUL_TYPES.get(type)
  if (doubtful !== undefined) return { name: doubtful, trust: 'doubtful' }
  const name = LOCAL_TYPES.get(type) ?? `file system 0x${type.toString(16)}`
  return { name, trust: 'local' }
}

export interface LockRequest {
  readonly directory: string
  readonly lockWaitMs: number
  readonly allowUnsafeFileSystem: boolean
}

export interface LockSeams {
  readonly files: FileSystem
  readonly clock: Clock
  readonly onEvent: (event: LogEvent) => void
}

/** Whether the directory is the one in which this lock was made. */
export type LockIdentity = 'own' | 'copied' | 'unrecorded'

export interface HeldLock {
  readonly identity: LockIdentity
  /** Records what the lock file is now: the directory is an original from here on. */
  adopt(): Promise<void>
  release(): Promise<void>
}

/**
 * Takes the lock of a log directory, which is created when missing.
 *
 * @throws UnanimousError LOG_LOCKED, LOG_UNSAFE or LOG_UNREADABLE
 */
export async function acquireLock(request: LockRequest, seams: LockSeams): Promise<HeldLock> {
  const { directory } = request
  const { files } = seams
  try {
    await files.makeDirectory(directory)
    const doubtful = await checkFileSystem(request, seams)
    const file = await lockFile(request, seams)
    try {
      const identity = await readIdentity(file)
      if (identity === 'copied' && doubtful !== undefined) {
        seams.onEvent({
          kind: 'warning',
          message: `${directory} looks like a copy, which on ${doubtful} proves nothing`,
        })
      }
      await writeOwner(directory, seams)
      return {
        identity: identity === 'copied' && doubtful !== undefined ? 'own' : identity,
        adopt: () => recordIdentity(directory, file, files),
        release: () => file.close(),
      }
    } catch (cause) {
      await file.close()
      throw cause
    }
  } catch (cause) {
    throw asUnreadable(directory, cause)
  }
}

/**
 * As the owner would find it, without becoming it: `unrecorded` also where there is no lock file.
 *
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function identityOf(directory: string, files: FileSystem): Promise<LockIdentity> {
  try {
    const path = `${directory}/${LOCK_NAME}`
    if ((await files.stat(path)) === undefined) return 'unrecorded'
    const file = await files.open(path, 'read')
    try {
      const identity = await readIdentity(file)
      const { trust } = await fileSystemOf(directory, files)
      return identity === 'copied' && trust === 'doubtful' ? 'own' : identity
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw asUnreadable(directory, cause)
  }
}

/**
 * The process that holds the directory's lock, when one does. Takes nothing.
 *
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function readOwner(
  directory: string,
  files: FileSystem,
): Promise<LogOwner | undefined> {
  try {
    if (!(await isLocked(`${directory}/${LOCK_NAME}`, files))) return undefined
    return (await readOwnerFile(directory, files)) ?? UNKNOWN_OWNER
  } catch (cause) {
    throw asUnreadable(directory, cause)
  }
}

async function isLocked(path: string, files: FileSystem): Promise<boolean> {
  if ((await files.stat(path)) === undefined) return false
  const file = await files.open(path, 'read')
  try {
    return !(await file.lock('shared'))
  } finally {
    await file.close()
  }
}

/** Turns what a file system throws into our error; our own errors pass. */
export function asUnreadable(directory: string, cause: unknown): unknown {
  if (cause instanceof UnanimousError || !(cause instanceof Error) || !('code' in cause)) {
    return cause
  }
  return new UnanimousError('LOG_UNREADABLE', `${directory}: ${cause.message}`, {
    hint: 'The process needs to read, write and create files in the log directory: run commands as the user of the application.',
    cause,
  })
}

async function checkFileSystem(
  { directory, allowUnsafeFileSystem }: LockRequest,
  { files, onEvent }: LockSeams,
): Promise<string | undefined> {
  const { name, trust } = await fileSystemOf(directory, files)
  if (trust === 'refused' && !allowUnsafeFileSystem) {
    throw new UnanimousError('LOG_UNSAFE', `the log directory ${directory} is on ${name}`, {
      hint: 'Put it on a local disk. allowUnsafeFileSystem takes it as it is, and decisions may be lost.',
    })
  }
  if (trust === 'refused') {
    onEvent({ kind: 'warning', message: `${directory} is on ${name}: decisions may be lost` })
  }
  if (trust === 'doubtful') {
    const message = `${directory} is on ${name}: copies of it may not be noticed`
    onEvent({ kind: 'warning', message })
  }
  return trust === 'doubtful' ? name : undefined
}

async function lockFile(request: LockRequest, seams: LockSeams): Promise<OpenFile> {
  const { clock, files } = seams
  const path = `${request.directory}/${LOCK_NAME}`
  const deadline = clock.monotonic() + Math.max(request.lockWaitMs, PEEK_MS)
  for (;;) {
    const file = await files.open(path, 'write')
    try {
      while (!(await file.lock('exclusive'))) {
        if (clock.monotonic() >= deadline) throw await lockedError(request.directory, files)
        await sleep(clock, POLL_MS)
      }
      // The name may have moved to another file since it was opened: this lock would exclude
      // nobody.
      if ((await files.stat(path))?.inode === (await file.stat()).inode) return file
    } catch (cause) {
      await file.close()
      throw cause
    }
    await file.close()
  }
}

async function lockedError(directory: string, files: FileSystem): Promise<UnanimousError> {
  const owner = await readOwnerFile(directory, files)
  const who =
    owner === undefined
      ? 'another process'
      : `process ${owner.pid} on ${owner.host} since ${new Date(owner.sinceMs).toISOString()}`
  return new UnanimousError('LOG_LOCKED', `the log directory ${directory} is held by ${who}`, {
    hint: 'End that process, give each process a directory of its own (log: { root }), or set lockWaitMs for a rolling restart.',
  })
}

async function readIdentity(file: OpenFile): Promise<LockIdentity> {
  const stat = await file.stat()
  if (stat.size === 0) return 'unrecorded'
  const recorded = parseJson(await readAll(file, Math.min(stat.size, TEXT_BYTES)))
  if (recorded === undefined) return 'copied'
  const same =
    recorded['inode'] === String(stat.inode) &&
    (recorded['birthNs'] === null || recorded['birthNs'] === String(stat.birthNs))
  return same ? 'own' : 'copied'
}

async function recordIdentity(directory: string, file: OpenFile, files: FileSystem): Promise<void> {
  const before = await file.stat()
  await writeText(file, identityText(before, before.birthNs))
  const after = await file.stat()
  // A "birth time" that moves with a write is a change time under another name.
  if (after.birthNs !== before.birthNs) await writeText(file, identityText(after, 0n))
  await files.syncDirectory(directory)
}

function identityText(stat: FileStat, birthNs: bigint): string {
  const birth = birthNs === 0n ? null : String(birthNs)
  return JSON.stringify({ version: 1, inode: String(stat.inode), birthNs: birth })
}

async function writeOwner(directory: string, { files, clock }: LockSeams): Promise<void> {
  const file = await files.open(`${directory}/${OWNER_NAME}`, 'write')
  try {
    await writeText(file, JSON.stringify({ ...files.self, sinceMs: clock.now() }))
  } finally {
    await file.close()
  }
}

async function readOwnerFile(directory: string, files: FileSystem): Promise<LogOwner | undefined> {
  const path = `${directory}/${OWNER_NAME}`
  try {
    if ((await files.stat(path)) === undefined) return undefined
    const file = await files.open(path, 'read')
    try {
      const text = parseJson(await readAll(file, TEXT_BYTES))
      const { pid, host, sinceMs } = text ?? {}
      if (typeof pid !== 'number' || typeof host !== 'string' || typeof sinceMs !== 'number') {
        return undefined
      }
      return { pid, host, sinceMs }
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw new UnanimousError('LOG_UNREADABLE', `${path}: ${messageOf(cause)}`, { cause })
  }
}

async function writeText(file: OpenFile, text: string): Promise<void> {
  const bytes = Buffer.alloc(TEXT_BYTES, ' ')
  bytes.write(text.slice(0, TEXT_BYTES - 1))
  bytes.write('\n', TEXT_BYTES - 1)
  await writeAll(file, [bytes], 0)
  await file.sync()
}

function parseJson(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
