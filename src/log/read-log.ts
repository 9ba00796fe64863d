/**
 * Reads a log that somebody else may be writing: without its lock, and without writing.
 *
 * A reader can meet a batch half written, or a segment in the middle of its turn to the next one.
 * Both pass: what looks damaged is read again, and only damage that stays is reported.
 */
import { LogCorruptError, UnanimousError } from '../errors.ts'
import type { Incarnation } from '../xid.ts'
import type { IncarnationStanding, LogOwner, LogSnapshot } from './decision-log.ts'
import { type LoadedDirectory, loadDirectory, readSegment } from './directory.ts'
import type { FileSystem } from './file-system.ts'
import { decodeCopy, PAGE_BYTES } from './frame.ts'
import { asUnreadable, readOwner } from './log-lock.ts'
import { DEFAULT_KEPT_INCARNATIONS } from './open-log.ts'
import type { LogRecord } from './record.ts'
import { findHeader, type ReplayedBatch } from './replay.ts'
import { segmentName, segmentNumber } from './segment-store.ts'

const ATTEMPTS = 5

/** A batch of the log as `unanimous log dump` shows it. */
export interface DumpedBatch {
  readonly file: string
  /** Of its first copy, in bytes. */
  readonly offset: number
  readonly batch: number
  readonly records: readonly LogRecord[]
}

export interface LogReport {
  readonly logId: string
  /** The segment that was read: the newest one says everything. */
  readonly file: string
  readonly bytes: number
  /** Where the next batch would begin, in bytes. */
  readonly end: number
  readonly batches: number
  readonly records: number
  readonly pending: number
  /** Offsets of damage that another copy makes good at the next open. */
  readonly repairable: readonly number[]
  /** What a crash left of a batch that was never acknowledged; cut at the next open. */
  readonly torn: { readonly offset: number; readonly bytes: number } | undefined
}

/**
 * What the log holds now.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_UNREADABLE when there is no log, or it cannot be read
 */
export function readLog(directory: string, files: FileSystem): Promise<LogSnapshot> {
  return new LogReader(directory, files).read()
}

/**
 * Reads a log again and again, and its bytes only when they may have changed.
 *
 *   the newest segment's name ─► does anybody hold the lock? ─► its bytes
 *
 * Nobody did, and the name is still the newest: then nobody has written since, for an owner starts a
 * segment of its own before anything else. So the answer of before is that of now, the owner's too.
 */
export class LogReader {
  readonly #directory: string
  readonly #files: FileSystem
  #last: { readonly name: string; readonly snapshot: LogSnapshot } | undefined

  constructor(directory: string, files: FileSystem) {
    this.#directory = directory
    this.#files = files
  }

