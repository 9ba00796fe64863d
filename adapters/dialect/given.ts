/**
 * Statements given in advance: what may be among them, and how one fails.
 *
 * They travel with our own verbs around them, so what is looked at here is more than a gate looks at: a
 * text is one statement, and no transaction control. What a reading of SQL by hand may miss is caught
 * behind it: in PostgreSQL a text is a Parse of its own, which holds one command; in MySQL and MariaDB
 * the answers are counted, and a count that is not as it should be is no vote.
 */
import {
  type GivenStatement,
  messageOf,
  type Refusal,
  TransactionError,
} from '../../src/adapter.ts'
import { blanked, type Dialect, firstWord } from './comments.ts'
import { controlOf } from './control.ts'

/** @throws TransactionError INVALID_OPTION or TRANSACTION_CONTROL */
export function checkGiven(
  statements: readonly GivenStatement[],
  dialect: Dialect,
  participant: string,
  gtrid: string,
): void {
  const refuse = (code: 'INVALID_OPTION' | 'TRANSACTION_CONTROL', what: string): never => {
    throw new TransactionError(code, `${participant} refuses: ${what}`, {
      outcome: 'rolled-back',
      gtrid,
      hint: 'Give each statement as a text of its own, and leave its transaction to the coordinator.',
    })
  }
  for (const { text } of statements) {
    if (CHECKED[dialect].has(text)) continue
    if (typeof text !== 'string') refuse('INVALID_OPTION', 'a statement without a text')
    if (firstWord(text, dialect) === text.length) refuse('INVALID_OPTION', 'an empty statement')
    const control = controlOf(text, dialect)
    if (control !== undefined) {
      const verb = control.kind === 'forbidden' ? control.verb : control.kind.toUpperCase()
      refuse('TRANSACTION_CONTROL', `${verb} among statements given in advance`)
    }
    const read = blanked(withoutEnd(text), dialect, 'emptied')
    if (read.includes(';')) refuse('INVALID_OPTION', 'several statements in one text')
    // It would hold what comes behind it. PostgreSQL finds that out by itself.
    if (dialect === 'MySQL' && /['"`]|\/\*/.test(read.replaceAll("''", '')))
      refuse('INVALID_OPTION', 'a comment or a quote without its end')
    remember(CHECKED[dialect], text)
  }
}

/** Texts that passed. An application has few, as long as it gives values beside them. */
const CHECKED: { readonly [D in Dialect]: Set<string> } = {
  PostgreSQL: new Set(),
  MySQL: new Set(),
}
const MAX_CHECKED = 256
const MAX_CHECKED_LENGTH = 1_024

function remember(checked: Set<string>, text: string): void {
  if (text.length > MAX_CHECKED_LENGTH) return
  if (checked.size >= MAX_CHECKED) checked.clear()
  checked.add(text)
}

/** What may stand at the end of a statement that is the only one of its text. */
export function withoutEnd(text: string): string {
  return text.replace(/[\s;]+$/, '')
}

/** Statements given to one branch, before they are said and after. */
export abstract class GivenStatements<Answer> {
  protected readonly statements: readonly GivenStatement[]
  #isSaid = false
  #answers: readonly Answer[] = []

  constructor(statements: readonly GivenStatement[]) {
    this.statements = statements
  }

  get isSaid(): boolean {
    return this.#isSaid
  }

  /** In the order of the statements, once they are said. */
  get answers(): readonly Answer[] {
    return this.#answers
  }

  protected saying(): void {
    this.#isSaid = true
  }

  protected answered(answers: readonly Answer[]): void {
    this.#answers = answers
  }
}

/** A statement given in advance failed, or what the statements answered cannot be told apart. */
export class GivenFailed extends Error {
  readonly refusal: Refusal
  /** It is certain that nothing behind it was run. */
  readonly stopped: boolean

  constructor(refusal: Refusal, stopped: boolean) {
    super(refusal.reason, { cause: refusal.cause })
    this.refusal = refusal
    this.stopped = stopped
  }
}

/** The server, or the driver before it, refused a statement, and ran nothing behind it. */
export function statementFailed(
  cause: unknown,
  retryable: boolean,
  code: 'STATEMENT_FAILED' | 'NOT_PREPARABLE' = 'STATEMENT_FAILED',
): GivenFailed {
  const reason = `a statement failed: ${messageOf(cause)}`
  return new GivenFailed({ code, reason, retryable, cause }, true)
}

/** All may have been run; what it answered is not to be had. */
export function unreadable(cause: unknown): GivenFailed {
  const reason = `the answers of the statements cannot be read: ${messageOf(cause)}`
  return new GivenFailed({ code: 'STATEMENT_FAILED', reason, retryable: false, cause }, false)
}

/** What whoever waits for statements hears of a refusal. */
export function refusedError(
  participant: string,
  gtrid: string,
  { code, reason, retryable, hint, cause }: Refusal,
): TransactionError {
  return new TransactionError(code, `${participant}: ${reason}`, {
    outcome: 'rolled-back',
    gtrid,
    retryable,
    hint,
    cause,
  })
}
