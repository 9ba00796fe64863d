/**
 * MySQL and MariaDB: the system tables, a root that may come through TCP, and durable settings
 * (with a small buffer pool, for a quick start).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Build } from './build.ts'
import type { Place } from './recipe.ts'
import { run } from './run.ts'

/** Settings every server of the family gets, containers included. */
export const SETTINGS = [
  '--max-connections=500',
  '--innodb-flush-log-at-trx-commit=1',
  '--innodb-buffer-pool-size=64M',
  '--character-set-server=utf8mb4',
  // Names would be looked up at every login, and 127.0.0.1 would become localhost.
  '--skip-name-resolve',
]
/** Only MySQL knows these: no second protocol on a port of its own, no folder for files. */
export const MYSQL_SETTINGS = ['--mysqlx=OFF', '--secure-file-priv=NULL']

/**
 * MariaDB's system tables, in the order in which its own installer feeds them. The files begin with
 * `mysql_` or `maria_`, and since MariaDB 11 with `mariadb_`.
 */
const MARIADB_TABLES = [
  'system_tables',
  'performance_tables',
  'system_tables_data',
  'add_gis_sp_bootstrap',
  'sys_schema',
]

export async function initialise(build: Build, place: Place): Promise<void> {
  if (build.flavour === 'mariadb') await bootstrapMariadb(build, place)
  else await initialiseMysql(build, place)
}

/** MariaDB's installer is a script around this; it would look for programs outside of `build`. */
async function bootstrapMariadb(build: Build, place: Place): Promise<void> {
  await run(['mkdir', join(place.folder, 'data')], { account: place.account })
  const tables = MARIADB_TABLES.map((name) => systemTables(build.share ?? '', name))
  const script = [
    'create database if not exists mysql;',
    'use mysql;',
    'SET @auth_root_socket=NULL;',
    'SET @skip_auth_anonymous=1;',
    ...tables.map((path) => readFileSync(path, 'utf8')),
    'flush privileges;',
    rootLogins(place.password),
  ].join('\n')
  const options = ['--bootstrap', '--max-allowed-packet=8M', '--net-buffer-length=16K']
  await run([...program(build, place.folder), ...options], {
    account: place.account,
    cwd: place.folder,
    env: build.env,
    input: script,
  })
}

function systemTables(share: string, name: string): string {
  const paths = ['mariadb', 'mysql', 'maria'].map((prefix) => join(share, `${prefix}_${name}.sql`))
  const found = paths.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`${share} lacks MariaDB's ${name}`)
  return found
}

/** Where the folder of messages and system tables is, among those a distribution may use. */
export function findShare(parents: readonly string[]): string | undefined {
  const folders = parents.flatMap((parent) =>
    ['mariadb', 'mysql', '.'].map((name) => join(parent, name)),
  )
  return folders.find((folder) => existsSync(join(folder, 'english', 'errmsg.sys')))
}

async function initialiseMysql(build: Build, place: Place): Promise<void> {
  const logins = join(place.folder, 'logins.sql')
  writeFileSync(logins, rootLogins(place.password), { mode: 0o644 })
  const options = ['--initialize-insecure', `--init-file=${logins}`, ...MYSQL_SETTINGS]
  await run([...program(build, place.folder), ...options], {
    account: place.account,
    cwd: place.folder,
    env: build.env,
  })
}

/** One statement a line: the servers read these files line by line. */
function rootLogins(password: string): string {
  return [
    `ALTER USER 'root'@'localhost' IDENTIFIED BY '${password}';`,
    `CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';`,
    `ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '${password}';`,
    `GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;`,
    '',
  ].join('\n')
}

/** The server program and where its own files are; `--no-defaults` must come first. */
function program(build: Build, folder: string): string[] {
  const words = [...build.server, '--no-defaults', `--datadir=${join(folder, 'data')}`]
  if (build.share !== undefined) {
    words.push(`--lc-messages-dir=${build.share}`)
    words.push(`--character-sets-dir=${join(build.share, 'charsets')}`)
  }
  if (build.plugins !== undefined) words.push(`--plugin-dir=${build.plugins}`)
  return words
}

export function command(
  build: Build,
  folder: string,
  port: number,
  own: readonly string[] = [],
): string[] {
  return [
    ...program(build, folder),
    ...SETTINGS,
    ...(build.flavour === 'mysql' ? MYSQL_SETTINGS : []),
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    `--socket=${join(folder, 's')}`,
    `--pid-file=${join(folder, 'pid')}`,
    `--tmpdir=${folder}`,
    ...own,
  ]
}

export function url(password: string, host: string, port: number): string {
  return `mysql://root:${password}@${host}:${port}/`
}
