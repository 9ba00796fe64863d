/** What is said to the servers, and which of their answers count, without a server. */
import { describe, expect, test } from 'vitest'
import { controlOf, mayHideControl } from '../../../adapters/dialect/control.ts'
import { afterPrefix } from '../../../adapters/dialect/markers.ts'
import * as mysql from '../../../adapters/dialect/mysql.ts'
import * as mysqlErrors from '../../../adapters/dialect/mysql-errors.ts'
import { preparedBranch } from '../../../adapters/dialect/mysql-xids.ts'
import * as postgres from '../../../adapters/dialect/postgres.ts'
import * as postgresErrors from '../../../adapters/dialect/postgres-errors.ts'

const GTRID = 'una1-0123456789abcdef-1.01234567-2s'
const XID = { gtrid: GTRID, bqual: 'ledger' }
const DIALECTS = ['PostgreSQL', 'MySQL'] as const

describe('transaction control', () => {
  test.each([
    ['begin', 'BEGIN', undefined],
    ['  Begin;', 'BEGIN', undefined],
    ['BEGIN WORK', 'BEGIN', undefined],
    ['begin transaction isolation level repeatable read;', 'BEGIN', 'repeatable read'],
    ['BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY, DEFERRABLE', 'BEGIN', 'serializable'],
    ['start /* x */ transaction', 'START', undefined],
    ['start transaction with consistent snapshot, read only', 'START', undefined],
    ['START TRANSACTION ISOLATION LEVEL READ UNCOMMITTED', 'START', 'read uncommitted'],
  ])('%j begins, at isolation %s', (text, tag, isolation) => {
    for (const dialect of DIALECTS) {
      expect(controlOf(text, dialect)).toEqual({ kind: 'begin', tag, isolation })
    }
  })

  test.each([
    ['/* a */ -- b\n commit', 'commit'],
    [';;COMMIT', 'commit'],
    ['/*!50000 */ COMMIT', 'commit'],
    ['COMMIT AND NO CHAIN;', 'commit'],
    ['end', 'commit'],
    ['END TRANSACTION', 'commit'],
    ['abort', 'rollback'],
    ['ROLLBACK;', 'rollback'],
    ['rollback work', 'rollback'],
    ['set transaction isolation level serializable', 'set'],
    ['SET LOCAL TRANSACTION READ ONLY', 'set'],
  ])('%j is %s', (text, kind) => {
    for (const dialect of DIALECTS) expect(controlOf(text, dialect)).toMatchObject({ kind })
  })

  /** A control statement in the one dialect, and not in the other. */
  test.each([
    ['PostgreSQL', '/* /* a */ b */ COMMIT'],
    ['PostgreSQL', '-- x\r COMMIT'],
    ['PostgreSQL', '--x\nCOMMIT'],
    ['MySQL', '# c\nCOMMIT'],
    ['MySQL', '# c\r COMMIT\nCOMMIT'],
    ['MySQL', '/*! COMMIT */'],
    ['MySQL', '/*!50000COMMIT*/'],
    ['MySQL', '/*M!100100 XA END "a" */'],
  ] as const)('in %s alone, %j is transaction control', (dialect, text) => {
    for (const one of DIALECTS) expect(controlOf(text, one) !== undefined).toBe(one === dialect)
  })

  test.each([
    ['COMMIT /* /* a */ b */', 'commit'],
    ['rollback /* /* x */ to */ work', 'rollback'],
    ['begin -- a\r isolation level serializable', 'begin'],
  ])('PostgreSQL reads %j as %s', (text, kind) => {
    expect(controlOf(text, 'PostgreSQL')).toMatchObject({ kind })
  })

  test.each(DIALECTS)('a comment without an end hides what follows, in %s', (dialect) => {
    for (const text of ['-- COMMIT', '/* COMMIT', '/* /* COMMIT']) {
      expect(controlOf(text, dialect)).toBeUndefined()
    }
  })

  test('what is quoted is no comment', () => {
    expect(controlOf('savepoint "a--b"', 'PostgreSQL')).toEqual({ kind: 'savepoint', name: 'a--b' })
    expect(controlOf('savepoint `a#b`', 'MySQL')).toEqual({ kind: 'savepoint', name: 'a#b' })
  })

  test.each([
    ['SAVEPOINT begin', 'savepoint', 'begin'],
    ['savepoint "Typeorm_1";', 'savepoint', 'typeorm_1'],
    ['RELEASE `one`', 'release', 'one'],
    ['RELEASE SAVEPOINT one', 'release', 'one'],
    ['ROLLBACK TO one', 'rollback to', 'one'],
    ['rollback work to savepoint one', 'rollback to', 'one'],
    ['ROLLBACK TRANSACTION TO one', 'rollback to', 'one'],
  ])('%j is %s %s', (text, kind, name) => {
    for (const dialect of DIALECTS) expect(controlOf(text, dialect)).toEqual({ kind, name })
  })

  test.each([
    ["ROLLBACK PREPARED 'x'", 'ROLLBACK'],
    ["COMMIT PREPARED 'x'", 'COMMIT'],
    ['COMMIT AND CHAIN', 'COMMIT'],
    ['commit release', 'COMMIT'],
    ['BEGIN; INSERT INTO t VALUES (1)', 'BEGIN'],
    ['COMMIT; BEGIN', 'COMMIT'],
    ["prepare transaction 'x'", 'PREPARE TRANSACTION'],
    ["xa end 'a'", 'XA'],
  ])('%j is forbidden %s', (text, verb) => {
    for (const dialect of DIALECTS) {
      expect(controlOf(text, dialect)).toEqual({ kind: 'forbidden', verb })
    }
  })

  test.each([
    'BEGIN NOT ATOMIC SELECT 1; END',
    'PREPARE p AS SELECT 1',
    'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE',
    "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
    "set search_path to 'begin'",
    'select 1 -- commit',
    'endpoints',
    'xavier',
    '',
  ])('%j passes', (text) => {
    for (const dialect of DIALECTS) expect(controlOf(text, dialect)).toBeUndefined()
  })

  test.each([
    ['insert into t values (1); commit', true],
    ['insert into t values (1);\n-- so\nCOMMIT; select 1', true],
    ["insert into t values ('; commit')", false],
    ['do $$ begin perform 1; end; $$', false],
    ['do $x$ begin; commit; $x$; rollback', true],
    ['select 1; rollback to one', false],
    ["select 1; -- don't\n commit; select 'x'", true],
    ["select E'\\''; commit; select 'x'", true],
    ["select E'\\'; commit'", false],
    ['select 1; /* /* */ ; */ commit', true],
    ['select 1; /* ; commit */ select 2', false],
    ['commit', false],
  ])('%j may hide it: %s', (text, hides) => {
    expect(mayHideControl(text)).toBe(hides)
  })
})

