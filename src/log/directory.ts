/**
 * What a log directory holds, read whole: the newest segment alone says everything.
 */
import { LogCorruptError, UnanimousError } from '../errors.ts'
import { type FileSystem, readAll } from './file-system.ts'
import { MAX_SEGMENT_BYTES } from './frame.ts'
import { LogState } from './log-state.ts'
import { type ReplayedBatch, type ReplayedSegment, replaySegment } from './replay.ts'
import { SPARE_NAME, segmentName, segmentNumber } from './segment-store.ts'

export interface LoadedDirectory {
  readonly state: LogState
  /** Names of the segments, oldest first; empty for a new log. */
  readonly segments: readonly string[]
  readonly newest: LoadedSegment | undefined
}

export interface LoadedSegment {
  readonly path: string
  readonly number: number
  readonly bytes: Buffer
  readonly replayed: ReplayedSegment
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
  const bytes = await readSegment(path, files)
  const replayed = replaySegment(bytes, path, number, state, onBatch)
  return { state, segments, newest: { path, number, bytes, replayed } }
}

/**
 * The bytes of a segment.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function readSegment(path: string, files: FileSystem): Promise<Buffer> {
  const file = await files.open(path, 'read')
  try {
    const { size } = await file.stat()
    if (size > MAX_SEGMENT_BYTES) {
      throw new LogCorruptError(path, MAX_SEGMENT_BYTES, 'bytes beyond the largest segment')
    }
    const bytes = await readAll(file, size)
    if (bytes.length !== size) {
      throw new UnanimousError('LOG_UNREADABLE', `${path} changed its size while it was read`)
    }
    return bytes
  } finally {
    await file.close()
  }
}
