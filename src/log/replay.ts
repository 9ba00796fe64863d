/**
 * Replay: reads a segment and tells the decided prefix, a torn tail and damage apart.
 *
 * One batch is in flight at a time, and the next one is written only after the last one is durable,
 * so a crash can tear nothing but the batch behind the last whole one. From the page where the next
 * batch would begin:
 *
 *   valid            decided. One copy is enough; the other is reported, and mended by the rewrite
 *                    into a fresh segment before anything is acted on
 *   not valid, and a frame of the segment with this number or a higher one lies further on
 *                    damage: something that was acknowledged is gone
 *   not valid, and beyond the space of one batch more than one sector is not blank
 *                    damage: no write of ours was ever under way there
 *   not valid, and that space is not blank either
 *                    torn: never acknowledged. It is cut, and kept as a copy
 *   blank            the end
 *
 * The header and the checkpoint were durable before the segment had its name: a crash cannot tear
 * them, so they are whole or it is damage. So is a file that is shorter or longer than its header
 * says.
 */
import { LogCorruptError, messageOf, UnanimousError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import { MalformedError, Texts } from './bytes.ts'
import {
  blankSector,
  claimedPages,
  decodeCopy,
  decodeHeader,
  decodePair,
  FIRST_FRAME_PAGE,
  FORMAT_VERSION,
  type Frame,
  type FramePair,
  MAX_BATCH_PAGES,
  MAX_SEGMENT_BYTES,
  mergeCopies,
  PAGE_BYTES,
  SECTOR_BYTES,
  type SegmentHeader,
} from './frame.ts'
import type { LogState } from './log-state.ts'
import { decodeRecords, type LogRecord } from './record.ts'
import { type Pages, Stretch } from './stretch.ts'

export interface ReplayedSegment {
  readonly header: SegmentHeader
  /** Number of the last batch that is there. */
  readonly lastBatch: number
  /** Where the next batch would begin, in bytes. */
  readonly end: number
  /** What a crash left of a batch that was never acknowledged. */
  readonly torn: { readonly offset: number; readonly bytes: number } | undefined
  /** Offsets of damage that the other copy makes good. */
  readonly repaired: readonly number[]
}

/** A batch as it was read, for dumps. */
export interface ReplayedBatch {
  readonly batch: number
  readonly offset: number
  readonly records: readonly LogRecord[]
}

/**
 * Feeds every record of the segment to the state.
 *
 * @param path - of the segment, for errors
 * @param number - that its name gives it
 * @throws LogCorruptError
 * @throws UnanimousError LOG_UNREADABLE when a later version wrote it
 */
export function replaySegment(
  bytes: Buffer,
  path: string,
  number: number,
  state: LogState,
  onBatch?: (batch: ReplayedBatch) => void,
): ReplayedSegment {
  const step = replayInSteps(new Stretch(bytes.length, bytes), path, number, state, onBatch).next()
  invariant(step.done === true, 'a whole segment holds what replay asks for')
  return step.value
}

/**
 * As {@link replaySegment}, of a segment that is read meanwhile: asks for pages that the stretch does not
 * hold. Whatever is not as it was written is judged with all that comes behind it, and in the end the
 * stretch holds all from there on.
 */
export function* replayInSteps(
  stretch: Stretch,
  path: string,
  number: number,
  state: LogState,
  onBatch?: (batch: ReplayedBatch) => void,
): Generator<Pages, ReplayedSegment, void> {
  const head = { page: 0, count: FIRST_FRAME_PAGE + 1 }
  if (!stretch.holds(head)) yield head
  const repaired: number[] = []
  const header = readHeader(stretch, path, number, repaired)
  const { salt, firstBatch } = header
  let chain: Buffer = header.digest
  let page = FIRST_FRAME_PAGE
  let batch = firstBatch
  let maxPages = Math.floor(stretch.size / PAGE_BYTES / 2)
  const texts = new Texts()
  for (;;) {
    const pair = yield* pairAt(stretch, page, salt, maxPages)
    if (pair === undefined || !follows(pair.frame, batch, chain)) break
    if (!pair.intact) repaired.push(page * PAGE_BYTES)
    const records = apply(pair.frame, path, state, texts, batch === firstBatch)
    onBatch?.({ batch, offset: page * PAGE_BYTES, records })
    chain = pair.frame.digest
    page += 2 * pair.frame.pages
    batch += 1
    maxPages = MAX_BATCH_PAGES
  }
  if (batch === firstBatch) {
    throw new LogCorruptError(path, page * PAGE_BYTES, 'the checkpoint is damaged')
  }
  if (state.logId !== header.logId) {
    throw new LogCorruptError(path, 0, 'header and checkpoint name different logs')
  }
  const rest = stretch.rest(page)
  if (!stretch.holds(rest)) yield rest
  const torn = readTail(stretch, path, header, page, batch, repaired)
  return { header, lastBatch: batch - 1, end: page * PAGE_BYTES, torn, repaired }
}

/** The frame that begins at the page: what is not intact may be made good by what comes behind it. */
function* pairAt(
  stretch: Stretch,
  page: number,
  salt: string,
  maxPages: number,
): Generator<Pages, FramePair | undefined, void> {
  const rest = stretch.rest(page)
  const head = { page, count: Math.min(1, rest.count) }
  if (!stretch.holds(head)) yield head
  const claimed = claimedPages(stretch.bytes, page - stretch.origin)
  const both = { page, count: 2 * Math.min(claimed, maxPages) }
  if (!stretch.holds(both)) yield both
  const pair = decodePair(stretch.bytes, page - stretch.origin, salt, maxPages, stretch.origin)
  if (pair?.intact === true || stretch.holds(rest)) return pair
  yield rest
  return decodePair(stretch.bytes, page - stretch.origin, salt, maxPages, stretch.origin)
}

function follows(frame: Frame, batch: number, chain: Buffer): boolean {
  return frame.batch === batch && frame.chain.equals(chain)
}

function readHeader(
  { bytes, size }: Stretch,
  path: string,
  number: number,
  repaired: number[],
): SegmentHeader {
  const [first, second] = headerPages(bytes)
  const header = findHeader(bytes)
  if (header === undefined) throw new LogCorruptError(path, 0, 'the header is damaged')
  if (header.version !== FORMAT_VERSION) {
    throw new UnanimousError('LOG_UNREADABLE', `${path} has format version ${header.version}`, {
      hint: `This release reads version ${FORMAT_VERSION}: use the release that wrote the log, or a later one.`,
    })
  }
  if (!first.equals(second)) repaired.push(0)
  if (header.number !== number) {
    throw new LogCorruptError(path, 0, `the header of segment ${header.number}`)
  }
  if (header.segmentBytes !== size || size > MAX_SEGMENT_BYTES) {
    const message = `${size} bytes where the header says ${header.segmentBytes}`
    throw new LogCorruptError(path, size, message)
  }
  return header
}

/** The header of a segment, of whatever version, from its first copy, its second one, or both. */
export function findHeader(bytes: Buffer): SegmentHeader | undefined {
  const [first, second] = headerPages(bytes)
  return decodeHeader(first) ?? decodeHeader(second) ?? mergeCopies(first, second, decodeHeader)
}

function headerPages(bytes: Buffer): [Buffer, Buffer] {
  return [bytes.subarray(0, PAGE_BYTES), bytes.subarray(PAGE_BYTES, 2 * PAGE_BYTES)]
}

function apply(
  frame: Frame,
  path: string,
  state: LogState,
  texts: Texts,
  isFirst: boolean,
): LogRecord[] {
  const records: LogRecord[] = []
  const offset = frame.firstPage * PAGE_BYTES
  try {
    const take = (record: LogRecord, bytes: number): void => {
      if ((record.type === 'checkpoint') !== (isFirst && records.length === 0)) {
        throw new MalformedError('a checkpoint where none belongs, or none where one does')
      }
      state.apply(record, bytes, offset)
      records.push(record)
    }
    decodeRecords(frame.payload, state.servers, take, texts)
    if (records.length === 0) throw new MalformedError('an empty batch')
    return records
  } catch (cause) {
    if (!(cause instanceof MalformedError)) throw cause
    throw new LogCorruptError(path, offset, `a batch that cannot be: ${messageOf(cause)}`, {
      cause,
    })
  }
}

/** What lies behind the last whole batch: nothing, a torn batch, or damage. */
function readTail(
  { bytes, origin, size }: Stretch,
  path: string,
  header: SegmentHeader,
  page: number,
  batch: number,
  repaired: number[],
): ReplayedSegment['torn'] {
  const pages = size / PAGE_BYTES
  const inFlightEnd = Math.min(page + 2 * MAX_BATCH_PAGES, pages - 1)
  const blankPage = Buffer.alloc(PAGE_BYTES, blankSector(header.salt))
  const bad: number[] = []
  let tornEnd = 0
  for (let at = page; at < pages; at += 1) {
    const start = (at - origin) * PAGE_BYTES
    const found = bytes.subarray(start, start + PAGE_BYTES)
    if (found.equals(blankPage)) continue
    const later = decodeCopy(bytes, at - origin, header.salt, origin)
    if (later !== undefined && later.batch >= batch) {
      const message = `batch ${batch} is damaged: batch ${later.batch} lies behind it`
      throw new LogCorruptError(path, page * PAGE_BYTES, message)
    }
    if (at < inFlightEnd) tornEnd = (at + 1) * PAGE_BYTES
    else bad.push(...badSectors(found, blankPage, at))
  }
  // One bad sector where nothing was written cannot hide a batch: each lies on two pages or more.
  const [first] = bad
  if (first !== undefined) {
    if (bad.length > 1) {
      throw new LogCorruptError(path, first, 'bytes that no write of the log left')
    }
    repaired.push(first)
  }
  if (tornEnd === 0) return undefined
  return { offset: page * PAGE_BYTES, bytes: tornEnd - page * PAGE_BYTES }
}

function badSectors(found: Buffer, blankPage: Buffer, page: number): number[] {
  const offsets: number[] = []
  for (let at = 0; at < PAGE_BYTES; at += SECTOR_BYTES) {
    const end = at + SECTOR_BYTES
    if (!found.subarray(at, end).equals(blankPage.subarray(at, end))) {
      offsets.push(page * PAGE_BYTES + at)
    }
  }
  return offsets
}