describe('PostgreSQL', () => {
  test('spells a gid as gtrid:bqual and reads it back', () => {
    expect(postgres.gidOf(XID)).toBe(`${GTRID}:ledger`)
    expect(postgres.parseGid(`${GTRID}:ledger`)).toEqual(XID)
    expect(postgres.parseGid(`${GTRID}:a:b`)).toEqual({ gtrid: GTRID, bqual: 'a:b' })
  })

  test.each(['', ':', GTRID, `${GTRID}:`, 'x:ledger', `${GTRID} :ledger`])(
    'takes %j for nobody of ours',
    (gid) => {
      expect(postgres.parseGid(gid)).toBeUndefined()
    },
  )

  test('escapes quotes and backslashes', () => {
    expect(postgres.literal("it's")).toBe("'it''s'")
    expect(postgres.literal('a\\b')).toBe(" E'a\\\\b'")
  })

  test.each([
    '23503',
    '40001',
    '40P01',
    '0A000',
    '25P01',
    '25P02',
    '53200',
    '55000',
    '57014',
    'P0001',
  ])('%s proves that PREPARE took no effect', (code) => {
    expect(postgresErrors.provesNoEffect({ code, severity: 'ERROR', message: '' })).toBe(true)
  })

  test.each(['XX000', 'XX001', '58030', '40003', '08P01', 'ZZ999'])('%s proves nothing', (code) => {
    expect(postgresErrors.provesNoEffect({ code, severity: 'ERROR', message: '' })).toBe(false)
  })

  test.each([
    { code: 'EPIPE', message: 'write EPIPE' },
    { code: 'ECONNRESET', message: 'read ECONNRESET' },
    new Error('Connection terminated unexpectedly'),
    new Error('Query read timeout'),
    { code: '57P01', severity: 'FATAL', message: 'terminating connection' },
    { code: '57P01', severity: 'ФАТАЛЬНОЕ', message: 'translated' },
    { code: '25P03', severity: 'FATAL', message: 'idle' },
    undefined,
    'text',
  ])('%s is no answer of the server', (cause) => {
    expect(postgresErrors.asPostgresError(cause)).toBeUndefined()
  })
})

