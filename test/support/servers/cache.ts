/**
 * The one thing that stays behind: a folder of unpacked programs and of initialised, empty data
 * folders that a server's own data are copied from.
 *
 * Invariant: an entry exists whole or not at all. It is built under another name beside its place,
 * written to disk, and renamed; of two builders at once, one wins and both use its entry.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { canReach, serverAccount } from './account.ts'
import { run } from './run.ts'

const DAY = 24 * 60 * 60 * 1000
/** Where root keeps its cache when the servers' account cannot pass through root's home. */
const SYSTEM_CACHE = '/var/cache/unanimous'

let root: Promise<string> | undefined

/**
 * `$UNANIMOUS_CACHE`, else `unanimous` in `$XDG_CACHE_HOME` or in `~/.cache`; for root, a system
 * folder if the servers' account could not read there.
 */
export function cacheRoot(): Promise<string> {
  root ??= findRoot()
  return root
}

async function findRoot(): Promise<string> {
  const { UNANIMOUS_CACHE, XDG_CACHE_HOME } = process.env
  const preferred =
    UNANIMOUS_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'unanimous')
  mkdirSync(preferred, { recursive: true })
  const account = await serverAccount()
  if (canReach(preferred, account)) return preferred
  mkdirSync(SYSTEM_CACHE, { recursive: true })
  return SYSTEM_CACHE
}

/** @returns the folder of the entry, building it first if it does not exist. */
export async function cached(
  name: string,
  build: (folder: string) => Promise<void>,
): Promise<string> {
  const target = join(await cacheRoot(), name)
  if (existsSync(target)) return target
  const shelf = dirname(target)
  mkdirSync(shelf, { recursive: true })
  removeAbandoned(shelf)
  const folder = `${target}.${randomBytes(6).toString('hex')}.partial`
  mkdirSync(folder)
  try {
    await build(folder)
    await writeOut(folder)
    install(folder, target)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return target
}

/** A rename survives a power cut before the files' contents do, hence this first. */
async function writeOut(folder: string): Promise<void> {
  if (process.platform === 'linux') await run(['sync', '-f', folder])
  else await run(['sync'])
}

function install(folder: string, target: string): void {
  try {
    renameSync(folder, target)
  } catch (error) {
    if (!existsSync(target)) throw error
  }
}

/** Builders that were killed leave their folder; a day later nobody can still be at work in it. */
function removeAbandoned(shelf: string): void {
  for (const entry of readdirSync(shelf)) {
    if (!entry.endsWith('.partial')) continue
    const path = join(shelf, entry)
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    if (age > DAY) rmSync(path, { recursive: true, force: true })
  }
}
