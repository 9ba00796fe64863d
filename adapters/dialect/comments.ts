/**
 * Blanks and comments, as the servers read them. Seen on PostgreSQL 15 and 18, MySQL 9.7 and MariaDB
 * 10.11:
 *
 *              PostgreSQL             MySQL, MariaDB
 *   -- …       to \n or to \r         to \n alone, and only before a blank or a control character
 *   # …        none                   to \n alone
 *   slash-star holds others in it     ends at the first end
 *   with a !   as any other           what it holds is run, unless its number is beyond the server's
 */
export type Dialect = 'PostgreSQL' | 'MySQL'

const LINE_END = /[\n\r]|$/g
const EDGE = /\/\*|\*\/|$/g
/** What `/*!` holds is read as if the server ran it: its two ends are blanks. */
const MYSQL = /(?:--(?=[\s\p{Cc}]|$)|#)[^\n]*|\/\*M?!(?:\d{5,6})?|\/\*[\s\S]*?\*\/|\*\//uy
/** Strings, quoted names and dollar-quoted bodies, in which nothing is a comment. */
const QUOTED =
  /(?<![\w$])e'(?:[^'\\]|''|\\[\s\S])*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|(\$(?:[a-z_]\w*)?\$)[\s\S]*?\1/iy
const PLAIN = /[^-#/*'"`$e]+|[\s\S]/iy

/** Where the first word is: behind blanks, comments and empty statements. */
export function firstWord(text: string, dialect: Dialect): number {
  let at = 0
  while (at < text.length) {
    const end = /[\s;]/.test(text.charAt(at)) ? at + 1 : commentEnd(text, at, dialect)
    if (end === at) break
    at = end
  }
  return at
}

/** The text with a blank in place of each comment, and without what is quoted if that is asked for. */
export function blanked(text: string, dialect: Dialect, quoted: 'kept' | 'emptied'): string {
  let kept = ''
  for (let at = 0; at < text.length; ) {
    const comment = commentEnd(text, at, dialect)
    const literal = comment > at ? at : endOf(QUOTED, text, at)
    const end = Math.max(comment, literal)
    if (end > at) kept += comment > at ? ' ' : quoted === 'kept' ? text.slice(at, end) : "''"
    const next = end > at ? end : endOf(PLAIN, text, at)
    if (end === at) kept += text.slice(at, next)
    at = next
  }
  return kept
}

/** Where the comment ends that begins here; here, when none does. */
function commentEnd(text: string, at: number, dialect: Dialect): number {
  if (dialect === 'MySQL') return endOf(MYSQL, text, at)
  if (text.startsWith('--', at)) return next(LINE_END, text, at).index
  if (!text.startsWith('/*', at)) return at
  let end = at
  let depth = 0
  do {
    const edge = next(EDGE, text, end)
    depth += edge[0] === '/*' ? 1 : -1
    end = edge.index + edge[0].length
  } while (depth > 0 && end < text.length)
  return end
}

function endOf(sticky: RegExp, text: string, at: number): number {
  sticky.lastIndex = at
  return sticky.test(text) ? sticky.lastIndex : at
}

/** The next match; each of these matches the end of the text. */
function next(pattern: RegExp, text: string, from: number): RegExpExecArray {
  pattern.lastIndex = from
  const found = pattern.exec(text)
  if (found === null) throw new Error('a pattern that matches every end has not')
  return found
}
