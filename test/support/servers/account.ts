/**
 * The account that servers run as. Both server families refuse to run as root, so root lends them
 * an unprivileged account that exists anyway; everybody else uses his own.
 *
 * Invariant: whatever a server must read lies in folders that its account can pass through.
 */
import { accessSync, constants, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { run } from './run.ts'
import { Unavailable } from './server.ts'

/** Numbers for `spawn`. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

const CANDIDATES = ['postgres', 'mysql', 'nobody']

let found: Promise<Account | undefined> | undefined

/** @returns undefined when the servers run as ourselves. @throws Unavailable when root finds nobody. */
export function serverAccount(): Promise<Account | undefined> {
  found ??= process.getuid?.() === 0 ? findAccount() : Promise.resolve(undefined)
  return found
}

async function findAccount(): Promise<Account> {
  for (const name of CANDIDATES) {
    try {
      const uid = Number(await run(['id', '-u', name]))
      const gid = Number(await run(['id', '-g', name]))
      if (uid > 0) return { uid, gid }
    } catch {
      // No such account: the next one.
    }
  }
  throw new Unavailable(
    `servers do not run as root, and none of the accounts ${CANDIDATES.join(', ')} exists`,
    'run as an ordinary user',
  )
}

/** True if the account can reach `path`: every folder above it, and itself, can be passed through. */
export function canReach(path: string, account: Account | undefined): boolean {
  if (account === undefined) return isAccessible(path)
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    if (!canPass(folder, account)) return false
    if (folder === dirname(folder)) return true
  }
}

function isAccessible(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function canPass(path: string, account: Account): boolean {
  const status = statSync(path, { throwIfNoEntry: false })
  if (status === undefined) return false
  if (status.uid === account.uid) return (status.mode & 0o100) !== 0
  if (status.gid === account.gid) return (status.mode & 0o010) !== 0
  return (status.mode & 0o001) !== 0
}
