/**
 * LogState: what the durable records add up to. Replay feeds it what it reads; the running log
 * feeds it each batch once that is durable, so a checkpoint of it never holds what a crash could
 * take back.
 *
 * A record that contradicts those before it is not read around: {@link MalformedError}.
 */
import { invariant } from '../invariant.ts'
import type { BranchAnswer, ServerIdentity } from '../protocol/vocabulary.ts'
import { TurnoverMap } from '../turnover-map.ts'
import { type Incarnation, sameIncarnation } from '../xid.ts'
import { MalformedError } from './bytes.ts'
import type { CommitRecord, IncarnationStanding, PendingDecision } from './decision-log.ts'
import {
  type AnsweredRecord,
  type CheckpointRecord,
  isHeuristic,
  type LogRecord,
  type OpenRecord,
  type OperatorRecord,
  type ServerNames,
  type ServerRecord,
} from './record.ts'
import { MAX_SERVERS } from './record-limits.ts'

/** Operator records that the log keeps, the newest ones. */
export const KEPT_OPERATOR_RECORDS = 256
/** Bytes of them at most, whatever their number. */
const KEPT_OPERATOR_BYTES = 16 * 1024

/** A pending decision, and when each branch answered, by bqual, in ms since the epoch. */
export interface DatedDecision extends PendingDecision {
  readonly answeredAtMs: ReadonlyMap<string, number>
}

const NO_ANSWERS: ReadonlyMap<string, BranchAnswer> = new Map()
const NO_TIMES: ReadonlyMap<string, number> = new Map()

class Pending implements DatedDecision {
  readonly record: CommitRecord
  answers: ReadonlyMap<string, BranchAnswer> = NO_ANSWERS
  answeredAtMs: ReadonlyMap<string, number> = NO_TIMES
  /** Bytes of its records in a checkpoint, an answer of every branch included. */
  readonly bytes: number
  /** Private: logs that hold the same are alike, wherever it lies. */
  readonly #offset: number | undefined

  constructor(record: CommitRecord, bytes: number, offset: number | undefined) {
    this.record = record
    this.bytes = bytes
    this.#offset = offset
  }

  get offset(): number | undefined {
    return this.#offset
  }
}

export class LogState {
  logId = ''
  lowestEpoch = 0
  readonly nonces: string[] = []
  readonly operators: OperatorRecord[] = []
  #servers = new ServerTable()
  readonly #pending = new TurnoverMap<string, Pending>()
  readonly #keepIncarnations: number
  #pendingBytes = 0
  readonly #operatorBytes: number[] = []

  constructor(keepIncarnations: number) {
    this.#keepIncarnations = keepIncarnations
  }

  /**
   * Takes in a record of which the encoded form has that many bytes.
   *
   * @param offset - where its batch begins, when it is read from a segment
   */
  apply(record: LogRecord, bytes: number, offset?: number): void {
    switch (record.type) {
      case 'checkpoint':
        this.#checkpoint(record)
        return
      case 'open':
        this.#open(record)
        return
      case 'server':
        this.#servers.add(record)
        return
      case 'commit':
        this.#commit(record.commit, bytes, offset)
        return
      case 'answered':
      case 'heuristic':
        this.#answered(record)
        return
      case 'end':
        this.#end(record.gtrid)
        return
      case 'operator':
        this.#operator(record, bytes)
        return
    }
  }

  get servers(): ServerTable {
    return this.#servers
  }

  get lastEpoch(): number {
    return this.lowestEpoch + this.nonces.length - 1
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  pending(): readonly DatedDecision[] {
    return [...this.#pending.values()]
  }

  find(gtrid: string): DatedDecision | undefined {
    return this.#pending.get(gtrid)
  }

  /** Where the batch begins that holds a pending decision, in bytes, when it was read from a segment. */
  offsetOf(gtrid: string): number | undefined {
    return this.#pending.get(gtrid)?.offset
  }

  standing(incarnation: Incarnation, current: Incarnation | undefined): IncarnationStanding {
    if (current !== undefined && sameIncarnation(incarnation, current)) return 'current'
    if (incarnation.epoch < this.lowestEpoch) return 'forgotten'
    const nonce = this.nonces[incarnation.epoch - this.lowestEpoch]
    return nonce === incarnation.nonce ? 'older' : 'alien'
  }

  /** Upper bound of the bytes of {@link snapshot}. */
  snapshotBytes(): number {
    return (
      64 +
      8 * this.nonces.length +
      this.#servers.bytes +
      this.#pendingBytes +
      sum(this.#operatorBytes)
    )
  }

  /** The records from which a reader builds this state again. */
  snapshot(atMs: number): LogRecord[] {
    const { logId, lowestEpoch, nonces } = this
    const records: LogRecord[] = [
      { type: 'checkpoint', atMs, logId, lowestEpoch, nonces: [...nonces] },
      ...this.#servers.records(),
    ]
    for (const { record, answers, answeredAtMs } of this.#pending.values()) {
      records.push({ type: 'commit', commit: record })
      for (const [bqual, answer] of answers) {
        const type = isHeuristic(answer) ? 'heuristic' : 'answered'
        const at = answeredAtMs.get(bqual)
        invariant(at !== undefined, 'an answer has its time')
        records.push({ type, gtrid: record.gtrid, bqual, answer, atMs: at })
      }
    }
    return [...records, ...this.operators]
  }

  /** Keeps the servers that pending decisions name, and no others. Their indexes change. */
  compactServers(): void {
    this.#servers = new ServerTable()
    for (const { record } of this.#pending.values()) {
      for (const { server } of record.branches) this.#servers.assign(server.server, server.timeline)
    }
  }

  /** Forgets the incarnations so far: their undecided branches become orphans. */
  forgetIncarnations(): void {
    this.lowestEpoch = this.lastEpoch + 1
    this.nonces.length = 0
  }

  #checkpoint(record: CheckpointRecord): void {
    this.logId = record.logId
    this.lowestEpoch = record.lowestEpoch
    this.nonces.push(...record.nonces)
  }

  #open(record: OpenRecord): void {
    if (record.epoch !== this.lastEpoch + 1) {
      throw new MalformedError(`epoch ${record.epoch} follows ${this.lastEpoch}`)
    }
    this.nonces.push(record.nonce)
    while (this.nonces.length > this.#keepIncarnations) {
      this.nonces.shift()
      this.lowestEpoch += 1
    }
  }

  #commit(record: CommitRecord, bytes: number, offset: number | undefined): void {
    const { gtrid, branches } = record
    if (this.#pending.has(gtrid)) {
      throw new MalformedError(`${gtrid} is decided twice`)
    }
    let ends = 0
    for (const { bqual } of branches) ends += 16 + gtrid.length + bqual.length
    const pending = new Pending(record, bytes + ends, offset)
    this.#pending.set(gtrid, pending)
    this.#pendingBytes += pending.bytes
  }

