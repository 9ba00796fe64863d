/**
 * A stretch of a segment, read into the same memory again and again. Memory as long as the segment costs
 * more than to read it: 16 MiB take 9.5 ms of a processor, and in pieces of 1 MiB 2.2 ms.
 */
import { UnanimousError } from '../errors.ts'
import { type OpenFile, readInto } from './file-system.ts'
import { PAGE_BYTES } from './frame.ts'

/** Read at a time, in bytes, where not more is wanted. */
const PIECE_BYTES = 1024 * 1024

/** Pages of a segment, fewer where it ends before. */
export interface Pages {
  readonly page: number
  readonly count: number
}

export class Stretch {
  /** Of the whole segment, in bytes. */
  readonly size: number
  /** Overwritten when others are read: whoever keeps some copies them. */
  bytes: Buffer
  /** The first page that there is. */
  origin = 0

  constructor(size: number, bytes: Buffer = Buffer.alloc(0)) {
    this.size = size
    this.bytes = bytes
  }

  holds({ page, count }: Pages): boolean {
    const end = Math.min((page + count) * PAGE_BYTES, this.size)
    return page >= this.origin && end <= this.origin * PAGE_BYTES + this.bytes.length
  }

  /** All from a page on. */
  rest(page: number): Pages {
    return { page, count: Math.ceil(this.size / PAGE_BYTES) - page }
  }
}

/**
 * Reads a segment a stretch at a time, as somebody asks for it.
 *
 * @param steps - asks for pages that the stretch does not hold, until it has its result
 * @param pieceBytes - read at least so many at a time
 * @throws UnanimousError LOG_UNREADABLE
 */
export async function readInStretches<T>(
  file: OpenFile,
  path: string,
  stretch: Stretch,
  steps: Generator<Pages, T, void>,
  pieceBytes: number = PIECE_BYTES,
): Promise<T> {
  let memory = Buffer.alloc(0)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    const { page, count } = step.value
    const start = page * PAGE_BYTES
    const there = Math.max(0, stretch.size - start)
    const length = Math.min(Math.max(count * PAGE_BYTES, pieceBytes), there)
    if (length > memory.length) memory = Buffer.allocUnsafe(length)
    stretch.bytes = memory.subarray(0, length)
    stretch.origin = page
    if ((await readInto(file, stretch.bytes, start)) !== length) {
      throw changedSize(path)
    }
  }
}

export function changedSize(path: string): UnanimousError {
  return new UnanimousError('LOG_UNREADABLE', `${path} changed its size while it was read`)
}
