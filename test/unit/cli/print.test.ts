import { describe, expect, it } from 'vitest'
import { errorLines, type Io, redact } from '../../../src/cli/io.ts'
import { inspectionJson, json, transactionJson } from '../../../src/cli/json.ts'
import { formatAge, printable, shortId, table, transactionTable } from '../../../src/cli/print.ts'
import { systemClock } from '../../../src/clock.ts'
import { UnanimousError } from '../../../src/errors.ts'
import type { InspectedTransaction, Inspection } from '../../../src/recovery/inspection.ts'

const io: Io = {
  cwd: '/',
  clock: systemClock,
  interactive: false,
  out: () => undefined,
  err: () => undefined,
  paint: (_, text) => text,
}

const GTRID = 'una1-0000000000000000-1.abcdefgh-7'
const DECIDED_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

const TRANSACTION: InspectedTransaction = {
  gtrid: GTRID,
  name: 'transfer',
  meta: '{"transferId":"T-8841"}',
  state: 'unsettled',
  decision: 'commit',
  decidedAtMs: DECIDED_MS,
  sinceMs: DECIDED_MS,
  branches: [
    {
      participant: 'ledger',
      bqual: 'ledger',
      state: 'not listed',
      answer: 'committed',
      advice: { action: 'leave', why: 'committed' },
    },
    {
      participant: 'shop',
      bqual: 'shop.17',
      state: 'prepared',
      id: `${GTRID},shop.17,1`,
      preparedAtMs: DECIDED_MS - 10,
      owner: 'app',
      advice: { action: 'commit', why: 'the commit is logged' },
    },
  ],
  advice: { action: 'commit', why: 'commit shop: the commit is logged' },
}

const INSPECTION: Inspection = {
  atMs: DECIDED_MS + 372_000,
  logId: '0000000000000000',
  owner: undefined,
  participants: [
    { name: 'ledger', server: 'PostgreSQL 15.18', markers: true, prepared: 0 },
    { name: 'shop', server: 'MariaDB 10.11.19', markers: false, prepared: 1 },
    {
      name: 'archive',
      trouble: new UnanimousError(
        'PARTICIPANT_UNREACHABLE',
        'archive: postgres://app:geheim@db/archive refused',
        { hint: 'start it' },
      ),
    },
  ],
  transactions: [TRANSACTION],
  apart: [],
  operators: [],
}

describe('for people', () => {
  it.each([
    [0, '0ms'],
    [-5_000, '0ms'],
    [999.4, '999ms'],
    [12_000, '12s'],
    [372_000, '6m12s'],
    [3_600_000, '1h00m'],
    [97 * 3_600_000, '4d01h'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatAge(ms)).toBe(text)
  })

  it('shows each participant in a column, with what is not known', () => {
    const lines = transactionTable(io, INSPECTION, [TRANSACTION]).split('\n')
    expect(lines.map((line) => line.split(/ {2,}/))).toEqual([
      ['ID', 'NAME', 'STATE', 'DECISION', 'AGE', 'LEDGER', 'SHOP', 'ARCHIVE', 'ADVICE'],
      [
        '1.abcdefgh-7',
        'transfer',
        'unsettled',
        'commit',
        '6m12s',
        'committed',
        'prepared',
        '?',
        'commit shop: the commit is logged',
      ],
      [''],
    ])
  })

  it('keeps columns of a table together and ends lines at their last word', () => {
    expect(
      table([
        ['a', 'long one', ''],
        ['bb', 'x', 'y'],
      ]),
    ).toBe('a   long one\nbb  x         y\n')
  })

  it('keeps columns together where a character takes two of them, or none, and colours none', () => {
    const red = '\u001b[31m送金\u001b[39m'
    expect(
      table([
        [red, 'x'],
        ['e\u0301', 'y'],
        ['12345', 'z'],
      ]),
    ).toBe(`${red}   x\ne\u0301      y\n12345  z\n`)
  })

  it('prints tens of thousands of lines at once', () => {
    const rows = Array.from({ length: 50_000 }, (_, index) => [String(index), 'committed', '送金'])
    const startedAt = process.cpuUsage()
    expect(table(rows).split('\n')).toHaveLength(50_001)
    // A layout that compares lines with lines takes minutes.
    expect(process.cpuUsage(startedAt).user / 1_000).toBeLessThan(10_000)
  })

  it('shows no text the other way round', () => {
    expect(printable('a\u202egnp.exe')).toBe('a\ufffdgnp.exe')
  })

  it('shortens ids of ours only', () => {
    expect([shortId(GTRID), shortId('other-id')]).toEqual(['1.abcdefgh-7', 'other-id'])
  })

  it('lets no control character of a foreign id reach the terminal', () => {
    expect(printable('a\u0007\u009b2J\nb')).toBe('a\ufffd\ufffd2J\ufffdb')
    expect(table([['\u001b[2Jgone']])).not.toContain('\u001b')
  })
})