  #answered({ gtrid, bqual, answer, atMs }: AnsweredRecord): void {
    const pending = this.#pending.get(gtrid)
    if (pending === undefined) throw new MalformedError(`an answer of ${gtrid}, not decided here`)
    if (!pending.record.branches.some((branch) => branch.bqual === bqual)) {
      throw new MalformedError(`an answer of ${bqual}, not a branch of ${gtrid}`)
    }
    pending.answers = new Map(pending.answers).set(bqual, answer)
    pending.answeredAtMs = new Map(pending.answeredAtMs).set(bqual, atMs)
  }

  #end(gtrid: string): void {
    const pending = this.#pending.get(gtrid)
    if (pending === undefined) throw new MalformedError(`the end of ${gtrid}, not decided here`)
    this.#pending.delete(gtrid)
    this.#pendingBytes -= pending.bytes
  }

  #operator(record: OperatorRecord, bytes: number): void {
    this.operators.push(record)
    this.#operatorBytes.push(bytes)
    while (
      this.operators.length > KEPT_OPERATOR_RECORDS ||
      sum(this.#operatorBytes) > KEPT_OPERATOR_BYTES
    ) {
      this.operators.shift()
      this.#operatorBytes.shift()
    }
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** The servers of one incarnation by index. An index never changes its meaning. */
export class ServerTable implements ServerNames {
  readonly #records: ServerRecord[] = []
  /** By identity, then by timeline. */
  readonly #indexes = new Map<string, Map<string | undefined, number>>()
  /** The last one that was asked for, by index. */
  readonly #identities: ServerIdentity[] = []
  #bytes = 0

  /** Bytes of its records, at most. */
  get bytes(): number {
    return this.#bytes
  }

  records(): readonly ServerRecord[] {
    return this.#records
  }

  /** One object for all branches of a life: there may be tens of thousands. */
  identity(index: number, startedAtMs: number): ServerIdentity | undefined {
    const last = this.#identities[index]
    if (last?.startedAtMs === startedAtMs) return last
    const record = this.#records[index]
    if (record === undefined) return undefined
    const { server, timeline } = record
    const life = { server, startedAtMs, ...(timeline === undefined ? undefined : { timeline }) }
    this.#identities[index] = life
    return life
  }

  has(server: string, timeline: string | undefined): boolean {
    return this.#indexes.get(server)?.has(timeline) === true
  }

  indexOf(server: string, timeline: string | undefined): number {
    const index = this.#indexes.get(server)?.get(timeline)
    invariant(index !== undefined, 'a server is written before the records that name it')
    return index
  }

  /** The new record to write before the first one that names this server, if it is new. */
  assign(server: string, timeline: string | undefined): ServerRecord | undefined {
    if (this.has(server, timeline)) return undefined
    const known = timeline === undefined ? {} : { timeline }
    const record: ServerRecord = { type: 'server', index: this.#records.length, server, ...known }
    this.add(record)
    return record
  }

  copy(): ServerTable {
    const table = new ServerTable()
    for (const record of this.#records) table.add(record)
    return table
  }

  add(record: ServerRecord): void {
    const { server, timeline, index } = record
    if (index !== this.#records.length || this.has(server, timeline)) {
      throw new MalformedError(`server ${index} is out of order`)
    }
    if (index >= MAX_SERVERS) throw new MalformedError('too many servers')
    this.#records.push(record)
    const timelines = this.#indexes.get(server) ?? new Map<string | undefined, number>()
    this.#indexes.set(server, timelines.set(timeline, index))
    this.#bytes += 32 + Buffer.byteLength(server)
  }
}
