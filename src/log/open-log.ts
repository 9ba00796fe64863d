/**
 * Opens a decision log on files.
 *
 *   lock ─► is it the directory it was? ─► replay ─► OpenedLog
 *   start ─► durable again, with a new incarnation ─► DecisionLog
 *
 * Nothing is written to the log before `start`, so that a coordinator can look for signs of a copy
 * first. `start` puts what replay found, and the new incarnation, into a fresh segment and makes
 * that durable: what was read may have come from a page cache that the disk never saw (after a
 * failed fsync), and recovery must not act on what a crash could still take back.
 */
import type { Clock, Random } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { Failpoints } from '../failpoint.ts'
import { invariant } from '../invariant.ts'
import { type Incarnation, logIdFrom, nonceFrom } from '../xid.ts'
import type {
  IncarnationStanding,
  LogEvent,
  OpenedLog,
  OperatedLog,
  OperatorEntry,
} from './decision-log.ts'
import { type LoadedDirectory, type LoadedSegment, loadDirectory } from './directory.ts'
import { FileDecisionLog } from './file-decision-log.ts'
import { type FileSystem, writeAll } from './file-system.ts'
import { FIRST_FRAME_PAGE, framePages, MAX_SEGMENT_BYTES, PAGE_BYTES } from './frame.ts'
import { acquireLock, asUnreadable, fileSystemOf, type HeldLock } from './log-lock.ts'
import type { LogState } from './log-state.ts'
import { LogWriter } from './log-writer.ts'
import { encodeRecords, type LogRecord } from './record.ts'
import { checkOperator } from './record-limits.ts'
import { isOutOfSpace, SegmentStore } from './segment-store.ts'

export interface LogOptions {
  /** The log's directory; created when missing. */
  readonly directory: string
  /** How long to wait for another owner to end, in milliseconds. Default 0: refuse at once. */
  readonly lockWaitMs?: number
  /** Take network file systems and tmpfs, on which decisions may be lost. Default false. */
  readonly allowUnsafeFileSystem?: boolean
  /**
   * Size of a segment in bytes, a multiple of 4096. Default 16 MiB. The log takes two of them, and
   * begin refuses when the decisions of all live transactions would not fit into one.
   */
  readonly segmentBytes?: number
  /** How many incarnations the log remembers. Default 10,000. */
  readonly keepIncarnations?: number
}

export interface LogSeams {
  readonly clock: Clock
  readonly random: Random
  readonly files: FileSystem
  readonly failpoints: Failpoints
  /** Runs the callback once what is ready now has run. Default `setImmediate`. */
  nextTurn?(run: () => void): void
  onEvent(event: LogEvent): void
}

export const DEFAULT_SEGMENT_BYTES: number = 16 * 1024 * 1024
export const DEFAULT_KEPT_INCARNATIONS = 10_000
const MIN_SEGMENT_BYTES = 16 * PAGE_BYTES
/** Copies of torn tails that are kept, the newest ones. */
const KEPT_CUTS = 8
const CUT_NAME = /\.cut-\d+$/

/**
 * Locks and replays a log, which is created by `start` when the directory is empty.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_LOCKED, LOG_COPIED, LOG_UNSAFE, LOG_UNREADABLE or INVALID_OPTION
 */
export async function openFileDecisionLog(
  options: LogOptions,
  seams: LogSeams,
): Promise<OpenedLog> {
  const settings = checkOptions(options)
  const lock = await acquireLock(settings, seams)
  try {
    const loaded = await loadDirectory(settings.directory, seams.files, settings.keepIncarnations)
    await checkIdentity(settings.directory, lock, loaded)
    return new OpenedFileLog(settings, seams, lock, loaded)
  } catch (cause) {
    await lock.release()
    throw asUnreadable(settings.directory, cause)
  }
}

/**
 * Declares a copied, moved or restored directory to be the log from here on. The undecided branches
 * of its older incarnations are orphans afterwards: the original may have decided them.
 *
 * @param entry - who did so, and why: goes on record with it
 * @throws as {@link openFileDecisionLog}, but for LOG_COPIED
 */
