/**
 * A disk in memory that believes nothing until it is synced.
 *
 * It keeps every operation. {@link FakeDisk.afterCrash} rebuilds what a power loss could leave
 * after any prefix of them: what was synced is there, every other sector and every other name is
 * kept or lost as the caller says. A sync that failed leaves its bytes to be read and never makes
 * them durable, also not when a later sync succeeds: that is what Linux does.
 */
import type { FileStat, FileSystem, OpenFile, OpenMode } from '../../src/log/file-system.ts'

export const SECTOR = 512

export type Operation =
  | { kind: 'write'; inode: number; opening: number; position: number; bytes: Buffer }
  | { kind: 'sync'; inode: number; opening: number }
  | { kind: 'failed-sync'; inode: number; opening: number }
  | { kind: 'create'; path: string; inode: number }
  | { kind: 'rename'; from: string; to: string }
  | { kind: 'unlink'; path: string }
  | { kind: 'sync-directory'; path: string }

/** What happens to an operation instead of what was asked. */
export type Fault =
  | { error: string; after?: number }
  /** Takes only so many bytes, without an error. */
  | { short: number }

/** Something asked of the disk, numbered from 1. */
export interface Request {
  number: number
  kind:
    | 'open'
    | 'read'
    | 'write'
    | 'sync'
    | 'rename'
    | 'unlink'
    | 'sync-directory'
    | 'list'
    | 'stat'
  path: string
}

/** Whether an operation that was not synced survives; sector -1 stands for a name. */
export type Keep = (operation: number, sector: number) => boolean

export interface DiskImage {
  files: Map<number, Buffer>
  names: Map<string, number>
  nextInode: number
}

export const keepAll: Keep = () => true
export const keepNone: Keep = () => false

export class FakeDisk implements FileSystem {
  readonly self: { readonly pid: number; readonly host: string } = { pid: 1, host: 'fake' }
  readonly operations: Operation[] = []
  readonly #base: DiskImage
  readonly #now: DiskImage
  readonly #locks = new Map<number, Set<OpenFile>>()
  fault: ((request: Request) => Fault | undefined) | undefined
  onRequest: ((request: Request) => void | Promise<void>) | undefined
  requests = 0
  #openings = 0
  fsType = 0xef53
  birthNs = 1_000n
  dead = false

  constructor(image: DiskImage = { files: new Map(), names: new Map(), nextInode: 1 }) {
    this.#base = copyImage(image)
    this.#now = copyImage(image)
  }