  /** As {@link readLog}. */
  async read(): Promise<LogSnapshot> {
    const { name, owner, known } = await this.#look()
    return known ?? (await this.#readBytes(name, owner)).snapshot
  }

  /**
   * What the log holds at this moment, to be read later: the bytes of a log that nobody holds wait.
   *
   * @returns reads them, and answers `undefined` when somebody has opened the log since
   * @throws as {@link readLog}, and so does what is answered
   */
  async mark(): Promise<() => Promise<LogSnapshot | undefined>> {
    const { name, owner, known } = await this.#look()
    if (known !== undefined) return () => Promise.resolve(known)
    if (owner !== undefined) {
      const { snapshot } = await this.#readBytes(name, owner)
      return () => Promise.resolve(snapshot)
    }
    return async () => {
      const { snapshot, file } = await this.#readBytes(name, owner)
      return file === name ? snapshot : undefined
    }
  }

  async #look(): Promise<{
    readonly name: string | undefined
    readonly owner: LogOwner | undefined
    readonly known?: LogSnapshot
  }> {
    const name = await newestName(this.#directory, this.#files)
    if (name !== undefined && this.#last?.name === name) {
      return { name, owner: undefined, known: this.#last.snapshot }
    }
    return { name, owner: await readOwner(this.#directory, this.#files) }
  }

  async #readBytes(
    name: string | undefined,
    owner: LogOwner | undefined,
  ): Promise<{ readonly snapshot: LogSnapshot; readonly file: string }> {
    const read = await readSnapshot(this.#directory, this.#files, owner)
    const unowned = owner === undefined && read.file === name
    this.#last = unowned ? { name, snapshot: read.snapshot } : undefined
    return read
  }
}

/** Whether there is a log that could be opened; what is damaged counts. */
export async function hasLog(directory: string, files: FileSystem): Promise<boolean> {
  return (await newestName(directory, files)) !== undefined
}

/** `undefined` where there is no segment, or the directory cannot be read. */
async function newestName(directory: string, files: FileSystem): Promise<string | undefined> {
  const names = await files.list(directory).catch(() => [])
  return names
    .filter((name) => segmentNumber(name) !== undefined)
    .toSorted()
    .at(-1)
}

async function readSnapshot(
  directory: string,
  files: FileSystem,
  owner: LogOwner | undefined,
): Promise<{ readonly snapshot: LogSnapshot; readonly file: string }> {
  const { state, newest } = await load(directory, files)
  const snapshot: LogSnapshot = {
    logId: state.logId,
    lastEpoch: state.lastEpoch,
    pending: state.pending(),
    find: (gtrid) => state.find(gtrid),
    placeOf: (gtrid) => {
      const offset = state.offsetOf(gtrid)
      return offset === undefined ? undefined : { file: newest.path, offset }
    },
    operators: state.operators.map(({ type: _, ...entry }) => entry),
    standing: (incarnation: Incarnation): IncarnationStanding =>
      state.standing(incarnation, undefined),
    owner,
  }
  return { snapshot, file: segmentName(newest.number) }
}

/**
 * Reads every byte of the log and says what is there.
 *
 * @throws LogCorruptError at the first damage that nothing makes good
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function verifyLog(directory: string, files: FileSystem): Promise<LogReport> {
  let report = await verifyOnce(directory, files)
  // A batch under way has one whole copy before it has two: damage is what every look sees.
  for (let look = 1; look < ATTEMPTS && report.repairable.length > 0; look += 1) {
    const again = await verifyOnce(directory, files)
    const seen = again.file === report.file ? report.repairable : again.repairable
    report = { ...again, repairable: again.repairable.filter((offset) => seen.includes(offset)) }
  }
  return report
}

async function verifyOnce(directory: string, files: FileSystem): Promise<LogReport> {
  let batches: ReplayedBatch[] = []
  const { state, newest } = await load(directory, files, (batch) => {
    if (isFirst(batch)) batches = []
    batches.push(batch)
  })
  return {
    logId: state.logId,
    file: newest.path,
    bytes: newest.size,
    end: newest.replayed.end,
    batches: batches.length,
    records: batches.reduce((sum, { records }) => sum + records.length, 0),
    pending: state.pendingCount,
    repairable: newest.replayed.repaired,
    torn: newest.replayed.torn,
  }
}

/**
 * The batches of the log, oldest first: its checkpoint, and what came after it.
 *
 * @throws as {@link verifyLog}; what comes before the damage is yielded first
 */
export async function* dumpLog(directory: string, files: FileSystem): AsyncGenerator<DumpedBatch> {
  let batches: ReplayedBatch[] = []
  let file = ''
  let failure: LogCorruptError | undefined
  try {
    const { newest } = await load(directory, files, (batch) => {
      if (isFirst(batch)) batches = []
      batches.push(batch)
    })
    file = newest.path
  } catch (cause) {
    if (!(cause instanceof LogCorruptError)) throw cause
    file = cause.file
    failure = cause
  }
  for (const { offset, batch, records } of batches) yield { file, offset, batch, records }
  if (failure !== undefined) throw failure
}

/**
 * Numbers of the batches that lie behind damage and are whole in themselves. Nothing acts on them:
 * they tell how much is missing.
 *
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function batchesBehind(
  { file, offset }: LogCorruptError,
  files: FileSystem,
): Promise<readonly number[]> {
  if ((await files.stat(file)) === undefined) return []
  const bytes = await readSegment(file, files)
  const salt = findHeader(bytes)?.salt
  const found = new Set<number>()
  if (salt === undefined) return []
  for (let page = Math.floor(offset / PAGE_BYTES); page < bytes.length / PAGE_BYTES; page += 1) {
    const frame = decodeCopy(bytes, page, salt)
    if (frame !== undefined) found.add(frame.batch)
  }
  return [...found].toSorted((a, b) => a - b)
}

function isFirst({ records }: ReplayedBatch): boolean {
  return records[0]?.type === 'checkpoint'
}

type Found = LoadedDirectory & { readonly newest: NonNullable<LoadedDirectory['newest']> }

async function load(
  directory: string,
  files: FileSystem,
  onBatch?: (batch: ReplayedBatch) => void,
): Promise<Found> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const loaded = await loadDirectory(directory, files, DEFAULT_KEPT_INCARNATIONS, onBatch)
      if (loaded.newest !== undefined) return { ...loaded, newest: loaded.newest }
      throw new UnanimousError('LOG_UNREADABLE', `there is no decision log in ${directory}`)
    } catch (cause) {
      if (attempt === ATTEMPTS || !mayPass(cause)) throw asUnreadable(directory, cause)
    }
  }
}

/** Whether a second look may find nothing: a batch or a roll was under way. */
function mayPass(cause: unknown): boolean {
  if (cause instanceof LogCorruptError) return true
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}
