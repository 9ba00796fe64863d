/**
 * How large what a record holds may be, and the refusal of what is larger: before anything is
 * handed over, so that a transaction can still abort.
 */
import { UnanimousError } from '../errors.ts'
import type { BranchRecord } from '../protocol/vocabulary.ts'
import { MAX_XID_PART_BYTES } from '../xid.ts'
import {
  type CommitRecord,
  MAX_BRANCHES,
  MAX_META_BYTES,
  MAX_NAME_BYTES,
  type OperatorEntry,
} from './decision-log.ts'

/** Longest text of a server's identity, in bytes. */
export const MAX_SERVER_BYTES = 512
/** Most distinct servers that the commit records of one incarnation can name. */
export const MAX_SERVERS = 256

const MAX_WHO_BYTES = 128
const MAX_HOST_BYTES = 255
const MAX_REASON_BYTES = 1024
const LONE_SURROGATE = /\p{Surrogate}/u
const MAX_TIMELINE_BYTES = 8
const MAX_XID8_BYTES = 20
/** Of every record: its type and the length of its body. */
export const RECORD_HEAD_BYTES = 5
const MAX_BRANCH_BYTES = 1 + 65 + 65 + 2 + 8 + 1 + MAX_XID8_BYTES

/** Longest commit record, its head included. With its frame's head it fits one page. */
export const MAX_COMMIT_BYTES: number =
  RECORD_HEAD_BYTES +
  65 +
  8 +
  1 +
  (1 + MAX_NAME_BYTES) +
  (2 + MAX_META_BYTES) +
  1 +
  MAX_BRANCHES * MAX_BRANCH_BYTES

/** Longest server record, its head included. */
export const MAX_SERVER_RECORD_BYTES: number =
  RECORD_HEAD_BYTES + 2 + 2 + MAX_SERVER_BYTES + 1 + 1 + MAX_TIMELINE_BYTES

/** Longest operator record, its head included. */
export const MAX_OPERATOR_BYTES: number =
  RECORD_HEAD_BYTES +
  8 +
  3 * 65 +
  (1 + MAX_WHO_BYTES) +
  (1 + MAX_HOST_BYTES) +
  (2 + MAX_REASON_BYTES)

/** Longest answered or heuristic record, its head included. */
export const MAX_ANSWERED_BYTES: number = RECORD_HEAD_BYTES + 65 + 65 + 1 + 8

/**
 * Refuses, before anything is handed over, what the format cannot hold.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function checkCommit(commit: CommitRecord): void {
  checkText('gtrid', commit.gtrid, MAX_XID_PART_BYTES)
  checkNumber('decidedAtMs', commit.decidedAtMs)
  if (commit.name !== undefined) checkText('name', commit.name, MAX_NAME_BYTES)
  if (commit.meta !== undefined) checkText('meta', commit.meta, MAX_META_BYTES)
  const { branches } = commit
  if (branches.length === 0 || branches.length > MAX_BRANCHES) {
    refuse(`a commit record holds 1 to ${MAX_BRANCHES} branches, not ${branches.length}`)
  }
  branches.forEach((branch, index) => {
    checkBranch(branch)
    for (let other = 0; other < index; other += 1) {
      if (branches[other]?.bqual === branch.bqual) {
        refuse(`two branches have the bqual ${branch.bqual}`)
      }
    }
  })
}

/**
 * Refuses an operator's entry that the format cannot hold.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function checkOperator(entry: OperatorEntry): void {
  checkText('action', entry.action, MAX_XID_PART_BYTES)
  checkText('gtrid', entry.gtrid, MAX_XID_PART_BYTES)
  checkText('bqual', entry.bqual ?? '', MAX_XID_PART_BYTES)
  checkText('who', entry.who, MAX_WHO_BYTES)
  checkText('host', entry.host, MAX_HOST_BYTES)
  checkText('reason', entry.reason, MAX_REASON_BYTES)
}

function checkBranch({ bqual, participant, server, xid8 }: BranchRecord): void {
  checkText('bqual', bqual, MAX_XID_PART_BYTES)
  checkText('participant', participant, MAX_XID_PART_BYTES)
  checkText('server identity', server.server, MAX_SERVER_BYTES)
  checkNumber('startedAtMs', server.startedAtMs)
  if (server.timeline !== undefined) checkText('timeline', server.timeline, MAX_TIMELINE_BYTES)
  if (xid8 !== undefined) checkText('xid8', xid8, MAX_XID8_BYTES)
}

function checkText(what: string, text: string, maxBytes: number): void {
  // No character takes more than three bytes for each of its UTF-16 units.
  if (3 * text.length > maxBytes && Buffer.byteLength(text) > maxBytes)
    refuse(`${what} is longer than ${maxBytes} bytes`)
  if (LONE_SURROGATE.test(text)) refuse(`${what} is not well-formed Unicode`)
}

function checkNumber(what: string, value: number): void {
  if (!Number.isFinite(value)) refuse(`${what} is not a finite number`)
}

function refuse(reason: string): never {
  throw new UnanimousError('INVALID_OPTION', reason)
}