export async function adoptLog(
  options: LogOptions,
  seams: LogSeams,
  entry?: OperatorEntry,
): Promise<void> {
  const settings = checkOptions(options)
  if (entry !== undefined) checkOperator(entry)
  const lock = await acquireLock(settings, seams)
  try {
    const loaded = await loadDirectory(settings.directory, seams.files, settings.keepIncarnations)
    if (loaded.newest !== undefined) {
      await keepTorn(settings.directory, loaded.newest, seams)
      loaded.state.forgetIncarnations()
      const atMs = seams.clock.now()
      const note =
        entry === undefined ? [] : [{ type: 'operator', bqual: '', ...entry, atMs } as const]
      const store = await rewrite(settings, seams, loaded, note)
      await store.close()
    }
    await lock.adopt()
  } catch (cause) {
    throw asUnreadable(settings.directory, cause)
  } finally {
    await lock.release()
  }
}

type Settings = Required<LogOptions>

class OpenedFileLog implements OpenedLog {
  readonly logId: string
  readonly #settings: Settings
  readonly #seams: LogSeams
  readonly #lock: HeldLock
  readonly #loaded: LoadedDirectory
  #used: 'no' | 'started' | 'closed' = 'no'

  constructor(settings: Settings, seams: LogSeams, lock: HeldLock, loaded: LoadedDirectory) {
    this.#settings = settings
    this.#seams = seams
    this.#lock = lock
    this.#loaded = loaded
    const { state } = loaded
    if (loaded.newest === undefined) {
      state.logId = logIdFrom(seams.random.bytes(10))
      state.lowestEpoch = 1
    }
    this.logId = state.logId
  }

  standing(incarnation: Incarnation): IncarnationStanding {
    return this.#loaded.state.standing(incarnation, undefined)
  }

