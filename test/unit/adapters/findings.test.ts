/** From what was read of a server to findings: every rule as a row, and what the rows do to a participant. */
import { describe, expect, it } from 'vitest'
import { checkAllow, judge, refuseUnfit } from '../../../adapters/dialect/findings.ts'
import { account } from '../../../adapters/dialect/mysql.ts'
import {
  MYSQL_ALLOWS,
  mysqlFacts,
  type SeenMysql,
} from '../../../adapters/dialect/mysql-findings.ts'
import {
  POSTGRES_ALLOWS,
  postgresFacts,
  type SeenPostgres,
} from '../../../adapters/dialect/postgres-findings.ts'

const on = (source = 'default') => ({ value: 'on', source })
const off = (source = 'configuration file') => ({ value: 'off', source })
const DURABLE = new Map([
  ['fsync', on()],
  ['full_page_writes', on()],
  ['synchronous_commit', on()],
])
const POSTGRES: SeenPostgres = {
  version: '15.18',
  versionNum: 150_018,
  inRecovery: false,
  role: 'app',
  database: 'bank',
  pooler: false,
  identity: 'read',
  settings: DURABLE,
  maxPrepared: 100,
  standing: 0,
  poolSize: 10,
  clockSkewMs: 4,
  markerTable: 'public.unanimous_branch',
  missingOnMarkers: undefined,
}
const MYSQL: SeenMysql = {
  flavour: 'MySQL',
  version: '9.7.4',
  user: "'app'@'%'",
  proxy: undefined,
  proxied: false,
  resetOnRelease: false,
  variables: new Map([
    ['innodb_flush_log_at_trx_commit', '1'],
    ['log_bin', 'ON'],
    ['sync_binlog', '1'],
    ['xa_detach_on_prepare', 'ON'],
  ]),
  foreign: [],
  sessionsHidden: false,
  clockSkewMs: -4,
  markerTable: 'bank.unanimous_branch',
  markerEngine: 'InnoDB',
}
const MARIADB: SeenMysql = { ...MYSQL, flavour: 'MariaDB', version: '10.11.19-MariaDB' }

function setting(name: string, value: { value: string; source: string }): Partial<SeenPostgres> {
  return { settings: new Map([...DURABLE, [name, value]]) }
}

function variable(name: string, value: string | undefined): Partial<SeenMysql> {
  const variables = new Map(MYSQL.variables instanceof Error ? [] : MYSQL.variables)
  if (value === undefined) variables.delete(name)
  else variables.set(name, value)
  return { variables }
}

describe('PostgreSQL', () => {
  it.each<[string, Partial<SeenPostgres>, readonly string[]]>([
    ['as it should be', {}, []],
    ['an old version', { versionNum: 120_020 }, ['unfit too-old']],
    ['a standby', { inRecovery: true, identity: new Error('recovery') }, ['unfit standby']],
    ['a hidden identity', { identity: new Error('denied') }, ['unfit identity-unread']],
    ['no slots', { maxPrepared: 0 }, ['unfit no-prepared-transactions']],
    ['as many slots as connections', { maxPrepared: 10 }, []],
    ['fewer slots than connections', { maxPrepared: 9 }, ['unwise prepared-slots-few']],
    ['slots that stand', { maxPrepared: 20, standing: 11 }, ['unwise prepared-slots-few']],
    ['a hidden pg_prepared_xacts', { standing: new Error('denied') }, ['unread unread']],
    ['fsync off', setting('fsync', off()), ['overridable fsync-off']],
    [
      'full_page_writes off',
      setting('full_page_writes', off()),
      ['overridable full-page-writes-off'],
    ],
    [
      'synchronous_commit off',
      setting('synchronous_commit', off()),
      ['unwise synchronous-commit-off'],
    ],
    ['synchronous_commit local', setting('synchronous_commit', { ...on(), value: 'local' }), []],
    ['hidden settings', { settings: new Error('denied') }, ['unread unread']],
    [
      'one setting unknown',
      { settings: new Map([['fsync', on()]]) },
      ['unread unread', 'unread unread'],
    ],
    ['a pooler', { pooler: true }, ['unwise pooler']],
    [
      'a marker table that is not ours',
      { missingOnMarkers: 'INSERT' },
      ['unfit marker-privileges'],
    ],
    ['a clock five seconds ahead', { clockSkewMs: 5_000 }, []],
    ['a clock further ahead', { clockSkewMs: 5_001 }, ['unwise clock-skew']],
    ['a clock behind', { clockSkewMs: -60_000 }, ['unwise clock-skew']],
  ])('%s', (_, parts, expected) => {
    const facts = postgresFacts({ ...POSTGRES, ...parts })
    expect(facts.map(({ severity, code }) => `${severity} ${code}`)).toEqual(expected)
  })

  it.each([
    ['default', 'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()'],
    ['configuration file', 'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()'],
    ['user', 'ALTER ROLE "app" RESET fsync'],
    ['database', 'ALTER DATABASE "bank" RESET fsync'],
    ['database user', 'ALTER ROLE "app" IN DATABASE "bank" RESET fsync'],
    ['client', "take fsync out of the pool's options"],
    ['session', "let the pool's onConnect not SET fsync"],
  ])('a value from the %s is mended there', (source, mend) => {
    const facts = postgresFacts({ ...POSTGRES, ...setting('fsync', off(source)) })
    expect(facts).toEqual([expect.objectContaining({ mend })])
  })

  it('a value from the command line takes a restart', () => {
    const facts = postgresFacts({ ...POSTGRES, ...setting('fsync', off('command line')) })
    expect(facts).toEqual([expect.objectContaining({ restart: true })])
  })
})

