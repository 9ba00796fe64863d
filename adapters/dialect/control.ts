/**
 * Tells a statement by which an application begins, ends or marks a transaction of its own.
 *
 * It reads a text that begins with such a statement, and no other: what hides behind a first
 * statement in the same text is caught by the vote packet (PostgreSQL) or by the server (XA answers
 * 1399 to it).
 */
import type { IsolationLevel } from '../../src/adapter.ts'
import { blanked, type Dialect, firstWord } from './comments.ts'

export type Control =
  | { readonly kind: 'begin'; readonly tag: string; readonly isolation: IsolationLevel | undefined }
  | { readonly kind: 'commit' | 'rollback'; readonly tag: string }
  | { readonly kind: 'savepoint' | 'release' | 'rollback to'; readonly name: string }
  /** SET TRANSACTION: for the transaction around it, or the next one to begin. */
  | { readonly kind: 'set'; readonly tag: string; readonly isolation: IsolationLevel | undefined }
  /** Ends, prepares or chains transactions in a way that no savepoint stands for. */
  | { readonly kind: 'forbidden'; readonly verb: string }

/** No other statement needs a second look. */
const FIRST = /^(?:begin|start|commit|end|abort|prepare|rollback|xa|savepoint|release|set|reset)\b/i
/**
 * `ROLLBACK TO` keeps the branch; `BEGIN NOT ATOMIC` opens a MariaDB block, not a transaction; `RESET
 * ALL` takes the settings away by which a branch in PostgreSQL is known as ours.
 */
const CONTROL =
  /^(?:begin(?!\s+not\s+atomic\b)|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!(?:\s+work|\s+transaction)?\s+to\b)|xa|reset\s+all)\b/i

const LEVEL =
  'isolation\\s+level\\s+(read\\s+uncommitted|read\\s+committed|repeatable\\s+read|serializable)'
const MODE = `(?:${LEVEL}|read\\s+only|read\\s+write|(?:not\\s+)?deferrable|with\\s+consistent\\s+snapshot)`
const MODES = `((?:\\s*,?\\s*\\b${MODE})*)`
const NAME = '("(?:[^"]|"")+"|`(?:[^`]|``)+`|[^\\s;"`]+)'
const END = '\\s*;*\\s*$'

const BEGIN = new RegExp(
  `^(?:begin(?:\\s+(?:work|transaction))?|start\\s+transaction)${MODES}${END}`,
  'i',
)
const COMMIT = new RegExp(
  `^(?:commit|end)(?:\\s+(?:work|transaction))?(?:\\s+and\\s+no\\s+chain)?${END}`,
  'i',
)
const ROLLBACK = new RegExp(
  `^(?:rollback|abort)(?:\\s+(?:work|transaction))?(?:\\s+and\\s+no\\s+chain)?${END}`,
  'i',
)
const SET = new RegExp(`^set\\s+(?:local\\s+)?transaction\\s${MODES}${END}`, 'i')
const SAVEPOINT = new RegExp(`^savepoint\\s+${NAME}${END}`, 'i')
const RELEASE = new RegExp(`^release\\s+(?:savepoint\\s+)?${NAME}${END}`, 'i')
const ROLLBACK_TO = new RegExp(
  `^rollback(?:\\s+(?:work|transaction))?\\s+to\\s+(?:savepoint\\s+)?${NAME}${END}`,
  'i',
)

/** What the text asks for, if it is transaction control; `undefined` for everything else. */
export function controlOf(text: string, dialect: Dialect): Control | undefined {
  const first = text.slice(firstWord(text, dialect))
  if (!FIRST.test(first)) return undefined
  const statement = blanked(first, dialect, 'kept').trimEnd()
  const begin = BEGIN.exec(statement)
  if (begin !== null) return { kind: 'begin', tag: tagOf(statement), isolation: levelIn(begin[1]) }
  if (COMMIT.test(statement)) return { kind: 'commit', tag: 'COMMIT' }
  if (ROLLBACK.test(statement)) return { kind: 'rollback', tag: 'ROLLBACK' }
  const set = SET.exec(statement)
  if (set !== null) return { kind: 'set', tag: 'SET', isolation: levelIn(set[1]) }
  for (const [kind, pattern] of MARKS) {
    const name = pattern.exec(statement)?.[1]
    if (name !== undefined) return { kind, name: name.toLowerCase().replace(/^["`]|["`]$/g, '') }
  }
  const verb = CONTROL.exec(statement)?.[0].toUpperCase().replace(/\s+/g, ' ')
  return verb === undefined ? undefined : { kind: 'forbidden', verb }
}

const MARKS = [
  ['savepoint', SAVEPOINT],
  ['release', RELEASE],
  ['rollback to', ROLLBACK_TO],
] as const

function tagOf(statement: string): string {
  return statement.slice(0, 5).toUpperCase()
}

function levelIn(modes: string | undefined): IsolationLevel | undefined {
  const level = /(?:un)?committed|repeatable|serializable/i.exec(modes ?? '')?.[0].toLowerCase()
  return level === undefined ? undefined : LEVELS[level]
}

const LEVELS: Readonly<Record<string, IsolationLevel>> = {
  uncommitted: 'read uncommitted',
  committed: 'read committed',
  repeatable: 'repeatable read',
  serializable: 'serializable',
}

/**
 * Whether a text of several statements may have ended the branch before one of them failed. Drivers
 * report only the failure of such a text, not what the statements before it did.
 */
export function mayHideControl(text: string): boolean {
  const [, ...rest] = blanked(text, 'PostgreSQL', 'emptied').split(';')
  return rest.some((statement) => CONTROL.test(statement.trimStart()))
}
