/**
 * A disk that believes nothing until it is synced, fast enough for a thousand logs a second. The
 * same beliefs as test/support/fake-disk.ts, which keeps every operation for the exhaustive suite:
 * what was synced stays, of the rest a power loss keeps any sectors and any names; a sync that failed
 * leaves its bytes to be read and never makes them durable.
 *
 * Writes, syncs and names take time, so a crash can find them done or not done; reading is at once.
 */
import type { FileStat, FileSystem, OpenFile, OpenMode } from '../../src/log/file-system.ts'
import type { Owner, World } from './world.ts'

const SECTOR = 512
const EMPTY = Buffer.alloc(0)

/** The log leaves a buffer alone until its write is durable or has failed, so none is copied here. */
interface Write {
  /** `undefined`: its sync failed, so it is there to be read and never becomes durable. */
  readonly opening: object | undefined
  readonly position: number
  readonly bytes: Uint8Array
}

interface Inode {
  readonly number: bigint
  durable: Buffer
  /** What a reader sees over what is durable, the oldest first. */
  written: Write[]
  /** As a reader sees it. */
  size: number
  holders: Set<object>
}

type NameChange =
  | { readonly kind: 'create'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly inode: Inode }
  | { readonly kind: 'unlink'; readonly path: string }

/** What may go wrong, as probabilities of one operation. */
export interface DiskFaults {
  writeError: number
  syncError: number
  /** A write takes only a part, without an error. */
  shortWrite: number
  /** No space for a new file. */
  full: boolean
  /** Longest time of an operation, in ms; most take a tenth of it. */
  slowMs: number
}

export const SOUND: DiskFaults = {
  writeError: 0,
  syncError: 0,
  shortWrite: 0,
  full: false,
  slowMs: 0.4,
}

export class SimDisk {
  faults: DiskFaults = SOUND
  onFault: ((kind: string) => void) | undefined
  /** Nothing moves before this instant. */
  stalledUntil = 0
  readonly #world: World
  #names = new Map<string, Inode>()
  readonly #durableNames = new Map<string, Inode>()
  #changes: NameChange[] = []
  #inodes = 0

  constructor(world: World) {
    this.#world = world
  }

