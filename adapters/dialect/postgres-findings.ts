/**
 * What of a PostgreSQL speaks for or against two-phase commit: from what was read to findings.
 *
 * fsync and full_page_writes: a prepared branch that a crash can lose was no vote. PREPARE and COMMIT
 * PREPARED are flushed whatever synchronous_commit says (measured: hardly cheaper with `off`), so
 * that one concerns transactions in this database alone.
 */
import { clockFacts, type Fact, unread } from './findings.ts'
import { identifier } from './postgres.ts'

/** What `allow` can name. */
export const POSTGRES_ALLOWS: readonly [
  'fsync-off',
  'full-page-writes-off',
  'synchronous-commit-off',
  'prepared-slots-few',
  'pooler',
  'clock-skew',
] = [
  'fsync-off',
  'full-page-writes-off',
  'synchronous-commit-off',
  'prepared-slots-few',
  'pooler',
  'clock-skew',
]

/** A finding of PostgreSQL that a configuration may take as it is. */
export type PostgresAllow = (typeof POSTGRES_ALLOWS)[number]

/** A row of pg_settings. */
export interface PostgresSetting {
  readonly value: string
  /** Where the value came from: it decides what mends it. */
  readonly source: string
}

/** What was read of a server. An `Error` stands where the server refused to tell. */
export interface SeenPostgres {
  /** `15.18` */
  readonly version: string
  readonly versionNum: number
  readonly inRecovery: boolean
  readonly role: string
  readonly database: string
  readonly pooler: boolean
  readonly identity: 'read' | Error
  /** By name; those that bear on two-phase commit. */
  readonly settings: ReadonlyMap<string, PostgresSetting> | Error
  readonly maxPrepared: number
  /** Slots whose branch has been prepared for more than a minute. */
  readonly standing: number | Error
  /** Connections that the pool may open. */
  readonly poolSize: number
  readonly clockSkewMs: number
  readonly markerTable: string
  /** Privileges that are missing on the marker table; `undefined` when none is, or no table. */
  readonly missingOnMarkers: string | undefined
}

/** `pg_current_xact_id` and `pg_xact_status(xid8)` are of PostgreSQL 13. */
const OLDEST = 130_000

export function postgresFacts(seen: SeenPostgres): readonly Fact[] {
  return [
    ...serverFacts(seen),
    ...slotFacts(seen),
    ...settingFacts(seen),
    ...poolerFacts(seen),
    ...markerFacts(seen),
    ...clockFacts(seen.clockSkewMs),
  ]
}