describe('for programs', () => {
  it('carries the schema version, the time, and each field, also those that are not known', () => {
    const text = json(INSPECTION.atMs, {
      ...inspectionJson(INSPECTION, { directory: '/log' }),
      transactions: [transactionJson(TRANSACTION, INSPECTION)],
    })
    const unasked = { server: null, markers: null, prepared: null, waiting: null }
    expect(JSON.parse(text)).toEqual({
      schemaVersion: 1,
      generatedAt: '2026-01-02T03:10:17.678Z',
      log: { directory: '/log', logId: '0000000000000000', owner: null },
      participants: [
        { ...INSPECTION.participants[0], waiting: null, trouble: null },
        { ...INSPECTION.participants[1], waiting: null, trouble: null },
        {
          name: 'archive',
          ...unasked,
          trouble: {
            code: 'PARTICIPANT_UNREACHABLE',
            message: 'archive: postgres://***@db/archive refused',
            hint: 'start it',
          },
        },
      ],
      apart: [],
      transactions: [
        {
          gtrid: GTRID,
          name: 'transfer',
          meta: { transferId: 'T-8841' },
          state: 'unsettled',
          decision: 'commit',
          decidedAt: '2026-01-02T03:04:05.678Z',
          place: null,
          since: '2026-01-02T03:04:05.678Z',
          ageMs: 372_000,
          branches: [
            {
              participant: 'ledger',
              bqual: 'ledger',
              state: 'not listed',
              id: null,
              preparedAt: null,
              owner: null,
              answer: 'committed',
              answeredAt: null,
              holds: null,
              advice: { action: 'leave', why: 'committed' },
            },
            {
              participant: 'shop',
              bqual: 'shop.17',
              state: 'prepared',
              id: `${GTRID},shop.17,1`,
              preparedAt: '2026-01-02T03:04:05.668Z',
              owner: 'app',
              answer: null,
              answeredAt: null,
              holds: null,
              advice: { action: 'commit', why: 'the commit is logged' },
            },
          ],
          advice: { action: 'commit', why: 'commit shop: the commit is logged' },
          choices: {
            commit: 'as decided: `unanimous recover --apply` does it',
            rollBack: 'against the log, and splits the transaction: ledger has committed',
          },
        },
      ],
    })
  })
})

describe('secrets', () => {
  it.each([
    ['mysql://app:p%40ss@db:3306/shop', 'mysql://***@db:3306/shop'],
    ["bad 'postgres://u:secret@h/d' here", "bad 'postgres://***@h/d' here"],
    ['host=db password=secret user=app', 'host=db password=*** user=app'],
    ['{"password":"se cret","user":"app"}', '{"password":***,"user":"app"}'],
    [
      'password authentication failed for user "app"',
      'password authentication failed for user "app"',
    ],
  ])('%s', (text, redacted) => {
    expect(redact(text)).toBe(redacted)
  })

  it('leave no error message', () => {
    const cause = new Error('cannot connect to postgres://app:secret@db/ledger')
    expect(errorLines(cause)).not.toContain('secret')
    expect(errorLines(new UnanimousError('CONFIG_INVALID', cause.message))).not.toContain('secret')
  })
})
