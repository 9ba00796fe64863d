/**
 * The bytes of a segment.
 *
 *   segment = pages of 4 KiB, all of them there and durable before the segment gets its name
 *
 *     page 0, 1   header, twice
 *     page 2 …    frame of the checkpoint, twice; then frame after frame, each twice
 *     …           blank pages
 *     last page   blank for ever
 *
 *   header (one page)                             frame (whole pages, padded with zeros)
 *      0  magic            8  "unanlog\0"             0  digest            16
 *      8  digest          16  of bytes 24…4095       16  magic              4  "UNAF"
 *     24  version          2                         20  salt               8  that of the segment
 *     26  page size        2                         28  batch number       8  the last one's + 1
 *     28  segment size     4                         36  first page         4  of the first copy
 *     32  segment number   8                         40  pages              4  of one copy
 *     40  salt             8  random                 44  payload length     4
 *     48  created at ms    8                         48  chain             16  digest of the frame
 *     56  first batch      8                                                   before, or header
 *     64  log id          16                         64  records (record.ts)
 *
 *   blank sector (512 bytes) = salt 8 · salt with every bit turned 8 · zeros
 *
 * A copy of a frame at page p is valid if and only if
 *   its salt is the segment's, p is its first page or the one `pages` further, its length fills
 *   exactly its pages, its digest (first 16 bytes of SHA-256 of what follows it, up to the end of
 *   the payload) is right and its padding is zero.
 * A batch is there if and only if one of its copies is valid, has the next batch number and is
 * chained to the frame before it. Its copies are alike; where each lost other sectors, the sectors
 * of both are put together and the result must be valid.
 *
 * Why so: a page that was acknowledged is never written again, and damage to one page leaves the
 * other copy. Salt, number, place and chain refuse a frame of another life of the file, one that
 * was written to the wrong place, and a gap. Blank pages that are not zero tell "nothing was
 * written here" from "something wiped it", and the last page, which no frame may use, keeps that
 * true in a full segment.
 */
import { hash } from 'node:crypto'

export const FORMAT_VERSION = 1
export const PAGE_BYTES = 4096
/** Where the payload of a frame begins. */
export const PAYLOAD_START = 64
export const SECTOR_BYTES = 512
/** The page of a segment where its first frame, the checkpoint, begins. */
export const FIRST_FRAME_PAGE = 2
/**
 * Longest frame after the checkpoint, in pages of one copy: what a crash can leave torn is bounded.
 */
export const MAX_BATCH_PAGES = 32
/** Largest segment; the reader allocates no more. */
export const MAX_SEGMENT_BYTES: number = 1024 * 1024 * 1024

const DIGEST_BYTES = 16
const HEADER_MAGIC = 'unanlog\0'
const HEADER_DIGEST_START = 24
const HEADER_END = 80
const FRAME_MAGIC = 0x46414e55
const NO_PADDING = Buffer.alloc(PAGE_BYTES)
/** Sectors in which two copies may differ and still be put together: 2^8 tries. */
const MAX_MERGED_SECTORS = 8

export interface SegmentHeader {
  readonly version: number
  readonly segmentBytes: number
  readonly number: number
  /** 8 bytes as hexadecimal digits. */
  readonly salt: string
  readonly createdAtMs: number
  readonly firstBatch: number
  readonly logId: string
  /** Chain of the first frame. */
  readonly digest: Buffer
}

export interface FramePlace {
  readonly salt: string
  readonly batch: number
  readonly firstPage: number
  readonly chain: Buffer
}

export interface Frame extends FramePlace {
  /** Of one copy. */
  readonly pages: number
  readonly payload: Buffer
  readonly digest: Buffer
}

/** What both copies of a frame say, and whether both are as they were written. */
export interface FramePair {
  readonly frame: Frame
  readonly intact: boolean
}

/** One copy's pages of a frame with that payload. */
export function framePages(payloadBytes: number): number {
  return Math.ceil((PAYLOAD_START + payloadBytes) / PAGE_BYTES)
}

export function encodeHeader(header: Omit<SegmentHeader, 'digest' | 'version'>): {
  page: Buffer
  digest: Buffer
} {
  const page = Buffer.alloc(PAGE_BYTES)
  page.write(HEADER_MAGIC, 0, 'latin1')
  page.writeUInt16LE(FORMAT_VERSION, 24)
  page.writeUInt16LE(PAGE_BYTES, 26)
  page.writeUInt32LE(header.segmentBytes, 28)
  page.writeDoubleLE(header.number, 32)
  page.write(header.salt, 40, 'hex')
  page.writeDoubleLE(header.createdAtMs, 48)
  page.writeDoubleLE(header.firstBatch, 56)
  page.write(header.logId, 64, 'latin1')
  const digest = digestOf(page.subarray(HEADER_DIGEST_START))
  digest.copy(page, 8)
  return { page, digest }
}

