/**
 * Identity of a global transaction and of its branches.
 *
 *   gtrid = una1-<log id>-<epoch>.<nonce>-<seq>      ASCII, at most 64 bytes, never reused
 *           |    |        |       |       number of the transaction within its incarnation, base 36
 *           |    |        |       40 random bits, 8 base-32 digits
 *           |    |        counts the opens of the log, base 36
 *           |    80 random bits, 16 base-32 digits, drawn when the log was created
 *           version of this spelling
 *   bqual = <participant> (PostgreSQL) or <participant>.<server thread id> (XA), at most 64 bytes
 *
 * The formatID of every XA branch is 1 and carries nothing: MySQL 9.7 loses prepared branches over a
 * restart when formatIDs on the server differ, and 1 is what every application that omits it uses.
 */
import { invariant } from './invariant.ts'

/** XA formatID of every branch. */
export const FORMAT_ID = 1
/** XA limit on gtrid and bqual, each, in bytes. */
export const MAX_XID_PART_BYTES = 64
/** Longest participant name, in bytes: a bqual must also hold the server's thread id. */
export const MAX_PARTICIPANT_NAME_BYTES = 40

/** A branch as a server knows it. */
export interface Xid {
  readonly gtrid: string
  readonly bqual: string
}

/** One life of the log's owner: which open of the log it was. */
export interface Incarnation {
  /** 1 for the first open of a log, one more for each later open. */
  readonly epoch: number
  /** 40 random bits as 8 base-32 digits; tells two copies of one log apart. */
  readonly nonce: string
}

export interface ParsedGtrid {
  readonly logId: string
  readonly incarnation: Incarnation
  readonly sequence: number
}

export interface ParsedBqual {
  readonly participant: string
  /** XA only: the server's connection id of the session that prepared the branch. */
  readonly threadId?: number
}

const BASE32 = '0123456789abcdefghjkmnpqrstvwxyz'
const LOG_ID_DIGITS = 16
const NONCE_DIGITS = 8
const GTRID =
  /^una1-[0-9a-hjkmnp-tv-z]{16}-[1-9a-z][0-9a-z]{0,7}\.[0-9a-hjkmnp-tv-z]{8}-[0-9a-z]{1,11}$/
const LOG_ID_START = 'una1-'.length
const EPOCH_START = LOG_ID_START + LOG_ID_DIGITS + 1
const LOG_ID = /^[0-9a-hjkmnp-tv-z]{16}$/
const NAME = /^[A-Za-z][A-Za-z0-9_-]*$/

/** Spells 10 random bytes as a log id. */
export function logIdFrom(bytes: Uint8Array): string {
  return base32(bytes, LOG_ID_DIGITS)
}

export function isLogId(text: string): boolean {
  return LOG_ID.test(text)
}

/** Spells 5 random bytes as the nonce of an incarnation. */
export function nonceFrom(bytes: Uint8Array): string {
  return base32(bytes, NONCE_DIGITS)
}

export function formatIncarnation(incarnation: Incarnation): string {
  return `${incarnation.epoch.toString(36)}.${incarnation.nonce}`
}

/** What every gtrid of this incarnation begins with, the last hyphen included. */
export function gtridPrefix(logId: string, incarnation: Incarnation): string {
  return `una1-${logId}-${formatIncarnation(incarnation)}-`
}

export function formatGtrid(parsed: ParsedGtrid): string {
  const text = gtridPrefix(parsed.logId, parsed.incarnation) + parsed.sequence.toString(36)
  invariant(text.length <= MAX_XID_PART_BYTES, `gtrid ${text} is longer than XA allows`)
  return text
}

/** Reads a gtrid; `undefined` for anything that this project did not spell. */
export function parseGtrid(text: string): ParsedGtrid | undefined {
  if (!GTRID.test(text)) return undefined
  // By place, and not by the groups of a match: there may be tens of thousands.
  const dot = text.indexOf('.')
  const nonceEnd = dot + 1 + NONCE_DIGITS
  return {
    logId: text.slice(LOG_ID_START, LOG_ID_START + LOG_ID_DIGITS),
    incarnation: {
      epoch: Number.parseInt(text.slice(EPOCH_START, dot), 36),
      nonce: text.slice(dot + 1, nonceEnd),
    },
    sequence: Number.parseInt(text.slice(nonceEnd + 1), 36),
  }
}

/** Whether {@link parseGtrid} reads it, for less. */
export function isGtrid(text: string): boolean {
  return GTRID.test(text)
}

/**
 * Orders gtrids of one log as their transactions began: by epoch, then by sequence. Neither is read:
 * of two numbers without leading zeros the longer one is larger.
 */
export function byBegin(a: string, b: string): number {
  const dot = a.indexOf('.')
  const byLength = dot - b.indexOf('.')
  if (byLength !== 0) return byLength
  for (let at = EPOCH_START; at < dot; at += 1) {
    const byDigit = a.charCodeAt(at) - b.charCodeAt(at)
    if (byDigit !== 0) return byDigit
  }
  return a.length - b.length || (a < b ? -1 : Number(a > b))
}

export function sameIncarnation(a: Incarnation, b: Incarnation): boolean {
  return a.epoch === b.epoch && a.nonce === b.nonce
}

/** Spells the bqual of a branch; the thread id only where the server has one (XA). */
export function formatBqual(participant: string, threadId?: number): string {
  return threadId === undefined ? participant : `${participant}.${threadId}`
}

/** Reads a bqual, at its last dot: names have no dots, thread ids are digits. */
export function parseBqual(text: string): ParsedBqual {
  const dot = text.lastIndexOf('.')
  if (dot < 0) return { participant: text }
  const digits = text.slice(dot + 1)
  if (!/^\d+$/.test(digits)) return { participant: text }
  return { participant: text.slice(0, dot), threadId: Number(digits) }
}

/** The participant that {@link parseBqual} reads. */
export function participantIn(bqual: string): string {
  return bqual.includes('.') ? parseBqual(bqual).participant : bqual
}

/** Whether the text can name a participant: it is persisted, and becomes part of every xid. */
export function isParticipantName(text: string): boolean {
  return NAME.test(text) && Buffer.byteLength(text) <= MAX_PARTICIPANT_NAME_BYTES
}

function base32(bytes: Uint8Array, digits: number): string {
  invariant(bytes.length * 8 === digits * 5, 'random bytes do not fill the id')
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += BASE32.charAt((value >>> bits) & 31)
    }
    value &= (1 << bits) - 1
  }
  return text
}