describe('MySQL and MariaDB', () => {
  it.each<[string, SeenMysql, readonly string[]]>([
    ['MySQL as it should be', MYSQL, []],
    ['MariaDB as it should be', { ...MARIADB, ...variable('xa_detach_on_prepare', undefined) }, []],
    ['MySQL 5.7', { ...MYSQL, version: '5.7.44' }, ['unfit too-old']],
    ['MariaDB 10.4', { ...MARIADB, version: '10.4.34-MariaDB' }, ['unfit too-old']],
    ['a proxy', { ...MYSQL, proxy: { greeted: 7, threadId: 9 } }, ['unfit proxy']],
    [
      'T2 MariaDB with resets',
      { ...MARIADB, resetOnRelease: true },
      ['overridable reset-on-release'],
    ],
    ['T2 MySQL with resets', { ...MYSQL, resetOnRelease: true }, []],
    [
      'flush at 2',
      { ...MYSQL, ...variable('innodb_flush_log_at_trx_commit', '2') },
      ['overridable flush-log-at-commit'],
    ],
    [
      'flush at 0',
      { ...MARIADB, ...variable('innodb_flush_log_at_trx_commit', '0') },
      ['overridable flush-log-at-commit'],
    ],
    [
      "MariaDB's flush at 3",
      { ...MARIADB, ...variable('innodb_flush_log_at_trx_commit', '3') },
      [],
    ],
    ['sync_binlog 0', { ...MYSQL, ...variable('sync_binlog', '0') }, ['overridable sync-binlog']],
    [
      'sync_binlog 100',
      { ...MARIADB, ...variable('sync_binlog', '100') },
      ['overridable sync-binlog'],
    ],
    [
      'sync_binlog 0 without a binlog',
      {
        ...MARIADB,
        variables: new Map([
          ['innodb_flush_log_at_trx_commit', '1'],
          ['log_bin', 'OFF'],
          ['sync_binlog', '0'],
        ]),
      },
      [],
    ],
    [
      'attached branches',
      { ...MYSQL, ...variable('xa_detach_on_prepare', 'OFF') },
      ['unwise xa-attached'],
    ],
    [
      'MySQL before 8.0.29',
      { ...MYSQL, ...variable('xa_detach_on_prepare', undefined) },
      ['unwise xa-attached'],
    ],
    ['hidden variables', { ...MYSQL, variables: new Error('denied') }, ['unread unread']],
    [
      'a hidden sync_binlog',
      { ...MYSQL, ...variable('sync_binlog', undefined) },
      ['unread unread'],
    ],
    ['no XA_RECOVER_ADMIN', { ...MYSQL, foreign: 'denied' }, ['unfit xa-recover-denied']],
    ['T1 another formatID', { ...MYSQL, foreign: ["'a','b',7"] }, ['unwise foreign-format-id']],
    ['T10 another formatID on MariaDB', { ...MARIADB, foreign: ["'a','b',7"] }, []],
    [
      'T11 hidden sessions on MariaDB',
      { ...MARIADB, sessionsHidden: true },
      ['unwise sessions-hidden'],
    ],
    ['hidden sessions on MySQL', { ...MYSQL, sessionsHidden: true }, []],
    [
      'T11 a proxy before MariaDB, without marker tables',
      { ...MARIADB, proxied: true, markerEngine: undefined },
      ['overridable proxy-unmarked'],
    ],
    ['a proxy before MariaDB', { ...MARIADB, proxied: true, markerEngine: 'InnoDB' }, []],
    ['a proxy before MySQL', { ...MYSQL, proxied: true }, []],
    ['a MyISAM marker table', { ...MYSQL, markerEngine: 'MyISAM' }, ['unfit marker-engine']],
    ['no marker table', { ...MYSQL, markerEngine: undefined }, []],
    ['a clock ahead', { ...MYSQL, clockSkewMs: 10_000 }, ['unwise clock-skew']],
  ])('%s', (_, seen, expected) => {
    const facts = mysqlFacts(seen)
    expect(facts.map(({ severity, code }) => `${severity} ${code}`)).toEqual(expected)
  })

  it('MySQL can persist a variable, MariaDB is told of its file', () => {
    const flush = variable('innodb_flush_log_at_trx_commit', '2')
    expect(mysqlFacts({ ...MYSQL, ...flush })[0]?.mend).toBe(
      'SET PERSIST innodb_flush_log_at_trx_commit = 1',
    )
    expect(mysqlFacts({ ...MARIADB, ...flush })[0]?.mend).toMatch(
      /^SET GLOBAL innodb_flush_log_at_trx_commit = 1 .*option file/,
    )
  })

  it.each([
    ['app@%', "'app'@'%'"],
    ['a@b@10.0.0.1', "'a@b'@'10.0.0.1'"],
    ["o'hara@%", "'o''hara'@'%'"],
  ])('the account %s is spelled %s', (name, spelled) => {
    expect(account(name)).toBe(spelled)
  })
})

