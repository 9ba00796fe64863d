/**
 * Programs from Debian's or Ubuntu's packages, unpacked into the cache and run from there with the
 * loader and libraries that the packages bring. Nothing is installed.
 *
 * The machine's own suite is looked at first; on Debian then bookworm (MariaDB 10.11),
 * trixie (MariaDB 11.8) and sid (MySQL 9).
 */
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Suite } from './apt.ts'
import { Apt, architecture } from './apt.ts'
import { cached, cacheRoot } from './cache.ts'
import { run } from './run.ts'
import type { Report } from './server.ts'
import { meets, messageOf, Unavailable } from './server.ts'

const SHELF = 'packages'
/** Parts of the packages that no server reads. */
const DISPENSABLE = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/perl5']

export interface PackageWish {
  /** Begins the name of its entry in the cache. */
  readonly key: string
  /** For people. */
  readonly title: string
  /** The names of the packages that have it. */
  readonly names: RegExp
  /** Leading parts of the version. */
  readonly version?: string | undefined
}

/** @returns the folder with the package and all it needs. @throws Unavailable */
export async function unpacked(wish: PackageWish, report: Report): Promise<string> {
  return (await inCache(wish)) ?? (await fetch(wish, report))
}

/** What to execute for a program of such a folder: its own loader, and its own libraries. */
export function unpackedCommand(root: string, program: string): string[] {
  const libraries = libraryFolders(root)
  const loader = libraries.flatMap(loadersIn)[0]
  const path = join(root, program)
  if (loader === undefined || !existsSync(path)) {
    throw new Error(`${root} holds no ${program}: remove that folder and try again`)
  }
  return [loader, '--library-path', libraries.join(':'), path]
}

/** The machine's file may name modules that the unpacked OpenSSL does not have. */
export const UNPACKED_ENV = { OPENSSL_CONF: '/dev/null' }

/** An entry's name is `<key>-<version>-<architecture>`. */
async function inCache({ key, version }: PackageWish): Promise<string | undefined> {
  const shelf = join(await cacheRoot(), SHELF)
  if (!existsSync(shelf)) return undefined
  const pattern = new RegExp(`^${key}-([0-9.]+)-[a-z0-9]+$`)
  const names = readdirSync(shelf).filter(
    (name) => meets(pattern.exec(name)?.[1] ?? 'none', version) && pattern.test(name),
  )
  names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  return names[0] === undefined ? undefined : join(shelf, names[0])
}

async function fetch(wish: PackageWish, report: Report): Promise<string> {
  await needTools()
  const refusals: string[] = []
  for (const suite of suites()) {
    const folder = await mkdtemp(join(tmpdir(), 'unanimous-apt-'))
    try {
      return await fetchFrom(suite, folder, wish, report)
    } catch (error) {
      refusals.push(messageOf(error))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  throw new Unavailable(refusals.join('; '))
}

async function fetchFrom(
  suite: Suite,
  folder: string,
  { key, title, names, version }: PackageWish,
  report: Report,
): Promise<string> {
  const place = suite === 'own' ? "this machine's suite" : `Debian ${suite.name}`
  report(`looking for ${title} in ${place}`)
  const apt = await Apt.open(folder, suite)
  const found = await apt.find(names)
  const match = found.find((one) => meets(one.version, version))
  if (match === undefined) {
    const others = found.map((one) => one.version).join(', ')
    throw new Unavailable(`${place} has ${others || 'no'} ${title}`)
  }
  report(`downloading ${title} ${match.version} from ${place} into the cache`)
  const name = `${SHELF}/${key}-${match.version}-${await architecture()}`
  return cached(name, async (target) => {
    await apt.unpack(match, target)
    for (const part of DISPENSABLE) rmSync(join(target, part), { recursive: true, force: true })
  })
}

async function needTools(): Promise<void> {
  for (const tool of ['apt-get', 'apt-cache', 'apt-config', 'dpkg', 'dpkg-deb']) {
    try {
      await run([tool, '--version'])
    } catch {
      throw new Unavailable(`${tool} is not on this machine (not Debian or Ubuntu?)`)
    }
  }
}

function suites(): Suite[] {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  return /^ID=debian$/m.test(release)
    ? ['own', { name: 'bookworm' }, { name: 'trixie' }, { name: 'sid' }]
    : ['own']
}

/** The folders of the packages' architecture: `lib` and `usr/lib`, merged in newer suites only. */
function libraryFolders(root: string): string[] {
  return ['usr/lib', 'lib'].flatMap((name) => {
    const parent = join(root, name)
    const entries = existsSync(parent) ? readdirSync(parent) : []
    return entries.filter((entry) => entry.includes('-linux-')).map((entry) => join(parent, entry))
  })
}

function loadersIn(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /^ld-linux.*\.so\.\d+$/.test(name))
  return names.map((name) => join(folder, name)).filter((path) => lstatSync(path).isFile())
}
