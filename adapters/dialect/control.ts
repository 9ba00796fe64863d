/**
 * Tells a statement by which an application would end or restart a branch by itself.
 *
 * It reads the leading keyword and no more: what hides behind a first statement in the same text is
 * caught by the vote packet (PostgreSQL) or by the server (XA answers 1399 to it).
 */

/** Blanks, comments and empty statements before the first keyword. */
const LEADING = /^(?:[\s;]|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/
/** `ROLLBACK TO` keeps the branch; `BEGIN NOT ATOMIC` opens a MariaDB block, not a transaction. */
const CONTROL =
  /^(?:begin(?!\s+not\s+atomic\b)|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!(?:\s+work|\s+transaction)?\s+to\b)|xa)\b/i
const COMMENTS = /--[^\n]*|\/\*[\s\S]*?\*\//g

/** The verb of a transaction control statement, in upper case; `undefined` for everything else. */
export function controlVerb(text: string): string | undefined {
  const statement = text.replace(LEADING, '').slice(0, 200).replace(COMMENTS, ' ')
  return CONTROL.exec(statement)?.[0].toUpperCase().replace(/\s+/g, ' ')
}

/** Strings, quoted names and dollar-quoted bodies, whose semicolons separate nothing. */
const QUOTED = /'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$)[\s\S]*?\1/g

/**
 * Whether a text of several statements may have ended the branch before one of them failed. Drivers
 * report only the failure of such a text, not what the statements before it did.
 */
export function mayHideControl(text: string): boolean {
  const [, ...rest] = text.replace(QUOTED, "''").split(';')
  return rest.some((statement) => controlVerb(statement) !== undefined)
}
