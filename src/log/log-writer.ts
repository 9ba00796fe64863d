/**
 * LogWriter: group commit. What arrives while one force is in flight forms the next batch, one
 * frame.
 *
 *   append ─► queue ─► batch ─► both copies durable ─► state takes it in ─► callers answered
 *
 * What it keeps:
 *  1. A caller is answered for its own record, after the batch that holds it is durable.
 *  2. Records reach the disk in the order in which they were appended.
 *  3. The first failed write, sync, rename or directory sync poisons the log for good (rule 2):
 *     whoever waits is rejected, nothing is tried again.
 *  4. A roll's checkpoint is of the durable state, between two batches.
 *  5. A batch is answered only while the log's file has its name, which is looked at every {@link NAME_MS}.
 *  6. Lazy records ride on the next batch; without one they are forced after {@link LAZY_MS}.
 */
import type { Clock, Timer } from '../clock.ts'
import { errorOf, UnanimousError } from '../errors.ts'
import { invariant } from '../invariant.ts'
import { ByteWriter } from './bytes.ts'
import { type CommitRecord, MAX_BRANCHES } from './decision-log.ts'
import { Entry, Ride } from './entry.ts'
import { framePages, MAX_BATCH_PAGES, PAGE_BYTES, PAYLOAD_START, sealFrame } from './frame.ts'
import type { LogState, ServerTable } from './log-state.ts'
import { encodeRecords, type ServerRecord, writeRecord } from './record.ts'
import {
  MAX_ANSWERED_BYTES,
  MAX_COMMIT_BYTES,
  MAX_SERVER_RECORD_BYTES,
  MAX_SERVERS,
} from './record-limits.ts'
import { isOutOfSpace, type SegmentStore } from './segment-store.ts'

/** Lazy records wait at most this long for a batch to ride on, in milliseconds. */
export const LAZY_MS = 800
/**
 * How old the last look at the file's name may be as a batch is forced, in milliseconds. A look beside every
 * force would cost a second trip through the thread pool.
 */
export const NAME_MS = 100
/** How often a spare segment is asked for again after the disk was full, in milliseconds. */
const SPARE_RETRY_MS = 1000

/** What a transaction may come to take of a checkpoint. */
const MAX_TRANSACTION_BYTES = MAX_COMMIT_BYTES + MAX_BRANCHES * MAX_ANSWERED_BYTES
const PAGES_OF_COMMIT = 2 * framePages(MAX_COMMIT_BYTES)
/** For the servers that the first transactions name. */
const PAGES_OF_SERVERS = 2 * framePages(MAX_BRANCHES * MAX_SERVER_RECORD_BYTES)
const HEADER_AND_LAST_PAGES = 3

export interface WriterSeams {
  readonly clock: Clock
  /** Runs the callback after what is ready now has run, so that a batch collects it. */
  nextTurn(run: () => void): void
  /** How many transactions may still hand over a decision. */
  live(): number
  onPoisoned(cause: Error): void
}

export class LogWriter {
  readonly #store: SegmentStore
  readonly #state: LogState
  readonly #segmentPages: number
  readonly #seams: WriterSeams
  /** The frame in flight, with room for the one record that does not fit. */
  readonly #target: Buffer
  #payloadBytes = 0
  /** Of every server that a record in the queue or in the log names. */
  readonly #servers: ServerTable
  readonly #urgent: Entry[] = []
  readonly #lazy: Entry[] = []
  /** In flight. */
  #batch: Entry[] = []
  /** Of servers that are not durable yet. */
  #serverBytes = 0
  /** Of what will be in the next batch. */
  #ride: Ride | undefined
  #lazyDue = false
  #lazyTimer: Timer | undefined
  #running: Promise<void> | undefined
  #spareAskedMs = Number.NEGATIVE_INFINITY
  #nameSeenMs = Number.NEGATIVE_INFINITY
  #poison: Error | undefined
  #forces = 0
  #forcedBytes = 0