/** What a header page says; `undefined` when it is not valid. Any version is answered. */
export function decodeHeader(page: Buffer): SegmentHeader | undefined {
  if (page.length !== PAGE_BYTES || page.toString('latin1', 0, 8) !== HEADER_MAGIC) return undefined
  const digest = digestOf(page.subarray(HEADER_DIGEST_START))
  if (!digest.equals(page.subarray(8, HEADER_DIGEST_START))) return undefined
  const version = page.readUInt16LE(24)
  if (version === FORMAT_VERSION && !isZero(page, HEADER_END, PAGE_BYTES)) return undefined
  return {
    version,
    segmentBytes: page.readUInt32LE(28),
    number: page.readDoubleLE(32),
    salt: page.toString('hex', 40, 48),
    createdAtMs: page.readDoubleLE(48),
    firstBatch: page.readDoubleLE(56),
    logId: page.toString('latin1', 64, 80),
    digest,
  }
}

/**
 * Completes one copy of a frame whose payload stands in `target` from {@link PAYLOAD_START} on,
 * with zeros behind it. Answers the pages to write, twice.
 */
export function sealFrame(
  target: Buffer,
  place: FramePlace,
  payloadBytes: number,
): { bytes: Buffer; digest: Buffer } {
  const end = PAYLOAD_START + payloadBytes
  const pages = framePages(payloadBytes)
  target.writeUInt32LE(FRAME_MAGIC, 16)
  target.write(place.salt, 20, 'hex')
  target.writeDoubleLE(place.batch, 28)
  target.writeUInt32LE(place.firstPage, 36)
  target.writeUInt32LE(pages, 40)
  target.writeUInt32LE(payloadBytes, 44)
  target.set(place.chain, 48)
  const digest = digestOf(target.subarray(DIGEST_BYTES, end))
  target.set(digest, 0)
  return { bytes: target.subarray(0, pages * PAGE_BYTES), digest }
}

/**
 * The valid copy of a frame at a page, whatever its number and chain.
 *
 * @param segment - or a stretch of it, from its page `origin` on; `page` is counted from there
 */
export function decodeCopy(
  segment: Buffer,
  page: number,
  salt: string,
  origin = 0,
): Frame | undefined {
  const at = page * PAGE_BYTES
  if (at + PAGE_BYTES > segment.length) return undefined
  if (segment.readUInt32LE(at + 16) !== FRAME_MAGIC) return undefined
  const pages = segment.readUInt32LE(at + 40)
  if (pages === 0 || at + pages * PAGE_BYTES > segment.length) return undefined
  const frame = decodePages(segment, at, at + pages * PAGE_BYTES, salt)
  if (frame === undefined) return undefined
  const here = origin + page
  return here === frame.firstPage || here === frame.firstPage + pages ? frame : undefined
}

/** How many pages the copy at a page says that it has: anything where there is none, 0 behind the end. */
export function claimedPages(segment: Buffer, page: number): number {
  const at = page * PAGE_BYTES + 40
  return at + 4 > segment.length ? 0 : segment.readUInt32LE(at)
}

/**
 * The frame that begins at the page, from its first copy, its second one, or both put together.
 * Only of an intact one a stretch says as much as the whole segment. See {@link decodeCopy}.
 */
export function decodePair(
  segment: Buffer,
  page: number,
  salt: string,
  maxPages: number,
  origin = 0,
): FramePair | undefined {
  const first = decodeCopy(segment, page, salt, origin)
  if (first !== undefined && first.firstPage === origin + page) {
    const start = page * PAGE_BYTES
    const length = first.pages * PAGE_BYTES
    return { frame: first, intact: isRepeated(segment, start, length) }
  }
  for (let pages = 1; pages <= maxPages; pages += 1) {
    const second = decodeCopy(segment, page + pages, salt, origin)
    if (second !== undefined && second.firstPage === origin + page)
      return { frame: second, intact: false }
  }
  const merged = decodeMerged(segment, page, salt, maxPages, origin)
  return merged === undefined ? undefined : { frame: merged, intact: false }
}

