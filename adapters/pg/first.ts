/**
 * The application's first statement, in one packet with what begins its branch.
 *
 *   without values   one simple query     BEGIN; SET LOCAL …; <statement>
 *   with values      one Sync             Parse Bind Execute each, then those of the statement
 *
 * Never in two: a BEGIN with a Sync of its own that fails leaves the statement behind it to commit by
 * itself. The driver sees one query, whose answer is the statement's: what the opening answers is
 * swallowed here.
 */
import { errorOf, invariant } from '../../src/adapter.ts'
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

type Done = QueryDone<PgResult>
type FirstQuery = DriverQuery & { readonly begun: boolean }
type FirstQueryClass = new (
  opening: readonly string[],
  config: unknown,
  values: unknown,
  done: Done,
) => FirstQuery

function firstQueryOf(Query: QueryClass<PgResult>): FirstQueryClass {
  return class extends Query {
    readonly #opening: readonly string[]
    #answered = 0
    /** What goes before the application's own text, in characters. */
    #before = 0
    #name: string | undefined

    constructor(opening: readonly string[], config: unknown, values: unknown, done: Done) {
      super(config, values, done)
      this.#opening = opening
    }

    get begun(): boolean {
      return this.#answered === this.#opening.length
    }

    override submit(connection: Connection): unknown {
      if (typeof this.text !== 'string' || this.requiresPreparation()) {
        return super.submit(connection)
      }
      const { text } = this
      const opening = `${this.#opening.join('; ')}; `
      this.#before = opening.length
      this.text = opening + text
      try {
        return super.submit(connection)
      } finally {
        this.text = text
      }
    }

    override prepare(connection: Connection): void {
      sendBare(connection, this.#opening)
      super.prepare(connection)
      // The driver notes a name as prepared at the first ParseComplete, which is not the statement's.
      this.#name = this.name
      this.name = undefined
    }

    override handleCommandComplete(message: object, connection: Connection): void {
      if (this.begun) super.handleCommandComplete(message, connection)
      else this.#answered += 1
      if (this.begun) this.name ??= this.#name
    }

    override handleError(cause: { position?: string }, connection: Connection): void {
      // Its own Parse was skipped: whoever sent the name again would find nothing on the server.
      if (!this.begun && this.#name !== undefined) {
        delete connection.submittedNamedStatements?.[this.#name]
      }
      const at = Number(cause.position) - this.#before
      if (this.begun && at > 0) cause.position = String(at)
      super.handleError(cause, connection)
    }
  }
}

const CLASSES = new WeakMap<QueryClass<PgResult>, FirstQueryClass>()

function classOf(session: Session): FirstQueryClass | undefined {
  const Query = queryClassOf<PgResult>(session.client)
  if (Query === undefined) return undefined
  const made = CLASSES.get(Query) ?? firstQueryOf(Query)
  CLASSES.set(Query, made)
  return made
}

/** pg < 8.23 writes the callback into what it is given: the application's own, which it may give again. */
function copyOf(config: unknown): unknown {
  if (typeof config !== 'object' || config === null) return config
  return Object.assign(
    Object.create(Object.getPrototypeOf(config) as object | null),
    config,
  ) as object
}

type Answer = PgResult | readonly PgResult[]

/**
 * Sends both.
 *
 * @param failed - answers in the statement's stead; `begun`: whether the opening took effect
 * @returns `undefined` when this client cannot send both together: nothing was sent
 */
export function sendFirst(
  session: Session,
  config: unknown,
  values: unknown,
  failed: (cause: Error, begun: boolean) => Promise<Answer>,
): Promise<Answer> | undefined {
  const FirstQuery = classOf(session)
  if (FirstQuery === undefined) return undefined
  const { opening } = session
  invariant(opening !== undefined, 'a first statement goes with what begins its branch')
  let resolve: (result: PgResult) => void
  let reject: (cause: Error) => void
  const answer = new Promise<Answer>((...settle) => {
    ;[resolve, reject] = settle
  })
  // Not set on the query afterwards: V8 makes a function that is assigned to a property old at once, and
  // with it all that it can reach.
  const query = new FirstQuery(opening, copyOf(config), values, (cause, result) => {
    if (cause === null || cause === undefined) resolve(result)
    else reject(errorOf(cause))
  })
  // The client asks whatever it is given for it.
  if (typeof config === 'object' && config !== null && 'query_timeout' in config) {
    query.query_timeout = config.query_timeout
  }
  session.takeOpening()
  session.submit(query)
  // From here, and not from the socket: what is said then belongs to whoever asked.
  return answer.catch((cause: unknown) => failed(errorOf(cause), query.begun))
}
