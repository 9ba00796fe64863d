/**
 * Debian packages without installing them: apt's own resolver and its signature checks, over
 * private lists, a private status file that says nothing is installed, and a private cache.
 *
 * Invariants: the system's apt state is neither read for what is installed nor written; mirrors,
 * keys and proxies are the machine's own, and no host name is ours. Root is not needed.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './run.ts'
import { Unavailable, versionNumber } from './server.ts'

/** Where packages come from: the sources of this machine, or another suite of its main mirror. */
export type Suite = 'own' | { readonly name: string }

export interface Package {
  readonly name: string
  /** As apt writes it, for `name=version`. */
  readonly aptVersion: string
  /** Digits and dots, without epoch and revision. */
  readonly version: string
}

export class Apt {
  private readonly folder: string
  private readonly env: Readonly<Record<string, string>>

  private constructor(folder: string) {
    this.folder = folder
    this.env = { APT_CONFIG: join(folder, 'apt.conf'), LC_ALL: 'C' }
  }

  /** Fetches the suite's lists into `folder`, which the caller removes when done. */
  static async open(folder: string, suite: Suite): Promise<Apt> {
    const apt = new Apt(folder)
    for (const name of ['lists/partial', 'archives/partial']) {
      mkdirSync(join(folder, name), { recursive: true })
    }
    writeFileSync(join(folder, 'status'), '')
    writeFileSync(join(folder, 'apt.conf'), await configuration(folder, suite))
    // A third party's unreachable repository must not matter: what counts is what was found.
    const trouble = await apt.get('update').catch((error: unknown) => error)
    if (trouble instanceof Error && !apt.hasLists()) throw new Unavailable(trouble.message)
    return apt
  }

  /** Packages whose whole name matches, highest version first. */
  async find(names: RegExp): Promise<Package[]> {
    const list = await run(['apt-cache', 'pkgnames'], { env: this.env })
    const found: Package[] = []
    for (const name of list.split('\n').filter((line) => names.test(line))) {
      const lines = (await run(['apt-cache', 'madison', name], { env: this.env })).split('\n')
      for (const line of lines) {
        const aptVersion = line.split('|')[1]?.trim()
        if (aptVersion === undefined) continue
        const version = versionNumber(aptVersion.replace(/^\d+:/, ''))
        found.push({ name, aptVersion, version })
      }
    }
    return found.sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))
  }

  /** Downloads the package and all it depends on, down to the C library, and unpacks them. */
  async unpack({ name, aptVersion }: Package, target: string): Promise<void> {
    await this.get('install', '--download-only', `${name}=${aptVersion}`)
    const archives = join(this.folder, 'archives')
    for (const file of readdirSync(archives).filter((entry) => entry.endsWith('.deb'))) {
      await run(['dpkg-deb', '-x', join(archives, file), target])
    }
  }

  private async get(...words: readonly string[]): Promise<void> {
    await run(['apt-get', '-qq', '-y', ...words], { env: this.env })
  }

  private hasLists(): boolean {
    return readdirSync(join(this.folder, 'lists')).some((name) => /_Packages(\.|$)/.test(name))
  }
}

async function configuration(folder: string, suite: Suite): Promise<string> {
  const lines = [
    // Read before the machine's own files, which are then not read: their hooks would run.
    'Dir::Etc::parts "/dev/null";',
    'Dir::Etc::main "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    'Dir::Etc::preferencesparts "/dev/null";',
    `Dir::State "${folder}";`,
    `Dir::State::lists "${folder}/lists";`,
    `Dir::State::status "${folder}/status";`,
    `Dir::Cache "${folder}";`,
    `Dir::Cache::archives "${folder}/archives";`,
    `Dir::Log "${folder}";`,
    `APT::Architectures { "${await architecture()}"; };`,
    'APT::Install-Recommends "0";',
    ...(await acquireSettings()),
    // A mirror that lags by some days still has signed packages.
    'Acquire::Check-Valid-Until "0";',
    'Acquire::Languages { "none"; };',
  ]
  if (process.getuid?.() === 0) lines.push('APT::Sandbox::User "root";')
  if (suite !== 'own') {
    writeFileSync(join(folder, 'sources.list'), await sourceLines(suite.name))
    lines.push(`Dir::Etc::sourcelist "${folder}/sources.list";`, 'Dir::Etc::sourceparts "-";')
  }
  return `${lines.join('\n')}\n`
}

export async function architecture(): Promise<string> {
  return (await run(['dpkg', '--print-architecture'])).trim()
}

/** How this machine reaches its mirrors: proxies, certificates, time-outs. */
async function acquireSettings(): Promise<string[]> {
  const lines = (await run(['apt-config', 'dump'])).split('\n')
  return lines.filter(
    (line) => line.startsWith('Acquire::') && !/^Acquire::(IndexTargets|Languages)/.test(line),
  )
}

const DEBIAN_KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'

/**
 * The suite on every mirror of this machine that has a base suite (one word: bookworm, stable).
 * Which of them is Debian's own is decided by Debian's keys; what the others lack does no harm.
 */
async function sourceLines(suite: string): Promise<string> {
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)'
  const filter = ['--no-release-info', '--format', format, 'Created-By: Packages']
  const targets = (await run(['apt-get', 'indextargets', ...filter])).split('\n')
  const bases = targets.filter((line) => / [a-z]+ main$/.test(line))
  const mirrors = new Set(bases.map((line) => line.split(' ')[0]))
  if (mirrors.size === 0) throw new Unavailable('this machine has no Debian mirror in its sources')
  const keys = existsSync(DEBIAN_KEYS) ? ` [signed-by=${DEBIAN_KEYS}]` : ''
  return [...mirrors].map((mirror) => `deb${keys} ${mirror} ${suite} main\n`).join('')
}