describe('the judgement', () => {
  const unsafe = postgresFacts({
    ...POSTGRES,
    maxPrepared: 0,
    pooler: true,
    ...setting('fsync', off()),
  })
  const severities = (allow: readonly string[]) =>
    judge(unsafe, allow).map(({ code, severity }) => `${severity} ${code}`)

  it('an unsafe setting refuses, unless it is allowed by its name', () => {
    expect(severities([])).toContain('unfit fsync-off')
    expect(severities(['fsync-off'])).toContain('allowed fsync-off')
    expect(severities(['pooler'])).toEqual([
      'unfit no-prepared-transactions',
      'unfit fsync-off',
      'allowed pooler',
    ])
  })

  it('what is impossible cannot be allowed', () => {
    expect(severities(['no-prepared-transactions'])).toContain('unfit no-prepared-transactions')
  })

  it('the refusal names all that must be mended, and nothing else', () => {
    const findings = judge(unsafe, [])
    expect(() => refuseUnfit('ledger', findings)).toThrow(
      expect.objectContaining({
        code: 'PARTICIPANT_UNFIT',
        message: expect.stringMatching(/^ledger: max_prepared_transactions is 0.*fsync is off/),
        hint: 'ALTER SYSTEM SET max_prepared_transactions = 100, and restart the server; ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()',
      }),
    )
    const hidden = judge(postgresFacts({ ...POSTGRES, settings: new Error('denied') }), [])
    expect(() => refuseUnfit('ledger', hidden)).not.toThrow()
  })

  it('every name that can be allowed is the code of a finding that can be', () => {
    const seen = [
      ...postgresFacts({
        ...POSTGRES,
        pooler: true,
        maxPrepared: 1,
        clockSkewMs: 1e6,
        settings: new Map([...DURABLE.keys()].map((name) => [name, off()])),
      }),
    ]
    const family = [
      ...mysqlFacts({
        ...MARIADB,
        proxied: true,
        markerEngine: undefined,
        resetOnRelease: true,
        sessionsHidden: true,
        clockSkewMs: 1e6,
      }),
      ...mysqlFacts({
        ...MYSQL,
        foreign: ['x'],
        variables: new Map([
          ['log_bin', 'ON'],
          ['sync_binlog', '0'],
          ['innodb_flush_log_at_trx_commit', '0'],
        ]),
      }),
    ]
    expect(new Set(seen.map(({ code }) => code))).toEqual(new Set<string>(POSTGRES_ALLOWS))
    expect(new Set(family.map(({ code }) => code))).toEqual(new Set<string>(MYSQL_ALLOWS))
  })

  it('a name that stands for nothing is refused', () => {
    expect(() => checkAllow(['fsync'], POSTGRES_ALLOWS)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})