describe('MySQL and MariaDB', () => {
  test('the formatID is 1 and nothing else', () => {
    expect(mysql.idOf({ gtrid: GTRID, bqual: 'shop.12' })).toBe(`'${GTRID}','shop.12',1`)
    expect(mysql.idOf({ gtrid: "a'b", bqual: '\\' })).toBe("X'612762',X'5c',1")
  })

  test.each([
    ['MySQL', '8.0.36', false],
    ['MySQL', '5.7.44-log', true],
    ['MariaDB', '10.4.32-MariaDB', true],
    ['MariaDB', '10.5.1-MariaDB', false],
    ['MariaDB', '11.8.6-MariaDB', false],
  ] as const)('%s %s is too old: %s', (flavour, version, old) => {
    expect(mysql.flavourOf(version) === 'MariaDB').toBe(flavour === 'MariaDB')
    expect(mysql.isTooOld(flavour, version)).toBe(old)
  })

  test('reads an xid by its lengths, from bytes and from hexadecimal', () => {
    const row = { formatID: 1, gtrid_length: GTRID.length, bqual_length: 7 }
    const bytes = Buffer.from(`${GTRID}shop.12`)
    for (const data of [bytes, `0x${bytes.toString('hex').toUpperCase()}`, bytes.toString()]) {
      const { id, xid } = preparedBranch({ ...row, data })
      expect(id).toBe(`'${GTRID}','shop.12',1`)
      expect(xid).toEqual({ gtrid: GTRID, bqual: 'shop.12' })
    }
    expect(preparedBranch({ ...row, formatID: 2, data: bytes }).xid).toBeUndefined()
  })

  test.each([
    {
      formatID: 1,
      gtrid_length: 2,
      bqual_length: 1,
      data: Buffer.from([0, 255, 39]),
      id: "X'00ff',X'27',1",
    },
    { formatID: 7, gtrid_length: 1, bqual_length: 0, data: '0x61', id: "'a','',7" },
  ])('spells $id without loss', ({ id, ...row }) => {
    const branch = preparedBranch(row)
    expect([branch.id, branch.xid]).toEqual([id, undefined])
  })

  test.each([1397, 1398, 1399, 1402, 1613, 1614])(
    '%i proves that XA PREPARE took no effect',
    (errno) => {
      expect(mysqlErrors.provesNoEffect({ errno, message: '' }, false)).toBe(true)
    },
  )

  test.each([1205, 1213, 1317, 1401, 1180, 1062])('%i at XA PREPARE proves nothing', (errno) => {
    expect(mysqlErrors.provesNoEffect({ errno, message: '' }, false)).toBe(false)
  })

  test.each([
    { errno: -111, code: 'ECONNREFUSED', message: 'connect' },
    { code: 'PROTOCOL_CONNECTION_LOST', fatal: true, message: 'lost' },
    { code: 'PROTOCOL_SEQUENCE_TIMEOUT', message: 'timeout' },
    { errno: 1927, sqlState: '70100', message: 'Connection was killed' },
    { errno: 1053, sqlState: '08S01', message: 'Server shutdown' },
    { errno: 1213, sqlState: '40001', fatal: true, message: 'fatal' },
  ])('$message is no answer of the server', (cause) => {
    expect(mysqlErrors.asMysqlError(cause)).toBeUndefined()
  })
})

test('the end of a prefix range is the least text behind it', () => {
  expect(afterPrefix('una1-a-')).toBe('una1-a.')
})