  /** The machine lost its power: of what was not synced anything may be there. */
  losePower(): void {
    const { rng } = this.#world
    // All, nothing or a draw for each: mixtures alone would hardly ever keep a whole batch.
    const share = rng.pick([0, 0.5, 0.9, 1])
    const names = this.#durableNames
    for (const change of this.#changes) if (rng.chance(share)) applyChange(names, change)
    this.#changes = []
    this.#names = new Map(names)
    for (const inode of new Set(names.values())) {
      for (const write of inode.written) {
        if (write.opening === undefined) continue
        inode.durable = writeSectors(inode.durable, write, () => rng.chance(share))
      }
      inode.written = []
      inode.size = inode.durable.length
      inode.holders.clear()
    }
  }

  /** Whether the text is anywhere in what a power loss would leave for certain. */
  isDurable(text: string): boolean {
    for (const inode of this.#durableNames.values()) {
      if (inode.durable.length > 4096 && inode.durable.includes(text)) return true
    }
    return false
  }

  /** Whether a power loss would leave the file as it is. */
  isKept(path: string): boolean {
    const inode = this.#durableNames.get(path)
    if (inode === undefined || inode.size === 0) return false
    const seen = Buffer.alloc(inode.size)
    readInto(seen, inode, 0)
    return seen.equals(inode.durable)
  }

  /** All is lost. */
  destroy(): void {
    this.#names.clear()
    this.#durableNames.clear()
    this.#changes = []
  }

  /** The disk as one process sees it. The dead ask for nothing any more, and hear nothing. */
  for(owner: Owner): FileSystem {
    const atOnce = <T>(work: () => T): Promise<T> =>
      new Promise((resolve) => {
        if (owner.alive) resolve(work())
      })
    return {
      self: { pid: 1, host: 'simulated' },
      open: (path, mode) => atOnce(() => this.#open(path, mode, owner)),
      rename: (from, to) => this.#change('rename', from, to, owner),
      unlink: (path) => this.#change('unlink', path, '', owner),
      syncDirectory: (path) => this.#syncDirectory(path, owner),
      list: (path) => atOnce(() => this.#list(path)),
      makeDirectory: () => atOnce(() => undefined),
      stat: (path) => atOnce(() => this.#stat(path)),
      fileSystemType: () => atOnce(() => 0xef53),
    }
  }

  #stat(path: string): FileStat | undefined {
    const inode = this.#names.get(path)
    if (inode !== undefined) return statOf(inode)
    return this.#list(path).length === 0 ? undefined : { size: 0, inode: 0n, birthNs: 0n }
  }

  #list(path: string): readonly string[] {
    const prefix = `${path}/`
    const below = new Set<string>()
    for (const name of this.#names.keys()) {
      if (!name.startsWith(prefix)) continue
      const end = name.indexOf('/', prefix.length)
      below.add(name.slice(prefix.length, end < 0 ? name.length : end))
    }
    return [...below].sort()
  }

  #open(path: string, mode: OpenMode, owner: Owner): OpenFile {
    let inode = this.#names.get(path)
    if (inode === undefined) {
      if (mode !== 'write') throw failure('ENOENT', path)
      if (this.faults.full) {
        this.onFault?.('refused: disk full')
        throw failure('ENOSPC', path)
      }
      this.#inodes += 1
      const number = BigInt(this.#inodes)
      inode = { number, durable: EMPTY, written: [], size: 0, holders: new Set() }
      const change: NameChange = { kind: 'create', path, inode }
      this.#changes.push(change)
      applyChange(this.#names, change)
    }
    return this.#file(inode, path, owner)
  }

  #file(inode: Inode, path: string, owner: Owner): OpenFile {
    const opening = {}
    const release = owner as Owner & { locks?: Set<() => void> }
    return {
      write: (buffers, position) => this.#write(inode, path, owner, opening, buffers, position),
      read: async (buffer, position) => readInto(buffer, inode, position),
      sync: () => this.#sync(inode, path, owner, opening),
      stat: async () => statOf(inode),
      lock: async (mode) => {
        if (inode.holders.size > 0) return false
        if (mode === 'exclusive') {
          inode.holders.add(opening)
          release.locks ??= new Set()
          release.locks.add(() => inode.holders.delete(opening))
        }
        return true
      },
      close: async () => {
        inode.holders.delete(opening)
      },
    }
  }

  #write(
    inode: Inode,
    path: string,
    owner: Owner,
    opening: object,
    buffers: readonly Uint8Array[],
    position: number,
  ): Promise<number> {
    if (!owner.alive) return new Promise(() => undefined)
    const { rng } = this.#world
    const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    const fails = rng.chance(this.faults.writeError)
    const short = fails || rng.chance(this.faults.shortWrite)
    const taken = fails ? rng.int(length) : short ? 1 + rng.int(length) : length
    const effect = (): void => {
      let at = position
      for (const buffer of buffers) {
        const left = position + taken - at
        if (left === 0) break
        const bytes = left < buffer.length ? buffer.subarray(0, left) : buffer
        inode.written.push({ opening, position: at, bytes })
        at += bytes.length
      }
      inode.size = Math.max(inode.size, at)
    }
    if (short) this.onFault?.(fails ? 'disk write error' : 'short write')
    return this.#do(`write ${path}`, owner, effect, () => {
      if (fails) throw failure('EIO', path)
      return taken
    })
  }

  #sync(inode: Inode, path: string, owner: Owner, opening: object): Promise<void> {
    if (!owner.alive) return new Promise(() => undefined)
    const fails = this.#world.rng.chance(this.faults.syncError)
    const effect = (): void => {
      // Linux marks the pages clean: what was not written is gone, whatever a later sync says.
      let others: Write[] = []
      for (const write of inode.written) {
        if (write.opening !== opening) others.push(write)
        else if (fails) others.push(lost(write))
        else {
          const end = write.position + write.bytes.length
          inode.durable = roomFor(inode.durable, end, write.position)
          inode.durable.set(write.bytes, write.position)
          if (others.length > 0) others = others.flatMap((older) => without(older, write))
        }
      }
      inode.written = others
    }
    if (fails) this.onFault?.('disk sync error')
    return this.#do(`sync ${path}`, owner, effect, () => {
      if (fails) throw failure('EIO', path)
    })
  }

  #change(kind: 'rename' | 'unlink', path: string, to: string, owner: Owner): Promise<void> {
    if (!owner.alive) return new Promise(() => undefined)
    const effect = (): void => {
      const inode = this.#names.get(path)
      if (inode === undefined) return
      const change: NameChange =
        kind === 'unlink' ? { kind, path } : { kind, from: path, to, inode }
      this.#changes.push(change)
      applyChange(this.#names, change)
    }
    const there = this.#names.has(path)
    return this.#do(`${kind} ${path}`, owner, effect, () => {
      if (!there) throw failure('ENOENT', path)
    })
  }

  #syncDirectory(path: string, owner: Owner): Promise<void> {
    if (!owner.alive) return new Promise(() => undefined)
    const fails = this.#world.rng.chance(this.faults.syncError)
    const effect = (): void => {
      if (fails) return
      const isHere = (change: NameChange): boolean => directoryOf(change) === path
      for (const change of this.#changes)
        if (isHere(change)) applyChange(this.#durableNames, change)
      this.#changes = this.#changes.filter((change) => !isHere(change))
    }
    if (fails) this.onFault?.('disk sync error')
    return this.#do(`sync-directory ${path}`, owner, effect, () => {
      if (fails) throw failure('EIO', path)
    })
  }

  /** Takes effect some time later; a process that dies meanwhile leaves it done or not done. */
  #do<T>(tag: string, owner: Owner, effect: () => void, answer: () => T): Promise<T> {
    const { rng, now } = this.#world
    const { slowMs } = this.faults
    const delayMs = rng.chance(0.9) ? rng.between(0, slowMs / 10) : rng.between(0, slowMs)
    const waitMs = Math.max(delayMs, this.stalledUntil - now + delayMs)
    return new Promise((resolve, reject) => {
      this.#world.schedule(
        waitMs,
        tag,
        () => {
          effect()
          try {
            resolve(answer())
          } catch (cause) {
            reject(cause)
          }
        },
        owner,
        () => {
          if (rng.chance(0.5)) effect()
        },
      )
    })
  }
}

