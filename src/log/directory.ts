/**
 * What a log directory holds, read whole: the newest segment alone says everything.
 */
import { LogCorruptError } from '../errors.ts'
import { type FileSystem, type OpenFile, readAll } from './file-system.ts'
import { MAX_SEGMENT_BYTES, PAGE_BYTES } from './frame.ts'
import { LogState } from './log-state.ts'
import { type ReplayedBatch, type ReplayedSegment, replayInSteps } from './replay.ts'
import { SPARE_NAME, segmentName, segmentNumber } from './segment-store.ts'
import { changedSize, readInStretches, Stretch } from './stretch.ts'

export interface LoadedDirectory {
  readonly state: LogState
  /** Names of the segments, oldest first; empty for a new log. */
  readonly segments: readonly string[]
  readonly newest: LoadedSegment | undefined
}

export interface LoadedSegment {
  readonly path: string
  readonly number: number
  readonly size: number
  readonly replayed: ReplayedSegment
  /** What lies behind the last whole batch: all from `replayed.end` on. */
  readonly tail: Buffer
}

/**
 * Reads the newest segment of a directory, if there is one.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function loadDirectory(
  directory: string,
  files: FileSystem,
  keepIncarnations: number,
  onBatch?: (batch: ReplayedBatch) => void,
): Promise<LoadedDirectory> {
  const names = await files.list(directory)
  const numbered = names.toSorted().flatMap((name) => {
    const number = segmentNumber(name)
    return number === undefined ? [] : [{ name, number }]
  })
  const segments = numbered.map(({ name }) => name)
  const state = new LogState(keepIncarnations)
  const last = numbered.at(-1)
  if (last === undefined) {
    // A spare is made only after the first segment is durable.
    if (names.includes(SPARE_NAME)) {
      const path = `${directory}/${segmentName(1)}`
      throw new LogCorruptError(path, 0, 'every segment is missing, beginning')
    }
    return { state, segments, newest: undefined }
  }
  const { name, number } = last
  const path = `${directory}/${name}`
  return withSegment(path, files, async (file, size) => {
    const stretch = new Stretch(size)
    const steps = replayInSteps(stretch, path, number, state, onBatch)
    const replayed = await readInStretches(file, path, stretch, steps)
    const tail = stretch.bytes.subarray(replayed.end - stretch.origin * PAGE_BYTES)
    return { state, segments, newest: { path, number, size, replayed, tail } }
  })
}

/**
 * The bytes of a segment.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_UNREADABLE
 */
export function readSegment(path: string, files: FileSystem): Promise<Buffer> {
  return withSegment(path, files, async (file, size) => {
    const bytes = await readAll(file, size)
    if (bytes.length !== size) throw changedSize(path)
    return bytes
  })
}

async function withSegment<T>(
  path: string,
  files: FileSystem,
  work: (file: OpenFile, size: number) => Promise<T>,
): Promise<T> {
  const file = await files.open(path, 'read')
  try {
    const { size } = await file.stat()
    if (size > MAX_SEGMENT_BYTES) {
      throw new LogCorruptError(path, MAX_SEGMENT_BYTES, 'bytes beyond the largest segment')
    }
    return await work(file, size)
  } finally {
    await file.close()
  }
}
