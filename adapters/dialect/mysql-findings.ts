/**
 * What of a MySQL or MariaDB, and of the pool, speaks for or against two-phase commit: from what was
 * read to findings.
 *
 * innodb_flush_log_at_trx_commit and sync_binlog: an XA PREPARE, or an XA COMMIT that we were told
 * of, that a crash of the machine can lose was no answer. MariaDB's 3 flushes more than 1.
 */
import { clockFacts, type Fact, unread } from './findings.ts'
import { type Flavour, isTooOld } from './mysql.ts'

/** What `allow` can name. */
export const MYSQL_ALLOWS: readonly [
  'flush-log-at-commit',
  'sync-binlog',
  'reset-on-release',
  'xa-attached',
  'foreign-format-id',
  'sessions-hidden',
  'proxy-unmarked',
  'clock-skew',
] = [
  'flush-log-at-commit',
  'sync-binlog',
  'reset-on-release',
  'xa-attached',
  'foreign-format-id',
  'sessions-hidden',
  'proxy-unmarked',
  'clock-skew',
]

/** A finding of MySQL and MariaDB that a configuration may take as it is. */
export type MysqlAllow = (typeof MYSQL_ALLOWS)[number]

/** What was read of a server and its pool. An `Error` stands where the server refused to tell. */
export interface SeenMysql {
  readonly flavour: Flavour
  /** As the server spells it. */
  readonly version: string
  /** `'app'@'%'` */
  readonly user: string
  /** The greeting's id and the session's, where they differ. */
  readonly proxy: { readonly greeted: number | null; readonly threadId: number } | undefined
  /** A proxy was declared: no session has a name. */
  readonly proxied: boolean
  readonly resetOnRelease: boolean
  /** By lower-case name; those that bear on two-phase commit and exist. */
  readonly variables: ReadonlyMap<string, string> | Error
  /** MySQL: `denied` without the privilege, else the ids of branches with another formatID than ours. */
  readonly foreign: 'denied' | readonly string[]
  /** Our own connection is of another user than the pool's, whose sessions are withheld from it. */
  readonly sessionsHidden: boolean
  readonly clockSkewMs: number
  readonly markerTable: string
  /** Engine of the marker table, where there is one. */
  readonly markerEngine: string | undefined
}

/** Read for {@link SeenMysql.variables}. */
export const MYSQL_VARIABLES: readonly string[] = [
  'innodb_flush_log_at_trx_commit',
  'log_bin',
  'sync_binlog',
  'xa_detach_on_prepare',
]

export function mysqlFacts(seen: SeenMysql): readonly Fact[] {
  return [
    ...serverFacts(seen),
    ...poolFacts(seen),
    ...variableFacts(seen),
    ...listFacts(seen),
    ...sessionFacts(seen),
    ...proxyFacts(seen),
    ...markerFacts(seen),
    ...clockFacts(seen.clockSkewMs),
  ]
}

function serverFacts({ flavour, version, proxy }: SeenMysql): Fact[] {
  const facts: Fact[] = []
  if (isTooOld(flavour, version)) {
    facts.push({
      code: 'too-old',
      severity: 'unfit',
      message: `${flavour} ${version.split('-')[0]} is older than MySQL 8.0 and MariaDB 10.5`,
      mend: 'upgrade to MySQL 8.0, MariaDB 10.5 or newer',
    })
  }
  // KILL by the greeting's id would hit somebody else's session.
  if (proxy !== undefined) {
    facts.push({
      code: 'proxy',
      severity: 'unfit',
      message: `a proxy stands between us and the server (connection ${proxy.greeted} is ${proxy.threadId})`,
      mend: 'mysql(pool, { proxy: true }), which takes part without ever ending a session',
    })
  }
  return facts
}

/** T2: a reset of a prepared branch's connection makes MariaDB answer OK to a commit it never does. */
function poolFacts({ flavour, resetOnRelease }: SeenMysql): Fact[] {
  if (flavour === 'MySQL' || !resetOnRelease) return []
  return [
    {
      code: 'reset-on-release',
      severity: 'overridable',
      message:
        'the pool resets its connections, after which MariaDB answers OK to the commit of a prepared branch and does not commit it',
      mend: 'createPool({ resetOnRelease: false })',
    },
  ]
}

function variableFacts({ flavour, variables }: SeenMysql): Fact[] {
  const wanted = MYSQL_VARIABLES.filter(
    (name) => flavour === 'MySQL' || name !== 'xa_detach_on_prepare',
  )
  const readable = 'look with SHOW GLOBAL VARIABLES as an administrator'
  if (variables instanceof Error) return [unread(wanted.join(', '), variables, readable)]
  return [
    ...flushFacts(flavour, variables, readable),
    ...binlogFacts(flavour, variables, readable),
    ...(flavour === 'MySQL' ? detachFacts(variables) : []),
  ]
}

