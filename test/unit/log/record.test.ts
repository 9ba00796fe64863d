import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_BRANCHES, MAX_META_BYTES, MAX_NAME_BYTES } from '../../../src/log/decision-log.ts'
import { framePages } from '../../../src/log/frame.ts'
import { ServerTable } from '../../../src/log/log-state.ts'
import { decodeRecords, encodeRecord, type LogRecord } from '../../../src/log/record.ts'
import {
  checkCommit,
  MAX_ANSWERED_BYTES,
  MAX_COMMIT_BYTES,
  MAX_SERVER_BYTES,
  MAX_SERVER_RECORD_BYTES,
} from '../../../src/log/record-limits.ts'
import type { BranchRecord } from '../../../src/protocol/vocabulary.ts'
import { transfer } from '../../support/test-log.ts'

const text = (maxBytes: number): fc.Arbitrary<string> =>
  fc
    .string({ unit: 'grapheme', maxLength: maxBytes })
    .filter((value) => Buffer.byteLength(value) <= maxBytes)
const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
const optional = <T>(name: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.oneof(fc.constant({}), fc.record({ [name]: value }))

const branch: fc.Arbitrary<BranchRecord> = fc
  .tuple(
    fc.record({ participant: text(40), bqual: text(64), marker: fc.boolean() }),
    fc.tuple(
      fc.record({ server: text(MAX_SERVER_BYTES), startedAtMs: finite }),
      optional('timeline', text(8)),
    ),
    optional('xid8', text(20)),
  )
  .map(([known, [server, timeline], xid8]) => ({
    ...known,
    ...xid8,
    server: { ...server, ...timeline },
  }))

const commit = fc
  .tuple(
    fc.record({
      gtrid: text(64),
      decidedAtMs: finite,
      branches: fc.uniqueArray(branch, { minLength: 1, maxLength: 16, selector: (b) => b.bqual }),
    }),
    optional('name', text(MAX_NAME_BYTES)),
    optional('meta', text(MAX_META_BYTES)),
  )
  .map(([known, name, meta]) => ({ ...known, ...name, ...meta }))

describe('a record', () => {
  it('is decoded to what was encoded, and within its bound', () => {
    fc.assert(
      fc.property(commit, (record) => {
        checkCommit(record)
        const servers = new ServerTable()
        const records: LogRecord[] = []
        for (const { server } of record.branches) {
          const named = servers.assign(server.server, server.timeline)
          if (named !== undefined) records.push(named)
        }
        records.push({ type: 'commit', commit: record })
        const encoded = records.map((each) => encodeRecord(each, servers))
        const found = new ServerTable()
        const decoded: LogRecord[] = []
        decodeRecords(Buffer.concat(encoded), found, (each) => {
          if (each.type === 'server') found.add(each)
          decoded.push(each)
        })
        expect(decoded).toEqual(records)
        expect(encoded.at(-1)?.length).toBeLessThanOrEqual(MAX_COMMIT_BYTES)
        for (const bytes of encoded.slice(0, -1)) {
          expect(bytes.length).toBeLessThanOrEqual(MAX_SERVER_RECORD_BYTES)
        }
      }),
      { numRuns: 300 },
    )
  })

  it.each<LogRecord>([
    {
      type: 'checkpoint',
      atMs: 1,
      logId: '0123456789abcdef',
      lowestEpoch: 7,
      nonces: ['0123abcd'],
    },
    { type: 'open', atMs: 1, epoch: 3, nonce: 'zzzzzzzz' },
    { type: 'answered', atMs: 1, gtrid: 'g', bqual: 'b', answer: 'committed-unproven' },
    { type: 'heuristic', atMs: 1, gtrid: 'g', bqual: 'b', answer: 'heuristic-hazard' },
    { type: 'end', gtrid: 'g' },
    {
      type: 'operator',
      atMs: 1,
      action: 'forget',
      gtrid: 'g',
      bqual: '',
      who: 'ada',
      host: 'db1',
      reason: 'restored from a backup — see 17',
    },
  ])('of type $type comes back as it was', (record) => {
    const bytes = encodeRecord(record, new ServerTable())
    expect(decoded(bytes, new ServerTable())).toEqual([{ record, bytes: bytes.length }])
    const answered = record.type === 'answered' || record.type === 'heuristic'
    if (answered) expect(bytes.length).toBeLessThanOrEqual(MAX_ANSWERED_BYTES)
  })

  it('of an answer is of the type that the answer has', () => {
    const servers = new ServerTable()
    const answer = { gtrid: 'g', bqual: 'b', answer: 'committed', atMs: 0 } as const
    const bytes = encodeRecord({ type: 'heuristic', ...answer }, servers)
    expect(() => decoded(bytes, servers)).toThrow(/holds the answer committed/)
  })

  it('names a participant only where its bqual does not', () => {
    const servers = new ServerTable()
    servers.assign('s', undefined)
    const [known] = transfer('g').branches
    if (known === undefined) throw new Error('a transfer has branches')
    const server = { server: 's', startedAtMs: 1 }
    const commit = transfer('g', {
      branches: [{ ...known, participant: 'stock', bqual: 'store.1', server }],
    })
    const bytes = encodeRecord({ type: 'commit', commit }, servers)
    bytes.write('store', bytes.indexOf('stock'))
    expect(() => decoded(bytes, servers)).toThrow(/a needless name/)
  })

  it('of a commit fits one page with its head, however large', () => {
    expect(framePages(MAX_COMMIT_BYTES)).toBe(1)
  })
})

describe('what the format cannot hold is refused', () => {
  const base: BranchRecord = {
    participant: 'ledger',
    bqual: 'ledger',
    server: { server: 's', startedAtMs: 1 },
    marker: false,
  }
  it.each([
    ['a long name', { name: 'n'.repeat(129) }],
    ['a long meta, counted in bytes', { meta: 'é'.repeat(513) }],
    ['half a character', { meta: '\ud800' }],
    ['no branches', { branches: [] }],
    [
      'many branches',
      {
        branches: Array.from({ length: MAX_BRANCHES + 1 }, (_, n) => ({ ...base, bqual: `b${n}` })),
      },
    ],
    ['a bqual twice', { branches: [base, base] }],
    ['a long bqual', { branches: [{ ...base, bqual: 'b'.repeat(65) }] }],
    ['no time', { decidedAtMs: Number.NaN }],
    [
      'a long server',
      { branches: [{ ...base, server: { server: 's'.repeat(513), startedAtMs: 1 } }] },
    ],
  ])('%s', (_, more) => {
    expect(() => checkCommit(transfer('g', more))).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})

function decoded(payload: Buffer, servers: ServerTable): readonly object[] {
  const found: object[] = []
  decodeRecords(payload, servers, (record, bytes) => found.push({ record, bytes }))
  return found
}
