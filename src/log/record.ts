/**
 * Records: what the log says, one after the other in the payload of a batch frame.
 *
 *   record = type u8 · length of body u32 · body
 *
 *   1 checkpoint  at ms f64 · log id 16 bytes · lowest epoch f64 · count u32 · nonce 8 bytes each
 *   2 open        at ms f64 · epoch f64 · nonce 8 bytes
 *   3 server      index u16 · identity text16 · has timeline u8 [· timeline text8]
 *   4 commit      gtrid text8 · decided at ms f64 · flags u8 (1 name, 2 meta) [· name text8]
 *                 [· meta text16] · branches u8 · branch each:
 *                     flags u8 (1 marker, 2 xid8, 4 participant is not the bqual's) · bqual text8
 *                     [· participant text8] · server index u16 · server started at ms f64
 *                     [· xid8 text8]
 *   5 answered    gtrid text8 · bqual text8 · answer u8 (1 committed, 2 -unproven) · at ms f64
 *   6 end         gtrid text8
 *   7 heuristic   as answered, with answer 3 heuristic-rollback or 4 heuristic-hazard
 *   8 operator    at ms f64 · action, gtrid, bqual, who, host text8 each · reason text16
 *
 * All numbers are little endian. text8 and text16 are UTF-8 with a length of one or two bytes
 * before them. The version is that of the segment (frame.ts): a reader knows every type of its
 * version, and an unknown one is damage.
 *
 * Every record has a bounded size, so that the space of a decision can be reserved before it is
 * made. Servers' identities are long and few: they are written once, and commit records name them
 * by index.
 */

import { invariant } from '../invariant.ts'
import type { BranchAnswer, BranchRecord, ServerIdentity } from '../protocol/vocabulary.ts'
import { participantIn } from '../xid.ts'
import { ByteReader, ByteWriter, MalformedError, Texts } from './bytes.ts'
import { type CommitRecord, MAX_BRANCHES } from './decision-log.ts'
import { RECORD_HEAD_BYTES } from './record-limits.ts'

export interface CheckpointRecord {
  readonly type: 'checkpoint'
  readonly atMs: number
  readonly logId: string
  /** The epoch of the first nonce. */
  readonly lowestEpoch: number
  /** Of every epoch from the lowest one that is kept to the last one. */
  readonly nonces: readonly string[]
}

export interface OpenRecord {
  readonly type: 'open'
  readonly atMs: number
  readonly epoch: number
  readonly nonce: string
}

/** A server as commit records refer to it. */
export interface ServerRecord {
  readonly type: 'server'
  readonly index: number
  readonly server: string
  readonly timeline?: string
}

export interface CommitLogRecord {
  readonly type: 'commit'
  readonly commit: CommitRecord
}

export interface AnsweredRecord {
  readonly type: 'answered' | 'heuristic'
  readonly atMs: number
  readonly gtrid: string
  readonly bqual: string
  readonly answer: BranchAnswer
}

export interface EndRecord {
  readonly type: 'end'
  readonly gtrid: string
}

/** What an operator did by hand, for ever on record while the log keeps it. */
export interface OperatorRecord {
  readonly type: 'operator'
  readonly atMs: number
  readonly action: string
  readonly gtrid: string
  /** Empty when it concerns the whole transaction. */
  readonly bqual: string
  readonly who: string
  readonly host: string
  readonly reason: string
}

export type LogRecord =
  | CheckpointRecord
  | OpenRecord
  | ServerRecord
  | CommitLogRecord
  | AnsweredRecord
  | EndRecord
  | OperatorRecord

const TYPE_BYTES: Readonly<Record<LogRecord['type'], number>> = {
  checkpoint: 1,
  open: 2,
  server: 3,
  commit: 4,
  answered: 5,
  end: 6,
  heuristic: 7,
  operator: 8,
}

const ANSWER_BYTES: Readonly<Record<BranchAnswer, number>> = {
  committed: 1,
  'committed-unproven': 2,
  'heuristic-rollback': 3,
  'heuristic-hazard': 4,
}

const LOG_ID_BYTES = 16
const NONCE_BYTES = 8

/** How a commit record's servers are named by index, when it is written and when it is read. */
export interface ServerNames {
  indexOf(server: string, timeline: string | undefined): number
  /** In that life of the server; `undefined` for an index that is not there. */
  identity(index: number, startedAtMs: number): ServerIdentity | undefined
}

export function encodeRecord(record: LogRecord, servers: ServerNames): Buffer {
  const writer = new ByteWriter(Buffer.allocUnsafe(384))
  writeRecord(writer, record, servers)
  return writer.bytes()
}

