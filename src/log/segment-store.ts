/**
 * SegmentStore: the files of the running log.
 *
 *   segment-<number>.log   the active segment: it alone says everything; a higher number wins
 *   spare                  the segment before it, blank again, or being made so: the next one
 *   next                   the first segment of a new log, until it has its name
 *
 *   roll   header and checkpoint into the spare ─► durable ─► rename to its number ─►
 *          directory durable ─► the old segment becomes the spare
 *
 * Crash at any arrow: before the rename is durable the old segment is the highest one and whole;
 * after it the new one is whole, for it was durable before it had its name. Whatever else lies
 * there carries a lower number or no number at all. So two segments at rest, three during a roll,
 * and an old segment is overwritten only after nothing needs it.
 *
 * Recycling writes over blocks that the file already has, so a full disk cannot stop it: only the
 * making of the first two segments can meet ENOSPC, and no decision waits for either.
 */
import { UnanimousError } from '../errors.ts'
import { type Failpoints, noFailpoints } from '../failpoint.ts'
import { invariant } from '../invariant.ts'
import { type FileSystem, type OpenFile, writeAll } from './file-system.ts'
import {
  blankSector,
  encodeHeader,
  FIRST_FRAME_PAGE,
  type FramePlace,
  framePages,
  PAGE_BYTES,
  PAYLOAD_START,
  sealFrame,
} from './frame.ts'

export const SPARE_NAME = 'spare'
export const NEXT_NAME = 'next'
const SEGMENT_NAME = /^segment-(\d{10})\.log$/
/**
 * Blank pages are forced piece by piece: a batch in between waits for one piece, not for the whole
 * segment (measured: 18 ms at the 99th percentile with one sync at the end).
 */
const BLANK_PIECE_BYTES = 256 * 1024

export interface StoreSeams {
  readonly files: FileSystem
  readonly failpoints: Failpoints
  readonly randomBytes: (count: number) => Uint8Array
  /** Whether a file keeps its inode number on this file system. */
  readonly keepsInodes: boolean
}

/** A segment to be made. */
export interface SegmentPlan {
  readonly number: number
  readonly logId: string
  readonly createdAtMs: number
  readonly firstBatch: number
  /** The encoded records of the checkpoint, as of the moment when it is written. */
  payload(): Buffer
}

/**
 *  - `missing`: there is none, and making one needs space on the disk
 *  - `allocating`: being made; may fail for want of space
 *  - `recycling`: an old segment is being made blank; needs no space
 *  - `ready`: blank and durable
 */
export type SpareState = 'missing' | 'allocating' | 'recycling' | 'ready'

interface Spare {
  state: SpareState
  salt: string
  work: Promise<void>
}

export function segmentName(number: number): string {
  return `segment-${String(number).padStart(10, '0')}.log`
}

