/** Server programs that are installed on this machine: on the PATH or in the usual folders. */
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { canReach, serverAccount } from './account.ts'
import type { Build } from './build.ts'
import { startManaged } from './managed.ts'
import { findShare } from './mysql-family.ts'
import { run } from './run.ts'
import type { Flavour, Provider, Wish } from './server.ts'
import { meets, messageOf, Unavailable, versionNumber } from './server.ts'

const PROGRAMS: Readonly<Record<Flavour, string>> = {
  postgres: 'postgres',
  mariadb: 'mariadbd',
  mysql: 'mysqld',
}
/** Folders that hold one subfolder a version: Debian, Red Hat's builds by PGDG, Homebrew. */
const VERSIONED = ['/usr/lib/postgresql', '/usr', '/opt/homebrew/opt', '/usr/local/opt']
const PLAIN = ['/usr/sbin', '/usr/local/sbin', '/usr/libexec', '/usr/local/mysql/bin']

export const machine: Provider = {
  name: 'server programs on this machine',
  async start(wish, report) {
    const refusals: string[] = []
    for (const flavour of wish.flavours) {
      for (const path of candidates(PROGRAMS[flavour])) {
        try {
          return await startManaged(await buildAt(path, flavour, wish), report, wish)
        } catch (error) {
          if (!(error instanceof Unavailable)) throw error
          refusals.push(`${path} ${messageOf(error)}`)
        }
      }
    }
    const names = wish.flavours.map((flavour) => PROGRAMS[flavour]).join(', ')
    if (refusals.length > 0) throw new Unavailable(refusals.join('; '))
    throw new Unavailable(`found no ${names}`, installHint(wish))
  },
}

function installHint(wish: Wish): string {
  const version = wish.version === undefined ? '' : `-${wish.version}`
  if (wish.flavours[0] === 'postgres') return `apt-get install postgresql${version}`
  return `apt-get install ${wish.flavours.map((flavour) => `${flavour}-server`).join(' (or ')}${
    wish.flavours.length > 1 ? ')' : ''
  }`
}

/** Highest version first where a folder's name tells it. */
function candidates(program: string): string[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  for (const parent of VERSIONED) {
    const names = existsSync(parent) ? readdirSync(parent) : []
    const versioned = names.filter((name) => /^(\d|pgsql-|postgresql@|mysql|mariadb)/.test(name))
    versioned.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    folders.push(...versioned.map((name) => join(parent, name, 'bin')))
  }
  folders.push(...PLAIN)
  const paths = folders.map((folder) => join(folder, program)).filter((path) => existsSync(path))
  return [...new Set(paths.map((path) => realpathSync(path)))]
}

async function buildAt(path: string, flavour: Flavour, wish: Wish): Promise<Build> {
  const banner = await run([path, '--version'])
  // Some distributions install MariaDB under the name mysqld.
  const really = flavour !== 'postgres' && /mariadb/i.test(banner) ? 'mariadb' : flavour
  const version = versionNumber(banner.slice(banner.search(/\d+\.\d+/)))
  if (!wish.flavours.includes(really) || !meets(version, wish.version)) {
    throw new Unavailable(`is ${really} ${version}`)
  }
  if (!canReach(path, await serverAccount())) {
    throw new Unavailable("is in a folder that the servers' account cannot pass through")
  }
  const common = { flavour: really, source: `binaries in ${dirname(path)}`, server: [path] }
  if (really === 'postgres') return { ...common, initdb: [join(dirname(path), 'initdb')] }
  return { ...common, share: shareOf(path) }
}

function shareOf(path: string): string {
  const own = join(dirname(dirname(path)), 'share')
  const found = findShare([own, '/usr/share'])
  if (found === undefined) throw new Unavailable(`lacks its messages (looked in ${own})`)
  return found
}