/** The payload of a frame of these records. */
export function encodeRecords(records: readonly LogRecord[], servers: ServerNames): Buffer {
  const writer = new ByteWriter(Buffer.allocUnsafe(4096))
  for (const record of records) writeRecord(writer, record, servers)
  return writer.bytes()
}

/** Appends the record. */
export function writeRecord(writer: ByteWriter, record: LogRecord, servers: ServerNames): void {
  const start = writer.length
  writer.u8(TYPE_BYTES[record.type]).u32(0)
  encodeBody(writer, record, servers)
  writer.patchU32(start + 1, writer.length - start - RECORD_HEAD_BYTES)
}

/**
 * Reads the records of a payload, in order.
 *
 * @param take - told of each, and of its bytes, before the next one is read: that may name a server of this one
 * @throws MalformedError
 */
export function decodeRecords(
  payload: Buffer,
  servers: ServerNames,
  take: (record: LogRecord, bytes: number) => void,
  texts: Texts = new Texts(),
): void {
  const reader = new ByteReader(payload, texts)
  while (reader.left > 0) {
    const type = reader.u8()
    const length = reader.u32()
    const body = reader.part(length)
    const record = decodeBody(type, body, servers)
    if (body.left > 0) throw new MalformedError('a record is longer than what it holds')
    take(record, RECORD_HEAD_BYTES + length)
  }
}

function encodeBody(writer: ByteWriter, record: LogRecord, servers: ServerNames): void {
  switch (record.type) {
    case 'checkpoint':
      writer.f64(record.atMs)
      encodeFixed(writer, record.logId, LOG_ID_BYTES)
      writer.f64(record.lowestEpoch).u32(record.nonces.length)
      for (const nonce of record.nonces) encodeFixed(writer, nonce, NONCE_BYTES)
      return
    case 'open':
      writer.f64(record.atMs).f64(record.epoch)
      encodeFixed(writer, record.nonce, NONCE_BYTES)
      return
    case 'server':
      writer.u16(record.index).longText(record.server)
      writer.u8(record.timeline === undefined ? 0 : 1)
      if (record.timeline !== undefined) writer.shortText(record.timeline)
      return
    case 'commit':
      encodeCommit(writer, record.commit, servers)
      return
    case 'answered':
    case 'heuristic':
      writer.shortText(record.gtrid).shortText(record.bqual)
      writer.u8(ANSWER_BYTES[record.answer]).f64(record.atMs)
      return
    case 'end':
      writer.shortText(record.gtrid)
      return
    case 'operator':
      writer.f64(record.atMs).shortText(record.action).shortText(record.gtrid)
      writer.shortText(record.bqual).shortText(record.who).shortText(record.host)
      writer.longText(record.reason)
  }
}

function encodeCommit(writer: ByteWriter, commit: CommitRecord, servers: ServerNames): void {
  const { name, meta } = commit
  writer.shortText(commit.gtrid).f64(commit.decidedAtMs)
  writer.u8((name === undefined ? 0 : 1) | (meta === undefined ? 0 : 2))
  if (name !== undefined) writer.shortText(name)
  if (meta !== undefined) writer.longText(meta)
  writer.u8(commit.branches.length)
  for (const branch of commit.branches) {
    const { xid8, participant, server } = branch
    const named = branch.bqual !== participant && participantIn(branch.bqual) !== participant
    writer.u8((branch.marker ? 1 : 0) | (xid8 === undefined ? 0 : 2) | (named ? 4 : 0))
    writer.shortText(branch.bqual)
    if (named) writer.shortText(participant)
    writer.u16(servers.indexOf(server.server, server.timeline)).f64(server.startedAtMs)
    if (xid8 !== undefined) writer.shortText(xid8)
  }
}

function decodeBody(type: number, body: ByteReader, servers: ServerNames): LogRecord {
  switch (type) {
    case TYPE_BYTES.checkpoint:
      return decodeCheckpoint(body)
    case TYPE_BYTES.open:
      return {
        type: 'open',
        atMs: body.f64(),
        epoch: decodeEpoch(body),
        nonce: decodeFixed(body, NONCE_BYTES),
      }
    case TYPE_BYTES.server:
      return decodeServer(body)
    case TYPE_BYTES.commit:
      return { type: 'commit', commit: decodeCommit(body, servers) }
    case TYPE_BYTES.answered:
      return decodeAnswered('answered', body)
    case TYPE_BYTES.heuristic:
      return decodeAnswered('heuristic', body)
    case TYPE_BYTES.end:
      return { type: 'end', gtrid: body.shortText() }
    case TYPE_BYTES.operator:
      return {
        type: 'operator',
        atMs: body.f64(),
        action: body.shortText(),
        gtrid: body.shortText(),
        bqual: body.shortText(),
        who: body.shortText(),
        host: body.shortText(),
        reason: body.longText(),
      }
    default:
      throw new MalformedError(`there is no record of type ${type}`)
  }
}