/** The number in a segment's name; `undefined` for any other file. */
export function segmentNumber(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** No more space on the device, or none that we may take. */
export function isOutOfSpace(cause: unknown): boolean {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
}

export class SegmentStore {
  readonly #directory: string
  readonly #segmentBytes: number
  readonly #seams: StoreSeams
  #file: OpenFile | undefined
  /** Of the active segment. */
  #inode = 0n
  #number = 0
  #salt = ''
  #page = 0
  #batch = 0
  #chain: Buffer = Buffer.alloc(0)
  readonly #spare: Spare = { state: 'missing', salt: '', work: Promise.resolve() }

  constructor(directory: string, segmentBytes: number, seams: StoreSeams) {
    this.#directory = directory
    this.#segmentBytes = segmentBytes
    this.#seams = seams
  }

  /** Number of the active segment. */
  get number(): number {
    return this.#number
  }

  /** Number of the batch that comes next. */
  get nextBatch(): number {
    return this.#batch
  }

  get spareState(): SpareState {
    return this.#spare.state
  }

  /** Pages of the active segment that frames may still use. The last one stays blank. */
  get pagesLeft(): number {
    return this.#segmentBytes / PAGE_BYTES - 1 - this.#page
  }

  place(): FramePlace {
    return { salt: this.#salt, batch: this.#batch, firstPage: this.#page, chain: this.#chain }
  }

  /** Makes one batch durable: both copies of the frame that was sealed for {@link place}. */
  async force(bytes: Buffer, digest: Buffer): Promise<void> {
    const pages = bytes.length / PAGE_BYTES
    invariant(2 * pages <= this.pagesLeft, 'a frame does not fit its segment')
    invariant(this.#file !== undefined, 'the log has no active segment')
    const { failpoints } = this.#seams
    const inert = failpoints === noFailpoints
    if (!inert) await failpoints('log:before-write')
    await writeAll(this.#file, [bytes, bytes], this.#page * PAGE_BYTES)
    if (!inert) await failpoints('log:after-write')
    await this.#file.sync()
    if (!inert) await failpoints('log:after-sync')
    this.#page += 2 * pages
    this.#batch += 1
    this.#chain = digest
  }

  /**
   * Whether the active segment still has its name. A file that was deleted, or moved with its directory, takes
   * writes as before, and whoever opens the log next finds none of them.
   *
   * @throws UnanimousError LOG_POISONED
   */
  async checkName(): Promise<void> {
    const { files, keepsInodes } = this.#seams
    const path = this.#path(segmentName(this.#number))
    // That the path cannot be looked at says nothing of the file.
    const found = await files.stat(path).catch(() => 'unknown' as const)
    if (found === 'unknown' || found?.inode === this.#inode) return
    if (found !== undefined && !keepsInodes) return
    throw new UnanimousError(
      'LOG_POISONED',
      `${path} is not the file of this log any more: somebody deleted, moved or replaced it`,
      {
        hint: 'Put the log directory back before this process starts again: what it decided is there and nowhere else. If it is gone, `unanimous recover --from-databases` finishes what has marker rows.',
      },
    )
  }

  /**
   * Makes the first segment of this life of the log, in the spare of the last one when there is
   * one. What it leaves of older segments becomes the spare.
   */
  async start(plan: SegmentPlan, older: readonly string[]): Promise<void> {
    const isNew = older.length === 0
    // An owner may have died before the name of its segment was durable. A spare that outlives that
    // name would look like a log that lost its segments.
    if (!isNew) await this.#seams.files.syncDirectory(this.#directory)
    const building = this.#path(isNew ? NEXT_NAME : SPARE_NAME)
    const salt = await this.#blank(building)
    await this.#publish(building, salt, plan)
    await this.#retire(older)
  }

  /** Moves to the spare. Waits until that is blank. */
  async roll(plan: SegmentPlan): Promise<void> {
    await this.#spare.work
    invariant(this.#spare.state === 'ready', 'a roll without a spare')
    const old = this.#file
    const oldNumber = this.#number
    await this.#seams.failpoints('log:before-roll')
    await this.#publish(this.#path(SPARE_NAME), this.#spare.salt, plan)
    // Never `missing` in between: a second spare, asked for then, is made beside this one, and the salt
    // that is remembered may be the other one's.
    this.#spare.state = 'recycling'
    await old?.close()
    await this.#retire([segmentName(oldNumber)])
  }

  /**
   * Makes a spare. Rejects when that fails; afterwards it is `missing`, and what there was of it is gone.
   */
  prepareSpare(): Promise<void> {
    invariant(this.#spare.state === 'missing', 'a spare is made when there is none')
    this.#spare.state = 'allocating'
    return this.#makeSpare()
  }

  /**
   * Makes a spare of the segment that was left by {@link roll} or {@link start}, if there is one.
   */
  recycle(): Promise<void> {
    return this.#spare.state === 'recycling' ? this.#makeSpare() : this.#spare.work
  }

  async close(): Promise<void> {
    await this.#spare.work.catch(() => undefined)
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  #makeSpare(): Promise<void> {
    const spare = this.#spare
    const path = this.#path(SPARE_NAME)
    spare.work = this.#blank(path).then(
      (salt) => {
        spare.salt = salt
        spare.state = 'ready'
      },
      async (cause: unknown) => {
        // What there is of it takes space that decisions do not need; there may be no file at all. The
        // next one is made under the same name: not before this one has lost it.
        const { files } = this.#seams
        try {
          if (isOutOfSpace(cause) && (await files.stat(path)) !== undefined)
            await files.unlink(path)
        } finally {
          spare.state = 'missing'
        }
        throw cause
      },
    )
    return spare.work
  }

  /** Fills the file with blank pages of a new salt, durably, and answers the salt. */
  async #blank(path: string): Promise<string> {
    const { files, randomBytes, failpoints } = this.#seams
    const found = await files.stat(path)
    const reused = found?.size === this.#segmentBytes
    if (found !== undefined && !reused) await files.unlink(path)
    const salt = Buffer.from(randomBytes(8)).toString('hex')
    const piece = Buffer.alloc(Math.min(BLANK_PIECE_BYTES, this.#segmentBytes), blankSector(salt))
    const file = await files.open(path, reused ? 'force' : 'write')
    try {
      for (let at = 0; at < this.#segmentBytes; at += piece.length) {
        await writeAll(file, [piece.subarray(0, this.#segmentBytes - at)], at)
        await failpoints('log:recycling')
        await file.sync()
      }
      await failpoints('log:recycled')
    } catch (cause) {
      await file.close().catch(() => undefined)
      throw cause
    }
    await file.close()
    return salt
  }

  /** Header and checkpoint into a blank file, then its name, each durable before the next step. */
  async #publish(building: string, salt: string, plan: SegmentPlan): Promise<void> {
    const { files, failpoints } = this.#seams
    const { number, logId, createdAtMs, firstBatch } = plan
    const payload = plan.payload()
    const segmentBytes = this.#segmentBytes
    const header = encodeHeader({ segmentBytes, number, salt, createdAtMs, firstBatch, logId })
    const target = Buffer.alloc(framePages(payload.length) * PAGE_BYTES)
    payload.copy(target, PAYLOAD_START)
    const place = { salt, batch: firstBatch, firstPage: FIRST_FRAME_PAGE, chain: header.digest }
    const frame = sealFrame(target, place, payload.length)
    const page = FIRST_FRAME_PAGE + (2 * frame.bytes.length) / PAGE_BYTES
    invariant(page * PAGE_BYTES < segmentBytes, 'a checkpoint does not fit its segment')

    const file = await files.open(building, 'force')
    let inode: bigint
    try {
      await writeAll(file, [header.page, header.page, frame.bytes, frame.bytes], 0)
      await failpoints('log:after-checkpoint')
      await file.sync()
      await failpoints('log:after-create')
      await files.rename(building, this.#path(segmentName(number)))
      await failpoints('log:after-rename')
      await files.syncDirectory(this.#directory)
      await failpoints('log:after-roll')
      inode = (await file.stat()).inode
    } catch (cause) {
      await file.close().catch(() => undefined)
      throw cause
    }
    this.#file = file
    this.#inode = inode
    this.#number = number
    this.#salt = salt
    this.#page = page
    this.#batch = firstBatch + 1
    this.#chain = frame.digest
  }

  /** Segments that nothing needs any more: the last of them becomes the spare. */
  async #retire(names: readonly string[]): Promise<void> {
    const { files } = this.#seams
    for (const name of names.slice(0, -1)) await files.unlink(this.#path(name))
    const last = names.at(-1)
    if (last === undefined) return
    await files.rename(this.#path(last), this.#path(SPARE_NAME))
    await this.#seams.failpoints('log:after-retire')
    this.#spare.state = 'recycling'
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`
  }
}