function flushFacts(
  flavour: Flavour,
  variables: ReadonlyMap<string, string>,
  readable: string,
): Fact[] {
  const name = 'innodb_flush_log_at_trx_commit'
  const value = variables.get(name)
  if (value === undefined) return [unread(name, undefined, readable)]
  if (value === '1' || (value === '3' && flavour === 'MariaDB')) return []
  return [
    {
      code: 'flush-log-at-commit',
      severity: 'overridable',
      message: `${name} is ${value}: a crash of the machine may lose prepared and committed branches`,
      mend: setGlobal(flavour, name, '1'),
    },
  ]
}

function binlogFacts(
  flavour: Flavour,
  variables: ReadonlyMap<string, string>,
  readable: string,
): Fact[] {
  const [logBin, value] = [variables.get('log_bin'), variables.get('sync_binlog')]
  if (logBin === undefined) return [unread('log_bin', undefined, readable)]
  if (logBin.toUpperCase() !== 'ON' && logBin !== '1') return []
  if (value === undefined) return [unread('sync_binlog', undefined, readable)]
  if (value === '1') return []
  return [
    {
      code: 'sync-binlog',
      severity: 'overridable',
      message: `the binary log is on and sync_binlog is ${value}: after a crash of the machine it may lack branches that the engine has, or the other way round`,
      mend: setGlobal(flavour, 'sync_binlog', '1'),
    },
  ]
}

/** Unknown before MySQL 8.0.29, where a prepared branch always stays with its session. */
function detachFacts(variables: ReadonlyMap<string, string>): Fact[] {
  const value = variables.get('xa_detach_on_prepare')
  if (value !== undefined && (value.toUpperCase() === 'ON' || value === '1')) return []
  return [
    {
      code: 'xa-attached',
      severity: 'unwise',
      message:
        'a prepared branch stays attached to its session: recovery waits for the session to end, or ends it',
      mend:
        value === undefined
          ? 'upgrade to MySQL 8.0.29 or newer'
          : 'SET PERSIST xa_detach_on_prepare = ON',
    },
  ]
}

function listFacts({ flavour, foreign, user }: SeenMysql): Fact[] {
  if (flavour === 'MariaDB') return []
  if (foreign === 'denied') {
    return [
      {
        code: 'xa-recover-denied',
        severity: 'unfit',
        message: 'XA RECOVER is not allowed to us, so that nothing could be recovered',
        mend: `GRANT XA_RECOVER_ADMIN ON *.* TO ${user}`,
      },
    ]
  }
  const [strange] = foreign
  if (strange === undefined) return []
  return [
    {
      code: 'foreign-format-id',
      severity: 'unwise',
      message: `prepared branch ${strange} has another formatID than 1: a restart of MySQL may lose prepared branches, ours too`,
      mend: 'let every XA user of this server use formatID 1, the default',
    },
  ]
}

/** T11: the OK to a commit may mean nothing while the session that prepared the branch is ending. */
function proxyFacts({ flavour, proxied, markerEngine, markerTable }: SeenMysql): Fact[] {
  if (flavour === 'MySQL' || !proxied || markerEngine !== undefined) return []
  return [
    {
      code: 'proxy-unmarked',
      severity: 'overridable',
      message: `behind a proxy MariaDB may answer OK to the commit of a prepared branch and not commit it, and without ${markerTable} nothing tells`,
      mend: "unanimous init --apply, which creates that table; where branches are prepared already, settle them first with allow: ['proxy-unmarked']",
    },
  ]
}

/** T11, T3: before a verb goes from elsewhere, the session that prepared the branch has left, or was ended. */
function sessionFacts({ flavour, sessionsHidden, user }: SeenMysql): Fact[] {
  if (flavour === 'MySQL' || !sessionsHidden) return []
  return [
    {
      code: 'sessions-hidden',
      severity: 'unwise',
      message:
        "our own connection is of another user than the pool's and is not shown its sessions: a branch whose session stays is settled late, or not before somebody ends that",
      mend: `GRANT PROCESS, CONNECTION ADMIN ON *.* TO ${user}`,
    },
  ]
}

function markerFacts({ markerEngine, markerTable }: SeenMysql): Fact[] {
  if (markerEngine === undefined || markerEngine.toLowerCase() === 'innodb') return []
  return [
    {
      code: 'marker-engine',
      severity: 'unfit',
      message: `${markerTable} is not transactional, its engine is ${markerEngine}`,
      mend: `ALTER TABLE ${markerTable} ENGINE = InnoDB`,
    },
  ]
}

/** MariaDB cannot persist a variable: the file must say the same. */
function setGlobal(flavour: Flavour, name: string, value: string): string {
  if (flavour === 'MySQL') return `SET PERSIST ${name} = ${value}`
  return `SET GLOBAL ${name} = ${value} /* and ${name} = ${value} in the server's option file */`
}