  async start(): Promise<OperatedLog> {
    invariant(this.#used === 'no', 'an opened log starts once')
    this.#used = 'started'
    try {
      return await this.#start()
    } catch (cause) {
      await this.#lock.release()
      throw startError(this.#settings.directory, cause)
    }
  }

  async close(): Promise<void> {
    if (this.#used !== 'no') return
    this.#used = 'closed'
    await this.#lock.release()
  }

  async #start(): Promise<OperatedLog> {
    const { clock, random } = this.#seams
    const { state, newest } = this.#loaded
    if (newest === undefined) await this.#lock.adopt()
    else await keepTorn(this.#settings.directory, newest, this.#seams)
    const incarnation = { epoch: state.lastEpoch + 1, nonce: nonceFrom(random.bytes(5)) }
    const open: LogRecord = { type: 'open', atMs: clock.now(), ...incarnation }
    const store = await rewrite(this.#settings, this.#seams, this.#loaded, [open])
    // The second file, too, before any transaction: a disk that fills up later then changes
    // nothing.
    if (store.spareState === 'missing') await store.prepareSpare()
    state.apply(open, 0)
    if (newest !== undefined) {
      const { path: file, replayed } = newest
      for (const offset of replayed.repaired) {
        this.#seams.onEvent({ kind: 'copy-repaired', file, offset })
      }
    }
    return new FileDecisionLog({
      state,
      incarnation,
      clock,
      writer: (live) => this.#writer(store, state, live),
      release: () => this.#lock.release(),
    })
  }

  #writer(store: SegmentStore, state: LogState, live: () => number): LogWriter {
    const seams = this.#seams
    return new LogWriter(store, state, this.#settings.segmentBytes, {
      clock: seams.clock,
      nextTurn: (run) => {
        if (seams.nextTurn === undefined) setImmediate(run)
        else seams.nextTurn(run)
      },
      live,
      onPoisoned: (cause) => seams.onEvent({ kind: 'poisoned', cause }),
    })
  }
}

/** Puts the state into a fresh segment, durably: the new beginning of the log. */
async function rewrite(
  settings: Settings,
  seams: LogSeams,
  { state, segments, newest }: LoadedDirectory,
  more: readonly LogRecord[],
): Promise<SegmentStore> {
  const { files, failpoints, clock, random } = seams
  const { directory, segmentBytes } = settings
  state.compactServers()
  const createdAtMs = clock.now()
  const records = [...state.snapshot(createdAtMs), ...more]
  const store = new SegmentStore(directory, segmentBytes, {
    files,
    failpoints,
    randomBytes: (count) => random.bytes(count),
    keepsInodes: (await fileSystemOf(directory, files)).trust === 'local',
  })
  const payload = encodeRecords(records, state.servers)
  // Header, checkpoint, one batch, and the last page, which stays blank.
  if ((FIRST_FRAME_PAGE + 2 * framePages(payload.length) + 3) * PAGE_BYTES > segmentBytes) {
    throw new UnanimousError('LOG_FULL', `what the log holds does not fit ${segmentBytes} bytes`, {
      hint: 'Raise segmentBytes.',
    })
  }
  const number = (newest?.number ?? 0) + 1
  const firstBatch = (newest?.replayed.lastBatch ?? 0) + 1
  const { logId } = state
  const plan = { number, logId, createdAtMs, firstBatch, payload: () => payload }
  try {
    await store.start(plan, segments)
  } catch (cause) {
    await store.close().catch(() => undefined)
    throw cause
  }
  return store
}

/**
 * Keeps a copy of what a crash left behind the last whole batch, before its segment is recycled.
 */
async function keepTorn(directory: string, newest: LoadedSegment, seams: LogSeams): Promise<void> {
  const { files } = seams
  const { torn, lastBatch } = newest.replayed
  if (torn === undefined) return
  const { offset, bytes } = torn
  const copy = `${newest.path}.cut-${lastBatch + 1}`
  const file = await files.open(copy, 'write')
  try {
    await writeAll(file, [newest.tail.subarray(0, bytes)], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await files.syncDirectory(directory)
  const cuts = (await files.list(directory)).filter((name) => CUT_NAME.test(name)).toSorted()
  for (const name of cuts.slice(0, -KEPT_CUTS)) await files.unlink(`${directory}/${name}`)
  seams.onEvent({ kind: 'tail-cut', file: newest.path, offset, bytes, copy })
}

async function checkIdentity(
  directory: string,
  lock: HeldLock,
  loaded: LoadedDirectory,
): Promise<void> {
  if (lock.identity === 'own' || loaded.newest === undefined) return
  throw new UnanimousError(
    'LOG_COPIED',
    `the log directory ${directory} was copied, moved between disks or restored`,
    {
      hint: 'If no other copy of it is in use or will be, run `unanimous log adopt`: undecided branches of its past are then left to an operator.',
    },
  )
}

function checkOptions(options: LogOptions): Settings {
  const {
    directory,
    lockWaitMs = 0,
    allowUnsafeFileSystem = false,
    segmentBytes = DEFAULT_SEGMENT_BYTES,
    keepIncarnations = DEFAULT_KEPT_INCARNATIONS,
  } = options
  if (directory === '') refuse('the log needs a directory')
  if (!(lockWaitMs >= 0)) refuse('lockWaitMs is a number of milliseconds')
  if (
    !Number.isInteger(segmentBytes / PAGE_BYTES) ||
    segmentBytes < MIN_SEGMENT_BYTES ||
    segmentBytes > MAX_SEGMENT_BYTES
  ) {
    refuse(`segmentBytes is a multiple of ${PAGE_BYTES}, from ${MIN_SEGMENT_BYTES} to 1 GiB`)
  }
  if (!Number.isInteger(keepIncarnations) || keepIncarnations < 1) {
    refuse('keepIncarnations is a number from 1')
  }
  return { directory, lockWaitMs, allowUnsafeFileSystem, segmentBytes, keepIncarnations }
}

function startError(directory: string, cause: unknown): unknown {
  if (!isOutOfSpace(cause)) return asUnreadable(directory, cause)
  return new UnanimousError('LOG_FULL', `there is no space for the log in ${directory}`, {
    hint: 'Free space on its disk: the log takes two segments (segmentBytes).',
    cause,
  })
}

function refuse(reason: string): never {
  throw new UnanimousError('INVALID_OPTION', reason)
}