function serverFacts(seen: SeenPostgres): Fact[] {
  const facts: Fact[] = []
  if (seen.versionNum < OLDEST) {
    facts.push({
      code: 'too-old',
      severity: 'unfit',
      message: `PostgreSQL ${seen.version} is older than 13`,
      mend: 'upgrade to PostgreSQL 13 or newer',
    })
  }
  if (seen.inRecovery) {
    facts.push({
      code: 'standby',
      severity: 'unfit',
      message: 'the server is a standby',
      mend: 'connect to the primary',
    })
  } else if (seen.identity instanceof Error) {
    facts.push({
      code: 'identity-unread',
      severity: 'unfit',
      message: `the server's identity cannot be read: ${seen.identity.message}`,
      mend: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system(), pg_catalog.pg_walfile_name(pg_lsn), pg_catalog.pg_current_wal_lsn() TO ${identifier(seen.role)}`,
    })
  }
  return facts
}

function slotFacts({ maxPrepared, standing, poolSize }: SeenPostgres): Fact[] {
  if (maxPrepared === 0) {
    return [
      {
        code: 'no-prepared-transactions',
        severity: 'unfit',
        message: 'max_prepared_transactions is 0, so nothing can be prepared',
        mend: 'ALTER SYSTEM SET max_prepared_transactions = 100',
        restart: true,
      },
    ]
  }
  const facts: Fact[] = []
  const taken = standing instanceof Error ? 0 : standing
  if (maxPrepared - taken < poolSize) {
    const held =
      taken === 0 ? '' : `, of which branches that stand for more than a minute hold ${taken}`
    const enough = Math.max(100, 2 * (poolSize + taken))
    facts.push({
      code: 'prepared-slots-few',
      severity: 'unwise',
      message: `max_prepared_transactions is ${maxPrepared}${held}, and the pool has ${poolSize} connections: branches beyond that are refused`,
      mend: `ALTER SYSTEM SET max_prepared_transactions = ${enough}`,
      restart: true,
    })
  }
  if (standing instanceof Error) {
    facts.push(
      unread(
        'pg_prepared_xacts',
        standing,
        'GRANT SELECT ON pg_catalog.pg_prepared_xacts TO PUBLIC',
      ),
    )
  }
  return facts
}

interface Rule {
  readonly setting: string
  readonly code: PostgresAllow
  readonly severity: 'overridable' | 'unwise'
  readonly consequence: string
}

const RULES: readonly Rule[] = [
  {
    setting: 'fsync',
    code: 'fsync-off',
    severity: 'overridable',
    consequence: 'a crash of the machine may lose prepared and committed branches',
  },
  {
    setting: 'full_page_writes',
    code: 'full-page-writes-off',
    severity: 'overridable',
    consequence: 'a crash of the machine may damage pages, and branches with them',
  },
  {
    setting: 'synchronous_commit',
    code: 'synchronous-commit-off',
    severity: 'unwise',
    consequence:
      'a crash may lose a transaction that touched this database alone after it was answered; prepared branches are safe',
  },
]

/** Read for {@link SeenPostgres.settings}. */
export const POSTGRES_SETTINGS: readonly string[] = RULES.map(({ setting }) => setting)

function settingFacts(seen: SeenPostgres): Fact[] {
  const { settings } = seen
  const grant = `GRANT SELECT ON pg_catalog.pg_settings TO ${identifier(seen.role)}`
  if (settings instanceof Error) return [unread(POSTGRES_SETTINGS.join(', '), settings, grant)]
  return RULES.flatMap((rule) => {
    const found = settings.get(rule.setting)
    if (found === undefined) return [unread(rule.setting, undefined, grant)]
    if (found.value !== 'off') return []
    const { code, severity, setting, consequence } = rule
    return [
      { code, severity, message: `${setting} is off: ${consequence}`, ...mend(rule, found, seen) },
    ]
  })
}

/** A value is mended where it was set: what is nearer to the session hides what is further away. */
function mend(
  { setting }: Rule,
  { source }: PostgresSetting,
  { role, database }: SeenPostgres,
): Pick<Fact, 'mend' | 'restart'> {
  switch (source) {
    case 'command line':
      return { mend: `take ${setting} off the server's command line`, restart: true }
    case 'client':
      return { mend: `take ${setting} out of the pool's options` }
    case 'session':
      return { mend: `let the pool's onConnect not SET ${setting}` }
    case 'user':
      return { mend: `ALTER ROLE ${identifier(role)} RESET ${setting}` }
    case 'database':
      return { mend: `ALTER DATABASE ${identifier(database)} RESET ${setting}` }
    case 'database user':
      return {
        mend: `ALTER ROLE ${identifier(role)} IN DATABASE ${identifier(database)} RESET ${setting}`,
      }
    default:
      return { mend: `ALTER SYSTEM SET ${setting} = on; SELECT pg_reload_conf()` }
  }
}

function poolerFacts({ pooler }: SeenPostgres): Fact[] {
  if (!pooler) return []
  return [
    {
      code: 'pooler',
      severity: 'unwise',
      message:
        'a pooler stands between us and PostgreSQL: it must pool by transaction or session, and have more server connections than this pool may open, unless `connect` leads past it',
      mend: "postgres(pool, { allow: ['pooler'] })",
    },
  ]
}

function markerFacts({ missingOnMarkers, markerTable, role }: SeenPostgres): Fact[] {
  if (missingOnMarkers === undefined) return []
  return [
    {
      code: 'marker-privileges',
      severity: 'unfit',
      message: `${missingOnMarkers} on ${markerTable} is not granted`,
      mend: `GRANT ${missingOnMarkers} ON ${markerTable} TO ${identifier(role)}`,
    },
  ]
}
