import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatBqual,
  formatGtrid,
  isParticipantName,
  logIdFrom,
  MAX_PARTICIPANT_NAME_BYTES,
  MAX_XID_PART_BYTES,
  nonceFrom,
  parseBqual,
  parseGtrid,
} from '../../src/xid.ts'

const logId = fc.uint8Array({ minLength: 10, maxLength: 10 }).map(logIdFrom)
const nonce = fc.uint8Array({ minLength: 5, maxLength: 5 }).map(nonceFrom)
const epoch = fc.integer({ min: 1, max: 36 ** 8 - 1 })
const sequence = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })

describe('gtrid', () => {
  it('is read back as it was spelled, and fits XA, for every id', () => {
    fc.assert(
      fc.property(logId, epoch, nonce, sequence, (log, number, random, seq) => {
        const parts = { logId: log, incarnation: { epoch: number, nonce: random }, sequence: seq }
        const text = formatGtrid(parts)
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MAX_XID_PART_BYTES)
        expect(parseGtrid(text)).toEqual(parts)
      }),
    )
  })

  it.each([
    '',
    'una1-',
    'una2-0000000000000000-1.00000000-1',
    'una1-000000000000000-1.00000000-1',
    'una1-0000000000000000-0.00000000-1',
    'una1-0000000000000000-1.0000000-1',
    'una1-0000000000000000-1.00000000-',
    'una1-0000000000000000-1.00000000-1 ',
    'UNA1-0000000000000000-1.00000000-1',
    'una1-000000000000000u-1.00000000-1',
  ])('does not read %j', (text) => {
    expect(parseGtrid(text)).toBeUndefined()
  })

  it('gives different ids for different bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        (a, b) => {
          expect(logIdFrom(a) === logIdFrom(b)).toBe(Buffer.compare(a, b) === 0)
        },
      ),
    )
  })
})

describe('bqual', () => {
  it('is read at its last dot', () => {
    expect(parseBqual(formatBqual('shop', 42))).toEqual({ participant: 'shop', threadId: 42 })
    expect(parseBqual(formatBqual('ledger'))).toEqual({ participant: 'ledger' })
    expect(parseBqual('a.b')).toEqual({ participant: 'a.b' })
  })

  it('fits XA with the longest name and the largest thread id', () => {
    const name = 'n'.repeat(MAX_PARTICIPANT_NAME_BYTES)
    expect(isParticipantName(name)).toBe(true)
    expect(isParticipantName(`${name}n`)).toBe(false)
    const bqual = formatBqual(name, Number.MAX_SAFE_INTEGER)
    expect(bqual.length).toBeLessThanOrEqual(MAX_XID_PART_BYTES)
  })

  it.each(['', 'a.b', '1a', 'é', 'a b', "a'b"])('%j names no participant', (name) => {
    expect(isParticipantName(name)).toBe(false)
  })
})
