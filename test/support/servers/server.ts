/**
 * What a caller wishes for, what it gets, and how a provider says no.
 *
 * Invariant: a wish for a flavour or a version is met exactly or refused; a server's `version` is
 * what the running server reports, never what a file name promised.
 */
export type Flavour = 'postgres' | 'mariadb' | 'mysql'

/** `version`: leading parts of the version, e.g. `'18'`. Default: whatever can be had. */
export interface PostgresWish {
  readonly version?: string | undefined
}

/** `version`: leading parts of the version, e.g. `'9'` or `'10.11'`. Default: whatever can be had. */
export interface MysqlWish {
  readonly flavour?: 'mariadb' | 'mysql' | undefined
  readonly version?: string | undefined
}

/** One search for a server: the flavours that will do, in order of preference, and the version. */
export interface Wish {
  readonly flavours: readonly Flavour[]
  readonly version?: string | undefined
  readonly fresh?: boolean | undefined
  readonly settings?: readonly string[] | undefined
}

export interface Server {
  readonly flavour: Flavour
  /** As the server reports it, digits and dots only, e.g. `10.11.19`. */
  readonly version: string
  /** Where it came from, for people. */
  readonly source: string
  /** Login of the superuser (root), through TCP. */
  readonly url: string
  /** SIGKILL; resolves when the server and its children are gone. Its data stay. */
  kill(): Promise<void>
  /** After `kill()`: same data, same port; resolves when it answers. */
  restart(): Promise<void>
  /** Ends it and removes its data. May be called twice. */
  stop(): Promise<void>
  /** SIGSTOP to the server and its children: connections stay open and nothing answers. */
  suspend(): Promise<void>
  /** SIGCONT. */
  resume(): Promise<void>
}

export type Report = (line: string) => void

export interface StartOptions {
  /** Hears what is being done, one line at a time. Default: nobody. */
  readonly report?: Report | undefined
  /**
   * Initialise new data instead of copying initialised ones. Slower by a second or two; needed where
   * two PostgreSQL servers must have different system identifiers. Default: false.
   */
  readonly fresh?: boolean | undefined
  /**
   * PostgreSQL: `name=value` instead of our own settings. MySQL family: options that follow ours, so
   * that they win. Servers that somebody else set up, and containers, do not come into question then.
   */
  readonly settings?: readonly string[] | undefined
}

/** One way of getting a server. */
export interface Provider {
  /** For people: names the way in progress lines and in the final refusal. */
  readonly name: string
  /** @throws Unavailable when this way cannot meet the wish. */
  start(wish: Wish, report: Report): Promise<Server>
}

/** A provider's refusal. `hint` is the command or setting that would help, if there is one. */
export class Unavailable extends Error {
  readonly hint: string | undefined
  constructor(reason: string, hint?: string) {
    super(reason)
    this.name = 'Unavailable'
    this.hint = hint
  }
}

/** True if `version` begins with the parts of `wanted`: 15.18 meets 15, and 1.5 does not. */
export function meets(version: string, wanted: string | undefined): boolean {
  if (wanted === undefined) return true
  return version === wanted || version.startsWith(`${wanted}.`)
}

/** The digits and dots at the start of a version text: `10.11.19-MariaDB-deb12` gives `10.11.19`. */
export function versionNumber(text: string): string {
  const found = /\d+(?:\.\d+)*/.exec(text)?.[0]
  if (found === undefined) throw new Error(`no version number in ${JSON.stringify(text)}`)
  return found
}

export function describeWish(wish: Wish): string {
  const names = { postgres: 'PostgreSQL', mariadb: 'MariaDB', mysql: 'MySQL' }
  const flavours = wish.flavours.map((flavour) => names[flavour]).join(' or ')
  return wish.version === undefined ? flavours : `${flavours} ${wish.version}`
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
