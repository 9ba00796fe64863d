/**
 * A server's programs and how to run them, wherever they came from: installed, from npm, or
 * unpacked Debian packages that bring their own loader and libraries.
 */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import type { Flavour } from './server.ts'

export interface Build {
  readonly flavour: Flavour
  /** For people. */
  readonly source: string
  /** What to execute for the server, with what comes before it (a loader). */
  readonly server: readonly string[]
  /** PostgreSQL: what to execute to initialise a data folder. */
  readonly initdb?: readonly string[]
  /** MySQL family: the folder of messages, character sets and system tables. */
  readonly share?: string
  /** MySQL family: the folder of plugins, where it is not the one compiled in. */
  readonly plugins?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Names these very programs: another version, place or date gives another key. */
export function buildKey(build: Build): string {
  const hash = createHash('sha256')
  for (const part of build.server) {
    const status = statSync(part, { throwIfNoEntry: false })
    hash.update(`${part} ${status?.size} ${status?.mtimeMs}\n`)
  }
  return `${build.flavour}-${hash.digest('hex').slice(0, 16)}`
}