/** The kernel lets go of what a dead process had locked. */
export function releaseLocks(owner: Owner & { locks?: Set<() => void> }): void {
  for (const release of owner.locks ?? []) release()
}

function statOf(inode: Inode): FileStat {
  return { size: inode.size, inode: inode.number, birthNs: 1_000n }
}

/** Answers how many bytes there were. */
function readInto(target: Uint8Array, { durable, written, size }: Inode, from: number): number {
  const length = Math.max(0, Math.min(target.length, size - from))
  const kept = durable.copy(target, 0, from, from + length)
  target.fill(0, kept, length)
  for (const { position, bytes } of written) {
    const start = Math.max(position, from)
    const end = Math.min(position + bytes.length, from + length)
    if (start < end) target.set(bytes.subarray(start - position, end - position), start - from)
  }
  return length
}

/** The log may use a buffer again once its write has failed. */
function lost({ position, bytes }: Write): Write {
  return { opening: undefined, position, bytes: bytes.slice() }
}

/** No file moves from one directory to another. */
function directoryOf(change: NameChange): string {
  const path = change.kind === 'rename' ? change.to : change.path
  return path.slice(0, path.lastIndexOf('/'))
}

function applyChange(names: Map<string, Inode>, change: NameChange): void {
  if (change.kind === 'create') names.set(change.path, change.inode)
  else if (change.kind === 'unlink') names.delete(change.path)
  else {
    // The file that was renamed, also where what gave it its first name was lost.
    if (names.get(change.from) === change.inode) names.delete(change.from)
    names.set(change.to, change.inode)
  }
}

/** The content with those sectors of the write in it that `keep` draws. */
function writeSectors(content: Buffer, { position, bytes }: Write, keep: () => boolean): Buffer {
  const end = position + bytes.length
  const target = roomFor(content, end, end)
  let reached = content.length
  for (let at = position; at < end; ) {
    const next = Math.min(end, (Math.floor(at / SECTOR) + 1) * SECTOR)
    if (keep()) {
      target.set(bytes.subarray(at - position, next - position), at)
      reached = Math.max(reached, next)
    }
    at = next
  }
  return target.subarray(0, reached)
}

/** What an older write has left where a newer one that is durable does not lie over it. */
function without(older: Write, { position, bytes }: Write): Write[] {
  const { opening } = older
  const end = position + bytes.length
  const olderEnd = older.position + older.bytes.length
  if (end <= older.position || position >= olderEnd) return [older]
  const left = older.bytes.subarray(0, Math.max(0, position - older.position))
  const right = older.bytes.subarray(Math.min(older.bytes.length, end - older.position))
  return [
    { opening, position: older.position, bytes: left },
    { opening, position: olderEnd - right.length, bytes: right },
  ].filter((part) => part.bytes.length > 0)
}

/** The content, made longer: with zeros up to `from`, and from there on with what will be written. */
function roomFor(content: Buffer, length: number, from: number): Buffer {
  if (length <= content.length) return content
  const grown = Buffer.allocUnsafe(length)
  content.copy(grown)
  return grown.fill(0, content.length, Math.max(content.length, from))
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code })
}