  constructor(store: SegmentStore, state: LogState, segmentBytes: number, seams: WriterSeams) {
    this.#store = store
    this.#state = state
    this.#servers = state.servers.copy()
    this.#segmentPages = segmentBytes / PAGE_BYTES
    const batchPages = Math.min(MAX_BATCH_PAGES, Math.floor(this.#segmentPages / 2))
    this.#target = Buffer.alloc((batchPages + 1) * PAGE_BYTES)
    this.#seams = seams
    this.#watchSpare(store.recycle())
    this.#askForSpare()
  }

  /** Since the log was opened. A log takes two segments. */
  get usage(): { readonly forces: number; readonly bytes: number; readonly sizeBytes: number } {
    const sizeBytes = 2 * this.#segmentPages * PAGE_BYTES
    return { forces: this.#forces, bytes: this.#forcedBytes, sizeBytes }
  }

  /** The failure that ended this log's writing. */
  get poison(): Error | undefined {
    return this.#poison
  }

  /** That of the records which are appended now. */
  get ride(): Ride {
    this.#ride ??= new Ride()
    return this.#ride
  }

  /** Takes a record in; one of the entry's two callbacks follows, and never before this returns. */
  append(entry: Entry, urgency: 'urgent' | 'lazy'): void {
    if (this.#poison !== undefined) {
      const error = poisonedError(this.#poison)
      queueMicrotask(() => entry.onFailed(error))
      return
    }
    const queue = urgency === 'urgent' ? this.#urgent : this.#lazy
    queue.push(entry)
    this.#wake()
  }

  /**
   * A record that is still in the queue is not needed, for a later one says all. Answers if it was.
   */
  supersede(entry: Entry): boolean {
    if (entry.state !== 'queued') return false
    entry.state = 'superseded'
    return true
  }

  /**
   * Puts the servers that the record is the first to name before it. They travel with it.
   *
   * @throws UnanimousError LOG_FULL when there is no room for them
   */
  nameServers(commit: CommitRecord): void {
    for (const { server } of commit.branches) {
      if (this.#servers.has(server.server, server.timeline)) continue
      const hasRoom = this.hasRoom(this.#seams.live(), MAX_SERVER_RECORD_BYTES)
      if (!hasRoom || this.#servers.records().length === MAX_SERVERS) {
        throw new UnanimousError('LOG_FULL', 'the log has no room for another server')
      }
      const record = this.#servers.assign(server.server, server.timeline)
      invariant(record !== undefined, 'a server that is not there is a new one')
      this.#serverBytes += MAX_SERVER_RECORD_BYTES
      const onDurable = (): void => {
        this.#serverBytes -= MAX_SERVER_RECORD_BYTES
      }
      this.append(new ServerEntry(record, onDurable), 'urgent')
    }
  }

  /**
   * Whether the decisions of so many live transactions are certain to find their place, and the
   * servers that they name: all of them and what is pending must fit the checkpoint of one segment,
   * with room for a batch behind it; and there must be a spare, or room for each of them in the
   * active one.
   */
  hasRoom(live: number, serverBytes: number = MAX_BRANCHES * MAX_SERVER_RECORD_BYTES): boolean {
    const checkpointBytes =
      this.#state.snapshotBytes() + this.#serverBytes + live * MAX_TRANSACTION_BYTES + serverBytes
    const pages = HEADER_AND_LAST_PAGES + 2 * framePages(checkpointBytes) + PAGES_OF_COMMIT
    if (pages > this.#segmentPages) return false
    if (this.#hasSpare()) return true
    this.#askForSpare()
    return this.#store.pagesLeft >= reservedPages(live)
  }

  /** Forces what is waiting, and ends. */
  async close(): Promise<void> {
    this.#lazyTimer?.clear()
    let waiting = Number.POSITIVE_INFINITY
    while (this.#poison === undefined && this.#waiting > 0 && this.#waiting < waiting) {
      waiting = this.#waiting
      this.#lazyDue = true
      this.#wake()
      await this.#running
    }
    this.#lazyTimer?.clear()
    const cause = new UnanimousError('LOG_FULL', 'the log was closed while its disk was full')
    for (const entry of this.#empty()) entry.onFailed(cause)
    await this.#store.close()
  }

  get #waiting(): number {
    return this.#urgent.length + this.#lazy.length
  }

  #wake(): void {
    if (this.#running !== undefined || this.#poison !== undefined) return
    if (this.#urgent.length > 0 || this.#lazyDue) {
      this.#running = this.#run()
      return
    }
    this.#lazyTimer ??= this.#seams.clock.timer(LAZY_MS, () => {
      this.#lazyTimer = undefined
      if (this.#lazy.length === 0) return
      this.#lazyDue = true
      this.#wake()
    })
  }

  async #run(): Promise<void> {
    try {
      while (this.#urgent.length > 0 || this.#lazyDue) {
        await new Promise<void>((resolve) => this.#seams.nextTurn(resolve))
        if (this.#poison !== undefined) break
        this.#take()
        if (this.#batch.length === 0 && this.#waiting > 0) await this.#takeBehindRoll()
        if (this.#batch.length === 0) break
        // A spare that failed meanwhile ends the log for this batch as well.
        const poison = this.poison
        if (poison !== undefined) throw poison
        await this.#force()
        if (this.#urgent.length === 0 && this.#lazy.length === 0) this.#lazyDue = false
      }
    } catch (cause) {
      const error = poisonedError(this.#poisonWith(cause))
      for (const entry of this.#batch.splice(0)) entry.onFailed(error)
    }
    this.#running = undefined
    this.#lazyDue = false
    if (this.#waiting > 0) this.#wake()
  }

  async #force(): Promise<void> {
    const batch = this.#batch
    const frame = sealFrame(this.#target, this.#store.place(), this.#payloadBytes)
    const looked = this.#lookAtName()
    // Heard behind the force alone: whoever hears a failure may close the file, and no write may be under way.
    looked?.catch(() => undefined)
    await this.#store.force(frame.bytes, frame.digest)
    await looked
    this.#forces += 1
    this.#forcedBytes += 2 * frame.bytes.length
    for (const entry of batch) this.#state.apply(entry.record, entry.bytes)
    this.#batch = []
    for (const entry of batch) entry.onDurable()
  }

  /** `undefined` when it was looked at a short while ago. */
  #lookAtName(): Promise<void> | undefined {
    const now = this.#seams.clock.monotonic()
    if (now - this.#nameSeenMs < NAME_MS) return undefined
    this.#nameSeenMs = now
    return this.#store.checkName()
  }

  /** The active segment has no room for what waits. */
  async #takeBehindRoll(): Promise<void> {
    if (!this.#hasSpare()) {
      this.#askForSpare()
      // Only lazy records may find no room here: hasRoom reserved the space of decisions.
      invariant(this.#urgent.length === 0, 'a decision without its reserved space')
      return
    }
    await this.#roll()
    this.#take()
  }

  /**
   * Encodes what goes into one frame. Lazy records first, in at most half of the room, so that
   * decisions never starve them.
   */
  #take(): void {
    const pages = Math.min(MAX_BATCH_PAGES, Math.floor(this.#store.pagesLeft / 2))
    // Nothing of the last frame may remain behind a shorter one.
    this.#target.fill(0, PAYLOAD_START, PAYLOAD_START + this.#payloadBytes)
    const writer = new ByteWriter(this.#target, PAYLOAD_START)
    this.#ride = undefined
    if (this.#hasSpare()) {
      this.#takeFrom(this.#lazy, Math.ceil(pages / 2), writer)
      this.#takeFrom(this.#urgent, pages, writer)
      this.#takeFrom(this.#lazy, pages, writer)
    } else {
      const unreserved = this.#store.pagesLeft - reservedPages(this.#seams.live())
      this.#takeFrom(this.#urgent, pages, writer)
      this.#takeFrom(this.#lazy, Math.min(pages, Math.floor(unreserved / 2)), writer)
    }
    this.#payloadBytes = writer.length - PAYLOAD_START
  }

  #takeFrom(queue: Entry[], pages: number, writer: ByteWriter): void {
    let count = 0
    for (const entry of queue) {
      if (entry.state === 'queued') {
        const start = writer.length
        writeRecord(writer, entry.record, this.#servers)
        invariant(writer.length <= this.#target.length, 'a record longer than any may be')
        if (writer.length > pages * PAGE_BYTES) {
          this.#target.fill(0, start, writer.length)
          writer.rewind(start)
          break
        }
        entry.state = 'taken'
        entry.bytes = writer.length - start
        this.#batch.push(entry)
      }
      count += 1
    }
    queue.splice(0, count)
  }

  async #roll(): Promise<void> {
    const createdAtMs = this.#seams.clock.now()
    const { logId, servers } = this.#state
    await this.#store.roll({
      number: this.#store.number + 1,
      logId,
      createdAtMs,
      firstBatch: this.#store.nextBatch,
      payload: () => encodeRecords(this.#state.snapshot(createdAtMs), servers),
    })
    this.#watchSpare(this.#store.recycle())
  }

  #hasSpare(): boolean {
    const state = this.#store.spareState
    return state === 'ready' || state === 'recycling'
  }

  #askForSpare(): void {
    const now = this.#seams.clock.monotonic()
    if (this.#store.spareState !== 'missing' || now - this.#spareAskedMs < SPARE_RETRY_MS) return
    this.#spareAskedMs = now
    this.#watchSpare(this.#store.prepareSpare())
  }

  /** A full disk is no failure here: begin refuses until there is a spare. Anything else is. */
  #watchSpare(work: Promise<void>): void {
    work.catch((cause: unknown) => {
      if (!isOutOfSpace(cause)) this.#poisonWith(cause)
    })
  }

  #poisonWith(failure: unknown): Error {
    if (this.#poison !== undefined) return this.#poison
    const cause = errorOf(failure)
    this.#poison = cause
    this.#lazyTimer?.clear()
    const error = poisonedError(cause)
    for (const entry of this.#empty()) entry.onFailed(error)
    this.#seams.onPoisoned(cause)
    return cause
  }

  /**
   * Whoever still waits. What is in flight when something else failed is answered by its own end.
   */
  #empty(): Entry[] {
    const entries = [...this.#urgent.splice(0), ...this.#lazy.splice(0)]
    return entries.filter(({ state }) => state === 'queued')
  }
}

class ServerEntry extends Entry {
  readonly record: ServerRecord
  readonly onDurable: () => void

  constructor(record: ServerRecord, onDurable: () => void) {
    super()
    this.record = record
    this.onDurable = onDurable
  }

  /** The caller of the commit record behind it hears of the failure. */
  onFailed(): void {}
}

/** What callers hear of a log that was poisoned. */
export function poisonedError(cause: Error): UnanimousError {
  if (cause instanceof UnanimousError) return cause
  return new UnanimousError(
    'LOG_POISONED',
    `a write to the decision log failed: ${cause.message}`,
    { hint: 'Mend the disk, then restart this process: recovery settles what was open.', cause },
  )
}

function reservedPages(live: number): number {
  return live * PAGES_OF_COMMIT + PAGES_OF_SERVERS
}
