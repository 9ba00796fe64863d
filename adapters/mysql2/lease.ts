/**
 * One statement's hold on the branch's connection, in the shape of a connection that a pool hands to
 * its own `query` and `execute`. The pool makes the command, so its forms, its placeholders and its
 * errors are the driver's; what happens to the command on the wire is decided here.
 *
 * A command reports from the socket, so it is put back into the context of whoever asked: what a
 * `result` listener does belongs to the transaction.
 */
import { messageOf, type Refusal } from '../../src/adapter.ts'
import { type InContext, keepContext } from '../dialect/context.ts'
import type { Gate } from '../dialect/gate.ts'
import { asMysqlError, doomsBranch, isTransient, saysNotInBranch } from '../dialect/mysql-errors.ts'
import type { Turn } from '../dialect/turn.ts'
import type { MysqlCommand, MysqlCore, MysqlDone, MysqlStatements } from './driver-types.ts'
import { sendFirst } from './first.ts'
import type { Session } from './pool.ts'

export interface LeaseHost {
  readonly gate: Gate
  /** The branch's connection; called only after the gate has opened. */
  session(): Session
  /** The connection is dead or its state unknown: the branch can only be rolled back. */
  broken(cause: unknown): Error
  /** Begins the branch on the server in a trip of its own. */
  begin(): Promise<void>
  /** The same as {@link broken}, before anything of the branch was on the server. */
  notBegun(cause: unknown): Error
}

/** Any statement without effect. */
const NOTHING = 'DO 0'

export class Lease implements MysqlStatements {
  readonly #host: LeaseHost
  readonly #session: Session
  readonly #turn: Turn
  readonly #inContext: InContext = keepContext()
  #failed = false

  /** @throws what the branch ended with */
  constructor(host: LeaseHost, turn: Turn, text: unknown) {
    this.#host = host
    this.#turn = turn
    const session = host.session()
    if (session.lost !== undefined) throw host.broken(session.lost)
    session.runs(text)
    this.#session = session
  }

  get #core(): MysqlCore {
    return this.#session.connection
  }

  query(command: MysqlCommand): MysqlCommand {
    this.#watch(command)
    const instead = this.#sayInstead()
    if (instead !== undefined) Object.assign(command, { sql: instead, values: undefined })
    const { opening } = this.#session
    if (opening === undefined) return this.#core.query(command)
    sendFirst(this.#session, opening, command, (cause) => {
      if (asMysqlError(cause) === undefined) return this.#fail(command, this.#host.notBegun(cause))
      // XA START was refused, and so nothing was run: what is in its way may have a remedy.
      this.#session.said(opening)
      this.#host.begin().then(
        // The driver's command has a `then` that throws: no promise may be resolved with it.
        () => void this.#inContext(() => this.#core.query(command)),
        (refused: unknown) => this.#fail(command, refused),
      )
    })
    return command
  }

  execute(sql: unknown, values: unknown, done: MysqlDone): MysqlCommand {
    const instead = this.#sayInstead()
    const heard = this.#hearing(done)
    if (instead !== undefined) return this.#core.query(instead, heard)
    return this.#core.execute(sql, values, heard)
  }

  /** @param made - the commands that the driver made of one `execute`; the last one reports */
  executeAsEvents(made: readonly MysqlCommand[], command: MysqlCommand): void {
    this.#watch(command)
    command.once('end', () => this.release())
    // No control statement: those need a callback, see the gate.
    for (const one of made) this.#core.addCommand(one)
  }

  release(): void {
    this.#turn.end(!this.#failed)
  }

  /** The pool gives up a connection that refuses to write; whether ours goes is the branch's affair. */
  destroy(): void {
    this.release()
  }

  /** All but the last statement go ahead: the connection keeps their order. */
  #sayInstead(): string | undefined {
    const { instead } = this.#turn
    if (instead === undefined) return undefined
    const { texts } = instead
    for (const text of texts.slice(0, -1)) this.#core.query(text, () => undefined)
    return texts.at(-1) ?? NOTHING
  }

  #fail(command: MysqlCommand, cause: unknown): void {
    command.onResult?.(cause)
    command.emit('end')
  }

  #watch(command: MysqlCommand): void {
    const { onResult } = command
    if (onResult !== undefined) {
      command.onResult = this.#hearing(onResult)
      return
    }
    const { emit } = command
    command.emit = (event, ...args) => {
      if (event === 'error') args[0] = this.#heard(args[0])
      return this.#inContext(() => emit.call(command, event, ...args))
    }
    this.#tellEnd(command)
  }

  /** What ends the connection is told to it alone when a command has no callback. */
  #tellEnd(command: MysqlCommand): void {
    const core = this.#core
    const tell = (cause?: Error): void => {
      if (command.listenerCount('error') > 0) command.emit('error', cause)
      command.emit('end')
      this.release()
    }
    core.on('error', tell)
    command.once('end', () => core.removeListener('error', tell))
  }

  #hearing(done: MysqlDone): MysqlDone {
    return (cause, ...rest) => {
      const told = cause === null || cause === undefined ? cause : this.#heard(cause)
      this.#inContext(() => done(told, ...rest))
    }
  }

  #heard(cause: unknown): unknown {
    this.#failed = true
    const told = hear(this.#host, cause)
    // A lost connection ends no command.
    if (asMysqlError(cause) === undefined) this.release()
    return told
  }
}

/**
 * A result that the application reads as it comes. It may ask for the stream, and destroy it, before
 * the statement has its turn.
 */
export class OpenResult {
  #turn: Turn | undefined
  #closing = false

  took(turn: Turn): void {
    this.#turn = turn
    if (this.#closing) turn.closing()
  }

  watch(command: MysqlCommand): void {
    const { stream } = command
    command.stream = (options) => {
      const readable = stream.call(command, options)
      const destroy = readable._destroy.bind(readable)
      // Whoever leaves a loop over it goes on before it has closed.
      readable._destroy = (cause, done) => {
        this.#closing = true
        this.#turn?.closing()
        destroy(cause, done)
      }
      return readable
    }
  }
}

/**
 * What the application hears of a failure. XA rolls nothing back by itself when a statement fails: what
 * dooms the branch is kept here.
 */
export function hear(host: LeaseHost, cause: unknown): unknown {
  const error = asMysqlError(cause)
  // A time-out of the driver leaves the statement running, and the next one would wait behind it.
  if (error === undefined && !(cause instanceof TypeError)) return host.broken(cause)
  if (error !== undefined && saysNotInBranch(error)) return host.gate.notPreparable(cause)
  if (error !== undefined && doomsBranch(error)) host.gate.doom(statementFailed(cause))
  return host.gate.heard(cause)
}

function statementFailed(cause: unknown): Refusal {
  return {
    code: 'STATEMENT_FAILED',
    reason: `a statement failed in a way that leaves nothing to commit: ${messageOf(cause)}`,
    retryable: isTransient(asMysqlError(cause)),
    hint: 'let the error leave the callback',
    cause,
  }
}