function decodeCheckpoint(body: ByteReader): CheckpointRecord {
  const atMs = body.f64()
  const logId = decodeFixed(body, LOG_ID_BYTES)
  const lowestEpoch = decodeEpoch(body)
  const count = body.u32()
  if (count * NONCE_BYTES !== body.left) throw new MalformedError('nonces are missing')
  const nonces = Array.from({ length: count }, () => decodeFixed(body, NONCE_BYTES))
  return { type: 'checkpoint', atMs, logId, lowestEpoch, nonces }
}

function decodeServer(body: ByteReader): ServerRecord {
  const index = body.u16()
  const server = body.longText()
  const timeline = decodeFlags(body, 1) === 1 ? { timeline: body.shortText() } : {}
  return { type: 'server', index, server, ...timeline }
}

function decodeAnswered(type: 'answered' | 'heuristic', body: ByteReader): AnsweredRecord {
  const gtrid = body.shortText()
  const bqual = body.shortText()
  const answer = decodeAnswer(body.u8())
  if (isHeuristic(answer) !== (type === 'heuristic')) {
    throw new MalformedError(`a record of type ${type} holds the answer ${answer}`)
  }
  return { type, gtrid, bqual, answer, atMs: body.f64() }
}

export function isHeuristic(answer: BranchAnswer): boolean {
  return answer === 'heuristic-rollback' || answer === 'heuristic-hazard'
}

function decodeAnswer(byte: number): BranchAnswer {
  switch (byte) {
    case 1:
      return 'committed'
    case 2:
      return 'committed-unproven'
    case 3:
      return 'heuristic-rollback'
    case 4:
      return 'heuristic-hazard'
    default:
      throw new MalformedError(`there is no answer ${byte}`)
  }
}

function decodeCommit(body: ByteReader, servers: ServerNames): CommitRecord {
  const gtrid = body.shortText()
  const decidedAtMs = body.f64()
  const flags = decodeFlags(body, 3)
  const name = (flags & 1) === 0 ? undefined : body.shortText()
  const meta = (flags & 2) === 0 ? undefined : body.longText()
  const count = body.u8()
  if (count === 0 || count > MAX_BRANCHES) throw new MalformedError(`${count} branches`)
  // As long as it is: an array that grows has room for 17, and there may be tens of thousands.
  const branches = Array.from({ length: count }, () => decodeBranch(body, servers))
  // Not spread into one: of tens of thousands that is a third of the time.
  if (meta !== undefined) {
    return name === undefined
      ? { gtrid, decidedAtMs, meta, branches }
      : { gtrid, decidedAtMs, name, meta, branches }
  }
  return name === undefined
    ? { gtrid, decidedAtMs, branches }
    : { gtrid, decidedAtMs, name, branches }
}

function decodeBranch(body: ByteReader, servers: ServerNames): BranchRecord {
  const flags = decodeFlags(body, 7)
  const bqual = body.shortText()
  const usual = participantIn(bqual)
  const participant = (flags & 4) === 0 ? usual : body.shortText()
  if ((flags & 4) !== 0 && participant === usual) throw new MalformedError('a needless name')
  const server = servers.identity(body.u16(), body.f64())
  if (server === undefined) throw new MalformedError('a branch names a server that is not there')
  const marker = (flags & 1) === 1
  if ((flags & 2) === 0) return { participant, bqual, server, marker }
  return { participant, bqual, server, xid8: body.shortText(), marker }
}

function decodeFlags(body: ByteReader, known: number): number {
  const flags = body.u8()
  if ((flags & ~known) !== 0) throw new MalformedError(`unknown flags ${flags}`)
  return flags
}

function decodeEpoch(body: ByteReader): number {
  const epoch = body.f64()
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new MalformedError(`epoch ${epoch}`)
  return epoch
}

function encodeFixed(writer: ByteWriter, text: string, length: number): void {
  invariant(text.length === length, `${text} is ${length} bytes long`)
  for (let index = 0; index < length; index += 1) writer.u8(text.charCodeAt(index))
}

function decodeFixed(body: ByteReader, length: number): string {
  const text = body.bytes(length).toString('latin1')
  if (!/^[0-9a-z]+$/.test(text)) throw new MalformedError('an id has other than digits and letters')
  return text
}