  /** What a process that was killed leaves: the page cache survives, and is no more durable. */
  afterKill(): FakeDisk {
    const disk = new FakeDisk(this.#base)
    for (const operation of this.operations) disk.#do(operation)
    disk.#openings = this.#openings
    return disk
  }

  /** What a power loss leaves after the first `count` operations. */
  afterCrash(keep: Keep, count: number = this.operations.length): FakeDisk {
    return new FakeDisk(imageAfter(this.#base, this.operations, count, keep))
  }

  /** Indexes of the operations among the first `count` that nothing has made durable. */
  unsynced(count: number = this.operations.length): number[] {
    const durable = durableOperations(this.operations, count)
    return [...durable.keys()].filter((index) => durable[index] === false)
  }

  /** The bytes of a file, to be damaged in place. */
  bytes(path: string): Buffer {
    const inode = this.#now.names.get(path)
    const bytes = inode === undefined ? undefined : this.#now.files.get(inode)
    if (bytes === undefined) throw new Error(`no file ${path}`)
    return bytes
  }

  put(path: string, bytes: Buffer): void {
    const inode = this.#now.names.get(path) ?? this.#now.nextInode++
    this.#now.names.set(path, inode)
    this.#now.files.set(inode, Buffer.from(bytes))
  }

  paths(): string[] {
    return [...this.#now.names.keys()].sort()
  }

  async open(path: string, mode: OpenMode): Promise<OpenFile> {
    await this.#ask('open', path)
    let inode = this.#now.names.get(path)
    if (inode === undefined) {
      if (mode !== 'write') throw failure('ENOENT', path)
      inode = this.#now.nextInode++
      this.#do({ kind: 'create', path, inode })
    }
    return this.#file(inode, path)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#ask('rename', from)
    if (!this.#now.names.has(from)) throw failure('ENOENT', from)
    this.#do({ kind: 'rename', from, to })
  }

  async unlink(path: string): Promise<void> {
    await this.#ask('unlink', path)
    if (!this.#now.names.has(path)) throw failure('ENOENT', path)
    this.#do({ kind: 'unlink', path })
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#ask('sync-directory', path)
    this.#do({ kind: 'sync-directory', path })
  }

  async list(path: string): Promise<readonly string[]> {
    await this.#ask('list', path)
    const prefix = `${path}/`
    const below = this.paths().filter((name) => name.startsWith(prefix))
    return [...new Set(below.map((name) => name.slice(prefix.length).split('/')[0] ?? ''))]
  }

  async makeDirectory(): Promise<void> {}

  async stat(path: string): Promise<FileStat | undefined> {
    await this.#ask('stat', path)
    const inode = this.#now.names.get(path)
    if (inode !== undefined) return this.#stat(inode)
    // A directory is there as long as something is in it.
    return (await this.list(path)).length === 0 ? undefined : { size: 0, inode: 0n, birthNs: 0n }
  }

  async fileSystemType(): Promise<number> {
    return this.fsType
  }

  #stat(inode: number): FileStat {
    const size = this.#now.files.get(inode)?.length ?? 0
    return { size, inode: BigInt(inode), birthNs: this.birthNs }
  }

  #file(inode: number, path: string): OpenFile {
    this.#openings += 1
    const opening = this.#openings
    const file: OpenFile = {
      write: async (buffers, position) => {
        const all = Buffer.concat(buffers)
        const fault = await this.#ask('write', path, true)
        const taken = fault === undefined ? all.length : Math.min(all.length, faultBytes(fault))
        if (taken > 0) {
          const bytes = Buffer.from(all.subarray(0, taken))
          this.#do({ kind: 'write', inode, opening, position, bytes })
        }
        if (fault !== undefined && 'error' in fault) throw failure(fault.error, path)
        return taken
      },
      read: async (buffer, position) => {
        await this.#ask('read', path)
        const bytes = this.#now.files.get(inode) ?? Buffer.alloc(0)
        return bytes.copy(buffer, 0, position)
      },
      sync: async () => {
        const fault = await this.#ask('sync', path, true)
        this.#do({ kind: fault === undefined ? 'sync' : 'failed-sync', inode, opening })
        if (fault !== undefined && 'error' in fault) throw failure(fault.error, path)
      },
      stat: async () => this.#stat(inode),
      lock: async (mode) => this.#lock(inode, file, mode),
      close: async () => {
        this.#locks.get(inode)?.delete(file)
      },
    }
    return file
  }

  #lock(inode: number, file: OpenFile, mode: 'exclusive' | 'shared'): boolean {
    const holders = this.#locks.get(inode) ?? new Set()
    if (holders.size > 0) return false
    if (mode === 'exclusive') this.#locks.set(inode, holders.add(file))
    return true
  }

  async #ask(kind: Request['kind'], path: string, partial = false): Promise<Fault | undefined> {
    // A process that was killed asks for nothing any more, and hears nothing.
    if (this.dead) await new Promise(() => undefined)
    this.requests += 1
    const request: Request = { number: this.requests, kind, path }
    await this.onRequest?.(request)
    if (this.dead) await new Promise(() => undefined)
    const fault = this.fault?.(request)
    if (fault === undefined || partial) return fault
    if ('error' in fault) throw failure(fault.error, path)
    return undefined
  }

  #do(operation: Operation): void {
    this.operations.push(operation)
    applyOperation(this.#now, operation, () => true)
  }
}

function imageAfter(
  base: DiskImage,
  operations: readonly Operation[],
  count: number,
  keep: Keep,
): DiskImage {
  const image = copyImage(base)
  const durable = durableOperations(operations, count)
  operations.slice(0, count).forEach((operation, index) => {
    const sure = durable[index] !== false
    applyOperation(image, operation, (sector) => sure || keep(index, sector))
  })
  const used = new Set(image.names.values())
  for (const inode of image.files.keys()) if (!used.has(inode)) image.files.delete(inode)
  return image
}

/** For each operation: `true` durable, `false` not, `undefined` for those that are neither. */
function durableOperations(
  operations: readonly Operation[],
  count: number,
): (boolean | undefined)[] {
  const durable: (boolean | undefined)[] = []
  // A sync makes durable what went through its own opening of the file, as O_DSYNC does.
  const synced = new Set<number>()
  let namesSynced = false
  for (let index = count - 1; index >= 0; index -= 1) {
    const operation = operations[index]
    if (operation?.kind === 'sync') synced.add(operation.opening)
    else if (operation?.kind === 'failed-sync') synced.delete(operation.opening)
    else if (operation?.kind === 'sync-directory') namesSynced = true
    else if (operation?.kind === 'write') durable[index] = synced.has(operation.opening)
    else durable[index] = namesSynced
  }
  return durable
}

function applyOperation(
  image: DiskImage,
  operation: Operation,
  keep: (sector: number) => boolean,
): void {
  switch (operation.kind) {
    case 'write':
      writeSectors(image, operation, keep)
      return
    case 'create':
      image.nextInode = Math.max(image.nextInode, operation.inode + 1)
      if (!image.files.has(operation.inode)) image.files.set(operation.inode, Buffer.alloc(0))
      if (keep(-1)) image.names.set(operation.path, operation.inode)
      return
    case 'rename': {
      const inode = image.names.get(operation.from)
      if (!keep(-1) || inode === undefined) return
      image.names.delete(operation.from)
      image.names.set(operation.to, inode)
      return
    }
    case 'unlink':
      if (keep(-1)) image.names.delete(operation.path)
      return
    default:
  }
}

function writeSectors(
  image: DiskImage,
  { inode, position, bytes }: Extract<Operation, { kind: 'write' }>,
  keep: (sector: number) => boolean,
): void {
  let content = image.files.get(inode) ?? Buffer.alloc(0)
  const end = position + bytes.length
  let at = position
  while (at < end) {
    const sector = Math.floor(at / SECTOR)
    const sectorEnd = Math.min(end, (sector + 1) * SECTOR)
    if (keep(sector)) {
      if (sectorEnd > content.length) {
        const grown = Buffer.alloc(end)
        content.copy(grown)
        content = grown
      }
      bytes.copy(content, at, at - position, sectorEnd - position)
    }
    at = sectorEnd
  }
  image.files.set(inode, content)
}

function copyImage(image: DiskImage): DiskImage {
  const files = new Map([...image.files].map(([inode, bytes]) => [inode, Buffer.from(bytes)]))
  return { files, names: new Map(image.names), nextInode: image.nextInode }
}

function faultBytes(fault: Fault): number {
  return 'short' in fault ? fault.short : (fault.after ?? 0)
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: injected, ${path}`), { code })
}
