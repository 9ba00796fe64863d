/**
 * Statements given in advance, under one Sync with what begins their branch and with verbs of ours:
 *
 *   BEGIN; SET LOCAL …    <statement> …    SAVEPOINT; SELECT …; RELEASE; [INSERT;] PREPARE TRANSACTION
 *
 * The server runs nothing behind the first that fails, up to the Sync: a vote is never the vote of a part.
 * Each statement is a Parse of its own, and that holds one command: none can hide another.
 */
import { errorOf, type GivenStatement } from '../../src/adapter.ts'
import { GivenStatements, statementFailed, unreadable } from '../dialect/given.ts'
import { asPostgresError, isTransient } from '../dialect/postgres-errors.ts'
import {
  type Connection,
  type DriverQuery,
  type QueryClass,
  type Done as QueryDone,
  queryClassOf,
  sendBare,
} from './driver-query.ts'
import type { PgResult } from './driver-types.ts'
import type { Session } from './pool.ts'

/** A message of the driver's, and the method that sends it. */
type Message = readonly ['parse' | 'bind' | 'describe' | 'execute', object]

/** What one packet says, in this order. */
interface Packet {
  /** For whoever traces the driver. */
  readonly text: string
  readonly opening: readonly string[]
  readonly given: readonly (readonly Message[])[]
  readonly verbs: readonly string[]
}

type Answer = PgResult | readonly PgResult[]
type Done = QueryDone<Answer>

interface GivenQuery extends DriverQuery {
  /** Statements that have answered, the opening's and the verbs' among them. */
  readonly answered: number
  readonly verbs: readonly PgResult[]
}
type GivenQueryClass = new (packet: Packet, done: Done) => GivenQuery

function givenQueryOf(Query: QueryClass<Answer>): GivenQueryClass {
  return class extends Query implements GivenQuery {
    readonly #packet: Packet
    readonly verbs: PgResult[] = []
    answered = 0
    /** Of the verb that is being answered. */
    #rows: Readonly<Record<string, unknown>>[] = []

    constructor(packet: Packet, done: Done) {
      super(packet.text, undefined, done)
      this.#packet = packet
    }

    get #isGiven(): boolean {
      const { opening, given } = this.#packet
      return this.answered >= opening.length && this.answered < opening.length + given.length
    }

    override requiresPreparation(): boolean {
      return true
    }

    override prepare(connection: Connection): void {
      const { opening, given, verbs } = this.#packet
      sendBare(connection, opening)
      for (const [method, message] of given.flat()) {
        // The client's own setting, of which it has told the query by now.
        connection[method](method === 'bind' ? { ...message, binary: this.binary } : message)
      }
      sendBare(connection, verbs)
      connection.sync()
    }

    override handleDataRow(message: { readonly fields?: readonly unknown[] }): void {
      if (this.#isGiven) super.handleDataRow(message)
      // Undescribed, and so as the server spells it: the first column of what looks whether the block is ours.
      else this.#rows.push({ xid8: message.fields?.[0] })
    }

    override handleCommandComplete(message: object, connection: Connection): void {
      const { opening, given } = this.#packet
      if (this.#isGiven) super.handleCommandComplete(message, connection)
      else if (this.answered >= opening.length + given.length) {
        const [command = null] = String((message as { text?: unknown }).text).split(' ')
        this.verbs.push({ command, rowCount: null, rows: this.#rows })
        this.#rows = []
      }
      this.answered += 1
    }
  }
}

const CLASSES = new WeakMap<QueryClass<Answer>, GivenQueryClass>()

function classOf(Query: QueryClass<Answer>): GivenQueryClass {
  const made = CLASSES.get(Query) ?? givenQueryOf(Query)
  CLASSES.set(Query, made)
  return made
}

/**
 * What the driver would send for a statement, up to its Sync. Its values are spelled here: one that cannot
 * be must be found before anything is sent, for what is sent of a packet is run.
 *
 * @throws what the driver makes of a value
 */
function messagesOf(
  Query: QueryClass<Answer>,
  { text, values }: GivenStatement,
): readonly Message[] {
  if (values !== undefined && !Array.isArray(values)) throw new TypeError('values are not an array')
  const messages: Message[] = []
  let failed: unknown
  const note = (method: Message[0]) => (message: object) => {
    messages.push([method, message])
  }
  const recorder = {
    parse: note('parse'),
    describe: note('describe'),
    execute: note('execute'),
    bind: (portal: Portal) => note('bind')(spelled(portal)),
    sync: () => undefined,
    close: () => undefined,
  }
  new Query(text, values, (cause) => {
    failed = cause
  }).prepare(recorder)
  if (failed !== undefined) throw errorOf(failed)
  return messages
}

interface Portal {
  readonly values?: readonly unknown[]
  readonly valueMapper?: (value: unknown) => unknown
}

function spelled({ values, valueMapper, ...portal }: Portal): object {
  const map = valueMapper ?? ((value) => value)
  return { ...portal, values: values?.map((value) => map(value)) }
}

export class Given extends GivenStatements<PgResult> {
  /**
   * Says them, and the verbs behind them. Takes as long as the statements do.
   *
   * @returns what the verbs answered
   * @throws GivenFailed, or what a verb was answered with, or what ended the connection
   */
  say(session: Session, verbs: readonly string[]): Promise<readonly PgResult[]> {
    this.saying()
    const Query = queryClassOf<Answer>(session.client)
    if (Query === undefined) return this.#sayOneByOne(session, verbs)
    let given: readonly (readonly Message[])[]
    try {
      given = this.statements.map((statement) => messagesOf(Query, statement))
    } catch (cause) {
      return Promise.reject(statementFailed(cause, false))
    }
    const opening = session.opening === undefined ? [] : session.takeOpening()
    const text = this.statements.map((statement) => statement.text).join('; ')
    return session.long(this.#send(session, classOf(Query), { text, opening, given, verbs }))
  }

  #send(session: Session, Query: GivenQueryClass, packet: Packet): Promise<readonly PgResult[]> {
    const before = packet.opening.length + packet.given.length
    return new Promise((resolve, reject) => {
      const query: GivenQuery = new Query(packet, (cause, answer) => {
        if (cause !== null && cause !== undefined) {
          const isAll = query.answered === before + packet.verbs.length
          if (isAll) reject(unreadable(cause))
          else reject(query.answered < before ? failedAt(cause) : errorOf(cause))
          return
        }
        const answers = [answer].flat() as readonly PgResult[]
        if (answers.length !== packet.given.length) {
          reject(unreadable(new Error(`${answers.length} answers to ${packet.given.length}`)))
          return
        }
        this.answered(answers)
        resolve(query.verbs)
      })
      session.submit(query)
    })
  }

  /** `pg-native` sends what it is given with a Sync of its own. */
  async #sayOneByOne(session: Session, verbs: readonly string[]): Promise<readonly PgResult[]> {
    if (session.opening !== undefined) await session.begin()
    const answers: PgResult[] = []
    for (const { text, values } of this.statements) {
      try {
        answers.push((await session.long(session.client.query(text, values))) as PgResult)
      } catch (cause) {
        throw failedAt(cause)
      }
    }
    this.answered(answers)
    return verbs.length === 0 ? [] : session.ask(verbs.join('; '))
  }
}

/** What is no answer of the server's, nor a mistake in what it was given, has ended the connection. */
function failedAt(cause: unknown): Error {
  const error = asPostgresError(cause)
  if (error === undefined && !(cause instanceof TypeError)) return errorOf(cause)
  return statementFailed(cause, isTransient(error))
}
