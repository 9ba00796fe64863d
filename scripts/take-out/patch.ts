/**
 * What is taken out, one handling at a time, and the test that must notice. `from` stands exactly
 * once in its file; nothing else is said about the file, so that it may be rewritten around it.
 */
export type At = 'postgres' | 'mariadb' | 'mysql'

export interface TakeOut {
  /** The id in docs/traps.md. */
  readonly trap: string
  /** The handling, in a few words. */
  readonly what: string
  readonly file: string
  readonly from: string
  readonly to: string
  /** Title of the test that must fail; its beginning is enough. */
  readonly test: string
  readonly testFile: string
  /** The servers that it must fail on. */
  readonly at: readonly At[]
}

/** trap, handling, file, from, to, test, servers; default servers: those of the test file. */
export type Line = readonly [string, string, string, string, string, string, (readonly At[])?]

export function lines(testFile: string, at: readonly At[], all: readonly Line[]): TakeOut[] {
  return all.map(([trap, what, file, from, to, test, servers]) => ({
    trap,
    what,
    file,
    from,
    to,
    test,
    testFile,
    at: servers ?? at,
  }))
}
