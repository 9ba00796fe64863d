/**
 * Statements given in advance, in one packet with what begins their branch and with verbs of ours:
 *
 *   XA START …; <statement>; …; [INSERT …;] XA END …; XA PREPARE …
 *
 * The server runs nothing behind the first that fails. A text may hold more, or less, than the one
 * statement that we read in it, so the answers are counted: one each, or how the branch stands is not
 * known. Counting is no proof where one answers twice and another not at all, so what may do either does not
 * travel with others.
 *
 * What does not travel, and whatever a pool may not send several at once of, goes in a trip of its own, and
 * before the vote: behind a roll-back, which nothing here would hear of, it would commit by itself.
 */
import { errorOf, type GivenStatement, messageOf } from '../../src/adapter.ts'
import { firstWord } from '../dialect/comments.ts'
import {
  type GivenFailed,
  GivenStatements,
  statementFailed,
  unreadable,
  withoutEnd,
} from '../dialect/given.ts'
import {
  asMysqlError,
  isTransient,
  PACKET_TOO_LARGE,
  saysNotInBranch,
} from '../dialect/mysql-errors.ts'
import type { MysqlCommand, MysqlCore, MysqlDone } from './driver-types.ts'
import { mergesFirst } from './first.ts'
import type { Session } from './pool.ts'
import { formatted, queryClassOf } from './query-class.ts'

/** Which answer a command waits for, from 0; its last one when it has them all. */
interface Counting extends MysqlCommand {
  readonly _resultIndex?: unknown
}

/**
 * Answers more than once, or what the server runs of it depends on its version; and a backslash, which
 * keeps a quote open or does not, as the session's `sql_mode` says.
 */
const ANSWERS_TWICE = /^(?:call|execute|begin)\b/i
const READS_TWO_WAYS = /\\|\/\*M?!/

function travels({ text }: GivenStatement): boolean {
  return !READS_TWO_WAYS.test(text) && !ANSWERS_TWICE.test(text.slice(firstWord(text, 'MySQL')))
}

/** As the driver's promises tell it: rows or header, and fields. */
type Answer = readonly [unknown, unknown]

export class Given extends GivenStatements<Answer> {
  /** Whether they may travel with verbs behind them. */
  merges(session: Session): boolean {
    return mergesFirst(session) && this.statements.every(travels)
  }

  /**
   * Says them, and the verbs behind them where those may travel along. Takes as long as the statements do.
   *
   * @throws GivenFailed, or what a verb was answered with, or what ended the connection
   */
  say(session: Session, verbs: readonly string[]): Promise<void> {
    this.saying()
    for (const { text } of this.statements) session.runs(text)
    if (!this.merges(session)) return this.#sayOneByOne(session)
    let texts: readonly string[]
    try {
      texts = this.statements.map((statement) => textOf(session.connection, statement))
    } catch (cause) {
      return Promise.reject(statementFailed(cause, false))
    }
    const opening = session.opening ?? []
    session.said()
    return session
      .long(this.#send(session, opening, texts, verbs))
      .catch(async (cause: unknown) => {
        if (!(cause instanceof NotBegun)) throw cause
        // XA START was refused, and so nothing was run: what is in its way may have a remedy.
        session.said(opening)
        await begun(session)
        await session.long(this.#send(session, [], texts, verbs))
      })
  }

  #send(
    session: Session,
    opening: readonly string[],
    texts: readonly string[],
    verbs: readonly string[],
  ): Promise<void> {
    const all = [...opening, ...texts, ...verbs]
    const before = opening.length + texts.length
    return new Promise((resolve, reject) => {
      let command: Counting | undefined
      const done: MysqlDone = (cause, rows, fields) => {
        const at = command?._resultIndex
        // Which one failed cannot be told: then it was ours, for which only some errors are an answer.
        const index = typeof at === 'number' ? at : before
        if (cause !== null && cause !== undefined) {
          const isAnswer = asMysqlError(cause) !== undefined
          if (!isAnswer || index >= before) return reject(errorOf(cause))
          const isRead = asMysqlError(cause)?.errno !== PACKET_TOO_LARGE
          if (index < opening.length && isRead) return reject(new NotBegun())
          return reject(failed(Object.assign(cause, { sql: all[index] })))
        }
        if (index + 1 !== all.length) {
          return reject(unreadable(new Error(`${index + 1} answers to ${all.length} statements`)))
        }
        const mine = (of: unknown): readonly unknown[] =>
          all.length === 1 ? [of] : (of as readonly unknown[]).slice(opening.length, before)
        const told = mine(fields)
        this.answered(mine(rows).map((one, order) => [one, told[order]]))
        resolve()
      }
      // Each on a line of its own: a comment at the end of one holds nothing of the next. Its placeholders
      // are filled in.
      const text = { sql: all.join('\n; '), values: undefined, namedPlaceholders: false }
      command = ask(session.connection, text, done)
    })
  }

  async #sayOneByOne(session: Session): Promise<void> {
    if (session.opening !== undefined) await begun(session)
    const answers: Answer[] = []
    for (const { text, values } of this.statements) {
      const asked = new Promise<Answer>((resolve, reject) => {
        ask(session.connection, { sql: text, values }, (cause, rows, fields) => {
          if (cause === null || cause === undefined) resolve([rows, fields])
          else reject(asMysqlError(cause) === undefined ? errorOf(cause) : failed(cause))
        })
      })
      answers.push(await session.long(asked))
    }
    this.answered(answers)
  }
}

/** What begins the branch was refused: nothing of the packet was run. */
class NotBegun extends Error {}

/** @throws GivenFailed when the branch cannot be begun; the connection is gone then */
async function begun(session: Session): Promise<void> {
  try {
    await session.begin()
  } catch (cause) {
    throw statementFailed(
      new Error(`the branch could not be begun: ${messageOf(cause)}`, { cause }),
      isTransient(asMysqlError(cause)),
    )
  }
}

function failed(cause: unknown): GivenFailed {
  const error = asMysqlError(cause)
  const notInBranch = error !== undefined && saysNotInBranch(error)
  const code = notInBranch ? 'NOT_PREPARABLE' : 'STATEMENT_FAILED'
  return statementFailed(cause, isTransient(error), code)
}

function textOf(connection: MysqlCore, { text, values = [] }: GivenStatement): string {
  return formatted(connection, { sql: withoutEnd(text), values, namedPlaceholders: undefined })
}

/** In an object of ours: see query-class.ts. Rows and files are as the pool has them. */
function ask(connection: MysqlCore, statement: object, done: MysqlDone): Counting {
  const { infileStreamFactory } = connection.config
  const Query = queryClassOf(connection)
  return connection.query(new Query({ ...statement, infileStreamFactory }, done))
}
