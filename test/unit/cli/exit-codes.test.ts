import { describe, expect, it } from 'vitest'
import { EXIT, EXIT_CODES_HELP, exitCodeFor, exitCodeOf } from '../../../src/cli/exit-codes.ts'
import { type ErrorCode, LogCorruptError, UnanimousError } from '../../../src/errors.ts'
import type {
  ApartBranch,
  InspectedState,
  InspectedTransaction,
  Inspection,
} from '../../../src/recovery/inspection.ts'

const SILENT = {
  name: 'shop',
  trouble: new UnanimousError('PARTICIPANT_UNREACHABLE', 'shop: connection refused'),
}

function transaction(state: InspectedState): InspectedTransaction {
  const advice = { action: 'leave', why: 'committed' } as const
  return { gtrid: 'g', state, decision: 'commit', branches: [], advice }
}

function apart(kind: ApartBranch['kind']): ApartBranch {
  return { participant: 'shop', id: 'x', kind, why: 'of another log' }
}

function seen(parts: Partial<Inspection>): Inspection {
  return {
    atMs: 0,
    logId: '0000000000000000',
    owner: undefined,
    participants: [{ name: 'ledger' }],
    transactions: [],
    apart: [],
    operators: [],
    ...parts,
  }
}

describe('the exit code for what was seen', () => {
  it.each<[string, Partial<Inspection>, number]>([
    ['nothing', {}, 0],
    [
      'settled and live transactions',
      { transactions: [transaction('settled'), transaction('live')] },
      0,
    ],
    ['orphans and foreign branches', { apart: [apart('orphan'), apart('foreign')] }, 0],
    ['an unsettled transaction', { transactions: [transaction('unsettled')] }, 3],
    ['a branch of a participant that is not configured', { apart: [apart('unconfigured')] }, 3],
    ['a heuristic', { transactions: [transaction('heuristic')] }, 4],
    ['a silent participant', { participants: [SILENT] }, 5],
    ['a copy', { apart: [apart('copy')] }, 7],
  ])('%s', (_, parts, code) => {
    expect(exitCodeFor(seen(parts))).toBe(code)
  })

  it('chooses 7, then 4, then 5, then 3', () => {
    const transactions = [transaction('unsettled')]
    const participants = [SILENT]
    expect(exitCodeFor(seen({ transactions, participants }))).toBe(5)
    const heuristic = [...transactions, transaction('heuristic')]
    expect(exitCodeFor(seen({ transactions: heuristic, participants }))).toBe(4)
    const all = seen({ transactions: heuristic, participants, apart: [apart('copy')] })
    expect(exitCodeFor(all)).toBe(7)
  })
})

describe('the exit code of an error', () => {
  it.each<[ErrorCode, number]>([
    ['CONFIG_INVALID', 2],
    ['INVALID_OPTION', 2],
    ['PARTICIPANT_UNKNOWN', 2],
    ['TRANSACTION_UNKNOWN', 2],
    ['LOG_UNREADABLE', 2],
    ['LOG_UNSAFE', 2],
    ['PARTICIPANT_UNREACHABLE', 5],
    ['PARTICIPANT_UNFIT', 5],
    ['LOG_LOCKED', 6],
    ['LOG_COPIED', 7],
    ['LOG_POISONED', 1],
    ['LOG_FULL', 1],
  ])('%s', (code, exit) => {
    expect(exitCodeOf(new UnanimousError(code, 'as it is'))).toBe(exit)
  })

  it('a damaged log is 7, and what is not ours is 1', () => {
    expect(exitCodeOf(new LogCorruptError('segment', 4096, 'a bad checksum'))).toBe(7)
    expect(exitCodeOf(new TypeError('undefined is not a function'))).toBe(1)
  })
})

it('the help explains every code', () => {
  for (const code of Object.values(EXIT)) {
    expect(EXIT_CODES_HELP).toMatch(new RegExp(`^  ${code}\\s+\\S`, 'm'))
  }
})
