/**
 * The last line of a test run, alone on its line and the same for people and scripts:
 * `N passed, N failed`, and `, N skipped` when there are some.
 *
 * Before it, for each server whose contract or traps were tested, a line of its own:
 * `PostgreSQL 15.18: contract 54, traps 61, failed 0 (T3 T4 T5 T6 T8 T9 A B E)`.
 *
 * Invariant: a run that is not green never says `0 failed`: a file that could not be loaded, a hook
 * that threw and an error outside of any test count as failures.
 */
import type { Reporter, SerializedError, TestModule } from 'vitest/node'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

export function countsLine({ passed, failed, skipped }: Counts): string {
  const line = `${passed} passed, ${failed} failed`
  return skipped === 0 ? line : `${line}, ${skipped} skipped`
}

/** The reverse of `countsLine`, for scripts that add runs up; undefined if `line` is not one. */
export function parseCounts(line: string): Counts | undefined {
  const found = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(line.trim())
  if (found === null) return undefined
  const [passed = 0, failed = 0, skipped = 0] = found.slice(1).map((digits) => Number(digits ?? 0))
  return { passed, failed, skipped }
}

/** What was tested on a server: cases of the contract, and tests that are named after a trap. */
export interface ServerCounts {
  contract: number
  traps: number
  failed: number
  /** `T1` … `T11`, and `A`, `B`, `E` for the rows of the facts. */
  readonly ids: Set<string>
}

/** As `describe` blocks are named: `contract on …`, `traps on …, killed with kill -9`. */
const ON_SERVER = /^(?:contract|traps|settings and privileges) on (\w+ [\d.]+)/
const NAMED_AFTER = /^((?:T\d+|[ABE])(?:, (?:T\d+|[ABE]))*): /

export function serverLine(server: string, counts: ServerCounts): string {
  const { contract, traps, failed, ids } = counts
  const sorted = [...ids].sort((a, b) => rank(a) - rank(b))
  return `${server}: contract ${contract}, traps ${traps}, failed ${failed} (${sorted.join(' ')})`
}

/** The reverse of `serverLine`; undefined if `line` is not one. */
export function parseServerLine(
  line: string,
): { readonly server: string; readonly counts: ServerCounts } | undefined {
  const found = /^(\w+ [\d.]+): contract (\d+), traps (\d+), failed (\d+) \((.*)\)$/.exec(line)
  if (found === null) return undefined
  const [, server = '', contract, traps, failed, ids = ''] = found
  const counts = {
    contract: Number(contract),
    traps: Number(traps),
    failed: Number(failed),
    ids: new Set(ids.split(' ').filter((id) => id !== '')),
  }
  return { server, counts }
}

function rank(id: string): number {
  return id.startsWith('T') ? Number(id.slice(1)) : 100 + id.charCodeAt(0)
}

export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const counts: Counts = { passed: 0, failed: errors.length, skipped: 0 }
    const servers = new Map<string, ServerCounts>()
    for (const module of modules) {
      count(module, counts)
      countByServer(module, servers)
    }
    for (const [server, seen] of servers) console.log(serverLine(server, seen))
    console.log(countsLine(counts))
  }
}

function countByServer(module: TestModule, servers: Map<string, ServerCounts>): void {
  for (const suite of module.children.suites()) {
    const server = ON_SERVER.exec(suite.name)?.[1]
    if (server === undefined) continue
    const seen = servers.get(server) ?? { contract: 0, traps: 0, failed: 0, ids: new Set() }
    servers.set(server, seen)
    for (const test of suite.children.allTests()) {
      const { state } = test.result()
      if (state === 'failed') seen.failed += 1
      if (state !== 'passed') continue
      const ids = NAMED_AFTER.exec(test.name)?.[1]?.split(', ')
      for (const id of ids ?? []) seen.ids.add(id)
      if (suite.name.startsWith('contract')) seen.contract += 1
      if (ids !== undefined) seen.traps += 1
    }
  }
}

function count(module: TestModule, counts: Counts): void {
  counts.failed += module.errors().length
  for (const suite of module.children.allSuites()) counts.failed += suite.errors().length
  for (const test of module.children.allTests()) {
    const { state } = test.result()
    if (state === 'passed') counts.passed += 1
    else if (state === 'failed') counts.failed += 1
    else counts.skipped += 1
  }
}