/** Puts two copies together, sector by sector, until `isValid` accepts. */
export function mergeCopies<T>(
  first: Buffer,
  second: Buffer,
  isValid: (merged: Buffer) => T | undefined,
): T | undefined {
  if (first.length !== second.length) return undefined
  const differing: number[] = []
  for (let at = 0; at < first.length; at += SECTOR_BYTES) {
    const sector = first.subarray(at, at + SECTOR_BYTES)
    if (!sector.equals(second.subarray(at, at + SECTOR_BYTES))) differing.push(at)
    if (differing.length > MAX_MERGED_SECTORS) return undefined
  }
  const merged = Buffer.from(first)
  for (let choice = 1; choice < 2 ** differing.length; choice += 1) {
    differing.forEach((at, bit) => {
      const source = (choice & (1 << bit)) === 0 ? first : second
      source.copy(merged, at, at, at + SECTOR_BYTES)
    })
    const valid = isValid(merged)
    if (valid !== undefined) return valid
  }
  return undefined
}

/** The bytes of a sector in which nothing was written yet. */
export function blankSector(salt: string): Buffer {
  const sector = Buffer.alloc(SECTOR_BYTES)
  const bytes = Buffer.from(salt, 'hex')
  sector.set(bytes)
  sector.set(
    bytes.map((byte) => ~byte),
    bytes.length,
  )
  return sector
}

function decodeMerged(
  segment: Buffer,
  page: number,
  salt: string,
  maxPages: number,
  origin: number,
): Frame | undefined {
  const start = page * PAGE_BYTES
  for (const pages of claims(segment, page, maxPages, origin)) {
    const length = pages * PAGE_BYTES
    const first = segment.subarray(start, start + length)
    const second = segment.subarray(start + length, start + 2 * length)
    const frame = mergeCopies(first, second, (merged) => {
      const valid = decodePages(merged, 0, merged.length, salt)
      return valid !== undefined && valid.firstPage === origin + page ? valid : undefined
    })
    if (frame !== undefined) return frame
  }
  return undefined
}

/** How many pages a copy may have, by the remains of either head. */
function claims(segment: Buffer, page: number, maxPages: number, origin: number): number[] {
  const found: number[] = []
  for (let distance = 0; distance <= maxPages; distance += 1) {
    const at = (page + distance) * PAGE_BYTES
    if (at + PAGE_BYTES > segment.length) break
    if (segment.readUInt32LE(at + 16) !== FRAME_MAGIC) continue
    const pages = claimedPages(segment, page + distance)
    const firstPage = segment.readUInt32LE(at + 36)
    const isHere = firstPage === origin + page && (distance === 0 || distance === pages)
    const fits = pages >= 1 && pages <= maxPages
    if (isHere && fits && (page + 2 * pages) * PAGE_BYTES <= segment.length) found.push(pages)
  }
  return found
}

/** The frame that fills exactly the pages from one byte up to another. */
function decodePages(bytes: Buffer, start: number, end: number, salt: string): Frame | undefined {
  if (bytes.readUInt32LE(start + 16) !== FRAME_MAGIC) return undefined
  if (bytes.toString('hex', start + 20, start + 28) !== salt) return undefined
  const count = bytes.readUInt32LE(start + 40)
  const payloadBytes = bytes.readUInt32LE(start + 44)
  if (count * PAGE_BYTES !== end - start || framePages(payloadBytes) !== count) return undefined
  const payloadStart = start + PAYLOAD_START
  const payloadEnd = payloadStart + payloadBytes
  const digest = digestOf(bytes.subarray(start + DIGEST_BYTES, payloadEnd))
  if (digest.compare(bytes, start, start + DIGEST_BYTES) !== 0) return undefined
  if (!isZero(bytes, payloadEnd, end)) return undefined
  return {
    salt,
    batch: bytes.readDoubleLE(start + 28),
    firstPage: bytes.readUInt32LE(start + 36),
    chain: bytes.subarray(start + 48, payloadStart),
    pages: count,
    payload: bytes.subarray(payloadStart, payloadEnd),
    digest,
  }
}

// By place, and not by views: there may be thousands of frames, and a view costs more than what is asked of it.
function isZero(bytes: Buffer, start: number, end: number): boolean {
  return bytes.compare(NO_PADDING, 0, end - start, start, end) === 0
}

/** Whether the bytes behind these are the same again. */
function isRepeated(bytes: Buffer, start: number, length: number): boolean {
  const middle = start + length
  const end = middle + length
  return end <= bytes.length && bytes.compare(bytes, middle, end, start, middle) === 0
}

function digestOf(bytes: Buffer): Buffer {
  return hash('sha256', bytes, 'buffer').subarray(0, DIGEST_BYTES)
}
