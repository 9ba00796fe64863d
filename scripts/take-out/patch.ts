/**
 * What is taken out, one handling at a time, and the test that must notice. `from` stands exactly
 * once in its file; nothing else is said about the file, so that it may be rewritten around it.
 */
export type At = 'postgres' | 'postgres 18' | 'mariadb' | 'mysql'

/** What says the same a second time, and is taken out with it. */
export interface Edit {
  readonly file: string
  readonly from: string
  readonly to: string
}

export interface TakeOut extends Edit {
  /** The id in docs/traps.md. */
  readonly trap: string
  /** The handling, in a few words. */
  readonly what: string
  readonly and?: Edit | undefined
  /** Title of the test that must fail; its beginning is enough. */
  readonly test: string
  readonly testFile: string
  /** The servers that it must fail on. */
  readonly at: readonly At[]
}

/**
 * trap, handling, file, from, to, test, servers, and what goes with it; default servers: those of the
 * test file.
 */
export type Line = readonly [
  ...(readonly [string, string, string, string, string, string]),
  (readonly At[] | undefined)?,
  Edit?,
]

export function lines(testFile: string, at: readonly At[], all: readonly Line[]): TakeOut[] {
  return all.map(([trap, what, file, from, to, test, servers, and]) => ({
    trap,
    what,
    file,
    from,
    to,
    and,
    test,
    testFile,
    at: servers ?? at,
  }))
}
