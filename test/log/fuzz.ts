/**
 * Feeds the reader what no log of ours would be: `npx tsx test/log/fuzz.ts [--count 10000000]`.
 *
 * Every input goes through replay. Most are sealed again after they were changed, so that they get
 * past the digests to the records. Nothing but LogCorruptError (or LOG_UNREADABLE, of a version
 * that is not ours) may come out, nothing may allocate more than a segment, and what is accepted
 * must encode to the bytes that were read.
 */
import { fork } from 'node:child_process'
import { hash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { LogCorruptError, UnanimousError } from '../../src/errors.ts'
import {
  blankSector,
  sealFrame as completeFrame,
  encodeHeader,
  PAGE_BYTES,
  PAYLOAD_START,
} from '../../src/log/frame.ts'
import { LogState, ServerTable } from '../../src/log/log-state.ts'
import { encodeRecords, type LogRecord } from '../../src/log/record.ts'
import { replaySegment } from '../../src/log/replay.ts'
import { transfer } from '../support/test-log.ts'

const SEGMENT_PAGES = 8
const SEGMENT_BYTES = SEGMENT_PAGES * PAGE_BYTES
const SALT = '0123456789abcdef'
const LOG_ID = '0123456789abcdef'
const FRAME_AT = 2 * PAGE_BYTES
const HEAD_BYTES = 64

export interface FuzzResult {
  inputs: number
  accepted: number
  refused: number
  failures: string[]
  largestAllocation: number
}

/** Runs so many inputs, drawn from the seed; ends early when the time is over. */
export function fuzz(
  count: number,
  seed: number,
  limitMs: number = Number.POSITIVE_INFINITY,
): FuzzResult {
  const base = baseSegment()
  const random = generator(seed)
  const result: FuzzResult = {
    inputs: 0,
    accepted: 0,
    refused: 0,
    failures: [],
    largestAllocation: 0,
  }
  const stopWatching = watchAllocations(result)
  const deadline = performance.now() + limitMs
  const input = Buffer.from(base.bytes)
  try {
    for (let n = 0; n < count; n += 1) {
      if (n % 1024 === 0 && performance.now() > deadline) break
      base.bytes.copy(input)
      feed(mutate(input, base.payloadBytes, random), result)
      result.inputs += 1
    }
  } finally {
    stopWatching()
  }
  return result
}

function feed(input: Buffer, result: FuzzResult): void {
  const state = new LogState(100)
  const records: LogRecord[] = []
  try {
    replaySegment(input, '/log/segment-0000000001.log', 1, state, (batch) => {
      records.push(...batch.records)
    })
  } catch (cause) {
    result.refused += 1
    if (cause instanceof LogCorruptError) return
    if (cause instanceof UnanimousError && cause.code === 'LOG_UNREADABLE') return
    if (result.failures.length < 10) result.failures.push(String(cause))
    return
  }
  result.accepted += 1
  const encoded = encodeRecords(records, state.servers)
  if (!input.includes(encoded) && result.failures.length < 10) {
    result.failures.push('an accepted batch encodes to other bytes')
  }
}

function mutate(input: Buffer, payloadBytes: number, random: (below: number) => number): Buffer {
  const kind = random(16)
  if (kind < 10) return changePayload(input, payloadBytes, random)
  if (kind < 12) {
    scatter(input, FRAME_AT + 16, FRAME_AT + HEAD_BYTES, random)
    return sealFrame(input, input.readUInt32LE(FRAME_AT + 44))
  }
  if (kind === 12) {
    scatter(input, 24, 96, random)
    return sealHeader(input)
  }
  if (kind === 13) {
    scatter(input, 0, input.length, random)
    return input
  }
  if (kind === 14) return input.subarray(0, random(input.length))
  for (let at = random(input.length); at < input.length; at += 1 + random(64))
    input[at] = random(256)
  return input
}

/** Changes bytes of the records, or moves some of them, or changes how many there are. */
function changePayload(
  input: Buffer,
  payloadBytes: number,
  random: (below: number) => number,
): Buffer {
  const from = FRAME_AT + HEAD_BYTES
  let length = payloadBytes
  const way = random(4)
  if (way === 0) length = random(PAGE_BYTES - HEAD_BYTES)
  if (way === 1) {
    const at = from + random(payloadBytes)
    input.copyWithin(at, from + random(payloadBytes), from + payloadBytes)
  }
  if (way > 0) scatter(input, from, from + payloadBytes, random)
  input.writeUInt32LE(length, FRAME_AT + 44)
  return sealFrame(input, length)
}

function scatter(input: Buffer, from: number, to: number, random: (below: number) => number): void {
  for (let changes = 1 + random(4); changes > 0; changes -= 1) {
    const at = from + random(to - from)
    const old = input[at] ?? 0
    const interesting = [0, 1, 0x7f, 0x80, 0xff, old ^ (1 << random(8)), random(256)]
    input[at] = interesting[random(interesting.length)] ?? 0
  }
}

/** Makes the digest of the first copy right again. */
function sealFrame(input: Buffer, payloadBytes: number): Buffer {
  const end = Math.min(FRAME_AT + HEAD_BYTES + payloadBytes, FRAME_AT + PAGE_BYTES)
  input.fill(0, end, FRAME_AT + PAGE_BYTES)
  hash('sha256', input.subarray(FRAME_AT + 16, end), 'buffer').copy(input, FRAME_AT, 0, 16)
  return input
}

/** Makes the digest of the header right again, and the frame follow it. */
function sealHeader(input: Buffer): Buffer {
  hash('sha256', input.subarray(24, PAGE_BYTES), 'buffer').copy(input, 8, 0, 16)
  input.copy(input, FRAME_AT + 48, 8, 24)
  input.copy(input, FRAME_AT + 20, 40, 48)
  return sealFrame(input, input.readUInt32LE(FRAME_AT + 44))
}

function baseSegment(): { bytes: Buffer; payloadBytes: number } {
  const servers = new ServerTable()
  const commits = [transfer('una1-a'), transfer('una1-b', { name: 'n', meta: '{}' })]
  const named: LogRecord[] = commits
    .flatMap(({ branches }) => branches)
    .flatMap(({ server }) => servers.assign(server.server, server.timeline) ?? [])
  const [gtrid, bqual] = ['una1-a', 'ledger']
  const records: LogRecord[] = [
    {
      type: 'checkpoint',
      atMs: 1,
      logId: LOG_ID,
      lowestEpoch: 1,
      nonces: ['00000000', 'zzzzzzzz'],
    },
    ...named,
    ...commits.map((commit): LogRecord => ({ type: 'commit', commit })),
    { type: 'answered', gtrid, bqual, answer: 'committed', atMs: 2 },
    { type: 'heuristic', gtrid: 'una1-b', bqual, answer: 'heuristic-hazard', atMs: 2 },
    { type: 'operator', atMs: 3, action: 'x', gtrid, bqual: '', who: 'w', host: 'h', reason: 'r' },
    { type: 'open', atMs: 4, epoch: 3, nonce: 'abcdefgh' },
    { type: 'end', gtrid },
  ]
  const header = encodeHeader({
    segmentBytes: SEGMENT_BYTES,
    number: 1,
    salt: SALT,
    createdAtMs: 1,
    firstBatch: 1,
    logId: LOG_ID,
  })
  const place = { salt: SALT, batch: 1, firstPage: 2, chain: header.digest }
  const payload = encodeRecords(records, servers)
  const page = Buffer.alloc(PAGE_BYTES)
  payload.copy(page, PAYLOAD_START)
  const frame = completeFrame(page, place, payload.length)
  const bytes = Buffer.alloc(SEGMENT_BYTES, blankSector(SALT))
  for (const page of [0, 1]) header.page.copy(bytes, page * PAGE_BYTES)
  for (const page of [2, 3]) frame.bytes.copy(bytes, page * PAGE_BYTES)
  return { bytes, payloadBytes: payload.length }
}

/** Notes the largest buffer that is made while the reader runs. */
function watchAllocations(result: FuzzResult): () => void {
  const alloc = Buffer.alloc.bind(Buffer)
  const allocUnsafe = Buffer.allocUnsafe.bind(Buffer)
  const watch =
    <A extends unknown[]>(make: (size: number, ...rest: A) => Buffer<ArrayBuffer>) =>
    (size: number, ...rest: A) => {
      result.largestAllocation = Math.max(result.largestAllocation, size)
      return make(size, ...rest)
    }
  Buffer.alloc = watch(alloc)
  Buffer.allocUnsafe = watch(allocUnsafe)
  return () => {
    Buffer.alloc = alloc
    Buffer.allocUnsafe = allocUnsafe
  }
}

function generator(seed: number): (below: number) => number {
  let state = seed | 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function runShard(count: number, seed: number): Promise<FuzzResult> {
  const args = ['--count', String(count), '--seed', String(seed), '--json']
  const child = fork(fileURLToPath(import.meta.url), args, {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  return new Promise((resolve, reject) => {
    let output = ''
    child.stdout?.on('data', (chunk) => {
      output += String(chunk)
    })
    child.once('exit', (code) => {
      if (code === 0) {
        const result: FuzzResult = JSON.parse(output)
        resolve(result)
      } else reject(new Error(`a part of the fuzzer ended with exit code ${code}`))
    })
  })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '10000000' },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
    },
  })
  const count = Number(values.count)
  if (values.json) {
    console.log(JSON.stringify(fuzz(count, Number(values.seed))))
    return
  }
  const shards = availableParallelism()
  const parts = await Promise.all(
    Array.from({ length: shards }, (_, n) => runShard(Math.ceil(count / shards), 7919 * (n + 1))),
  )
  const sum = (of: (part: FuzzResult) => number): number =>
    parts.reduce((all, part) => all + of(part), 0)
  const failures = parts.flatMap((part) => part.failures)
  const largest = Math.max(...parts.map((part) => part.largestAllocation))
  console.log(`inputs: ${sum((part) => part.inputs)}`)
  console.log(`accepted: ${sum((part) => part.accepted)}, refused: ${sum((part) => part.refused)}`)
  console.log(`largest allocation: ${largest} bytes, of a segment of ${SEGMENT_BYTES}`)
  for (const failure of failures) console.log(`  ${failure}`)
  const failed = failures.length + (largest > SEGMENT_BYTES ? 1 : 0)
  console.log(`${sum((part) => part.inputs) - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
