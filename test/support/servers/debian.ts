/**
 * MariaDB or MySQL from Debian's or Ubuntu's packages, unpacked into the cache and run from there
 * with the loader and libraries that the packages bring. Nothing is installed.
 *
 * The machine's own suite is looked at first; on Debian then sid, which has MySQL 9.
 */
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Suite } from './apt.ts'
import { Apt, architecture } from './apt.ts'
import type { Build } from './build.ts'
import { cached, cacheRoot } from './cache.ts'
import { startManaged } from './managed.ts'
import { findShare } from './mysql-family.ts'
import { run } from './run.ts'
import type { Flavour, Provider, Report, Wish } from './server.ts'
import { meets, messageOf, Unavailable } from './server.ts'

const SHELF = 'packages'
/** Parts of the packages that no server reads. */
const DISPENSABLE = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/perl5']
const TITLES = { mariadb: 'MariaDB', mysql: 'MySQL' }

type FamilyFlavour = keyof typeof TITLES

export const debian: Provider = {
  name: 'Debian packages, unpacked',
  async start(wish, report) {
    const flavours = wish.flavours.filter(isFamily)
    if (flavours.length === 0) throw new Unavailable('has MariaDB and MySQL only')
    const refusals: string[] = []
    for (const flavour of flavours) {
      try {
        const folder = (await inCache(flavour, wish)) ?? (await fetch(flavour, wish, report))
        return await startManaged(buildIn(folder, flavour), report, wish.fresh ?? false)
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        refusals.push(messageOf(error))
      }
    }
    throw new Unavailable(refusals.join('; '))
  },
}

function isFamily(flavour: Flavour): flavour is FamilyFlavour {
  return flavour !== 'postgres'
}

/** An entry's name is `<flavour>-<version>-<architecture>`. */
async function inCache(flavour: FamilyFlavour, wish: Wish): Promise<string | undefined> {
  const shelf = join(await cacheRoot(), SHELF)
  if (!existsSync(shelf)) return undefined
  const pattern = new RegExp(`^${flavour}-([0-9.]+)-[a-z0-9]+$`)
  const names = readdirSync(shelf).filter(
    (name) => meets(pattern.exec(name)?.[1] ?? 'none', wish.version) && pattern.test(name),
  )
  names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  return names[0] === undefined ? undefined : join(shelf, names[0])
}

async function fetch(flavour: FamilyFlavour, wish: Wish, report: Report): Promise<string> {
  await needTools()
  const refusals: string[] = []
  for (const suite of suites()) {
    const folder = await mkdtemp(join(tmpdir(), 'unanimous-apt-'))
    try {
      return await fetchFrom(suite, folder, flavour, wish, report)
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
  flavour: FamilyFlavour,
  wish: Wish,
  report: Report,
): Promise<string> {
  const place = suite === 'own' ? "this machine's suite" : `Debian ${suite.name}`
  report(`looking for ${TITLES[flavour]} in ${place}`)
  const apt = await Apt.open(folder, suite)
  const found = await apt.find(new RegExp(`^${flavour}-server-core(-[0-9.]+)?$`))
  const match = found.find(({ version }) => meets(version, wish.version))
  if (match === undefined) {
    const others = found.map(({ version }) => version).join(', ')
    throw new Unavailable(`${place} has ${others || 'no'} ${TITLES[flavour]}`)
  }
  report(`downloading ${TITLES[flavour]} ${match.version} from ${place} into the cache`)
  const name = `${SHELF}/${flavour}-${match.version}-${await architecture()}`
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
  return /^ID=debian$/m.test(release) ? ['own', { name: 'sid' }] : ['own']
}

function buildIn(root: string, flavour: FamilyFlavour): Build {
  const libraries = libraryFolders(root)
  const loader = libraries.flatMap(loadersIn)[0]
  const program = join(root, 'usr/sbin', flavour === 'mariadb' ? 'mariadbd' : 'mysqld')
  const share = findShare([join(root, 'usr/share')])
  if (loader === undefined || share === undefined || !existsSync(program)) {
    throw new Error(`${root} holds no ${flavour} server: remove that folder and try again`)
  }
  return {
    flavour,
    source: `Debian packages in the cache (${root})`,
    server: [loader, '--library-path', libraries.join(':'), program],
    share,
    plugins: join(root, 'usr/lib/mysql/plugin'),
    // The machine's file may name modules that the unpacked OpenSSL does not have.
    env: { OPENSSL_CONF: '/dev/null' },
  }
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
