/**
 * The application's side of a branch, the same for every driver: one statement at a time, in the
 * order in which they came, and none after the branch was sealed.
 *
 * Invariants:
 *  1. `open` runs once, for the first statement, and every statement waits for it.
 *  2. Transaction control that no savepoint stands for is refused before anything is sent, and dooms
 *     the branch.
 *  3. After `seal` nothing new of the application reaches the server, not even what had been queued.
 *  4. The first reason that dooms a branch is the one that is reported.
 */
import {
  type BranchRequest,
  type IsolationLevel,
  isPending,
  messageOf,
  type Refusal,
  TransactionError,
} from '../../src/adapter.ts'
import type { Dialect } from './comments.ts'
import { type Control, controlOf } from './control.ts'
import { type Client, type Conflict, type Issuer, Nesting, type Step } from './nesting.ts'
import { type Instead, type Planned, Running, type Turn } from './turn.ts'

/** The branch that a gate stands before. */
export interface GateHost {
  readonly participant: string
  readonly dialect: Dialect
  readonly request: Pick<BranchRequest, 'gtrid' | 'enlist' | 'savepoints'>
  /** Takes a connection and begins the branch on it. */
  open(boundMs: number): Promise<void>
  /** Runs statements of ours on the branch's connection, in order. */
  speak(texts: readonly string[]): Promise<unknown>
  /** The isolation that the branch has. */
  isolation(): Promise<IsolationLevel>
}

export class Gate {
  readonly #host: GateHost
  readonly #nesting = new Nesting()
  readonly #running: Set<Running> = new Set()
  #opened: Promise<void> | undefined
  #isOpen = false
  /** When it has returned, so has everything that was asked; `undefined` when it has. */
  #last: Running | undefined
  #because: (() => Error) | undefined
  #doom: Refusal | undefined

  constructor(host: GateHost) {
    this.#host = host
  }

  get enlisted(): boolean {
    return this.#opened !== undefined
  }

  /** Whether a statement, or the begin that precedes it, has not returned yet. */
  get busy(): boolean {
    for (const one of this.#running) if (!one.isClosing) return true
    return false
  }

  get doomed(): Refusal | undefined {
    return this.#doom
  }

  /** Marks the branch as one that can only be rolled back. */
  doom(refusal: Refusal): void {
    this.#doom ??= refusal
  }

  /** No connection came, or the branch could not be begun on it. */
  doomNotEnlisted(cause: unknown): void {
    this.doom({
      code: 'STATEMENT_FAILED',
      reason: `${this.#host.participant} could not be enlisted: ${messageOf(cause)}`,
      retryable: cause instanceof TransactionError && cause.retryable,
      cause,
    })
  }

  /** What the application hears of a failure: after the seal, why its statement was ended. */
  heard(cause: unknown): unknown {
    return this.#because === undefined ? cause : this.#because()
  }

  /** What the server does not run in a branch, and would elsewhere. The branch is as it was. */
  notPreparable(cause: unknown): TransactionError {
    const { participant, request } = this.#host
    return new TransactionError('NOT_PREPARABLE', `${participant}: ${messageOf(cause)}`, {
      outcome: 'rolled-back',
      gtrid: request.gtrid,
      hint: 'run it outside of the transaction: coordinator.outside(fn)',
      cause,
    })
  }

  /** Runs one statement of the application when those before it have returned. */
  async run<T>(
    client: Client,
    text: unknown,
    send: (instead: Instead | undefined) => T | Promise<T>,
  ): Promise<T> {
    const running = this.#queueOf(client, text, false)
    try {
      if (running.before !== undefined) await running.before
      if (!this.#isOpen) await this.#opened
      const preparing = this.#begin(running)
      if (preparing !== undefined) await preparing
      const sent = send(running.instead)
      const answer = isPending(sent) ? await sent : sent
      running.end(true)
      return answer
    } catch (cause) {
      throw this.#failed(running, cause)
    }
  }

  /**
   * Waits until those before it have returned.
   *
   * @param open - the statement ends only when the application has read or closed its result
   */
  async turn(client: Client, text: unknown, open = false): Promise<Turn> {
    const running = this.#queueOf(client, text, open)
    try {
      if (running.before !== undefined) await running.before
      if (!this.#isOpen) await this.#opened
      const preparing = this.#begin(running)
      if (preparing !== undefined) await preparing
      return running
    } catch (cause) {
      throw this.#failed(running, cause)
    }
  }

  /** The client goes back: what it left open is rolled back before the branch votes. */
  release(client: Client): void {
    if (client.released) return
    client.released = true
    if (client.open === 0) return
    client.open = 0
    // A failure dooms the branch, and is reported there.
    this.#endOwn(() => this.#nesting.abandon(client)).catch(() => undefined)
  }

  /** Ends a savepoint of the whole transaction, if the branch has it. */
  async endSavepoint(name: string, how: 'release' | 'rollback'): Promise<void> {
    const unread = [...this.#running].some(
      (one) => one.open && !one.isClosing && one.issuer.savepoints.includes(name),
    )
    if (!unread) return this.#endOwn(() => this.#nesting.endSavepoint(name, how), how)
    const refusal = this.#stillRunning('a result was neither read to its end nor closed')
    this.doom(refusal)
    throw new Error(refusal.reason)
  }

  /** Ends the application's part; answers what speaks against committing. */
  seal(because: () => Error): Refusal | undefined {
    this.#because ??= because
    if (this.#doom !== undefined) return this.#doom
    const { participant } = this.#host
    if (this.busy) return this.#stillRunning(`${this.#running.size} statement(s) of ${participant}`)
    if (!this.#nesting.unended) return undefined
    return this.#stillRunning(`a transaction that was begun inside ${participant}`)
  }

  /** What dooms the branch, once nothing runs any more; at once when nothing does. */
  drain(): Refusal | undefined | Promise<Refusal | undefined> {
    return this.#last === undefined ? this.#doom : this.#last.returned().then(() => this.#doom)
  }

  #refuseSealed(): void {
    if (this.#because !== undefined) throw this.#because()
  }

  #stillRunning(what: string): Refusal {
    return {
      code: 'WORK_STILL_RUNNING',
      reason: `${what} still running`,
      retryable: false,
      hint: 'await every query before the callback returns',
    }
  }

  /** The enlist call is synchronous: a refusal must reach the very statement that asked. */
  #queueOf(client: Client, text: unknown, open: boolean): Running {
    this.#refuseSealed()
    const { dialect, request } = this.#host
    const control = typeof text === 'string' ? controlOf(text, dialect) : undefined
    if (control !== undefined) this.#admit(client, control, open)
    this.#opened ??= this.#host.open(request.enlist())
    const running = this.#queue({ client, savepoints: request.savepoints() }, open)
    running.control = control
    return running
  }

  /** Whoever is queued waits for the one before, so that they return in order. */
  #queue(issuer: Issuer, open: boolean): Running {
    const running = new Running(issuer, open, this.#last?.returned(), this.#onReturn)
    this.#last = running
    this.#running.add(running)
    return running
  }

  /** It has its turn; answers what else it waits for, if anything. */
  #begin(running: Running): Promise<void> | undefined {
    this.#isOpen = true
    this.#refuseSealed()
    const { issuer, control } = running
    if (control !== undefined || issuer.savepoints.length > 0) return this.#prepare(running)
    this.#nesting.work(issuer)
    return undefined
  }

  async #prepare(running: Running): Promise<void> {
    const { issuer, control } = running
    await this.#setSavepoints(issuer.savepoints)
    if (control === undefined) this.#nesting.work(issuer)
    else running.planned = await this.#plan(issuer, control)
  }

  #failed(running: Running, cause: unknown): unknown {
    if (!this.#isOpen) this.doomNotEnlisted(cause)
    running.end(false)
    return cause
  }

  readonly #onReturn = (one: Running): void => {
    this.#running.delete(one)
    if (this.#last === one) this.#last = undefined
  }

  /** What can be said at once, in the order in which the application asks. */
  #admit(client: Client, control: Control, open: boolean): void {
    if (control.kind === 'forbidden') throw this.#refuse(control.verb)
    if (open) throw this.#refuse('transaction control as a cursor or a stream')
    if (control.kind === 'begin') {
      client.open += 1
      // Of a connection that was given back: what is begun on it now must be ended all the same.
      client.released = false
    }
    if (control.kind !== 'commit' && control.kind !== 'rollback') return
    if (client.open === 0) throw this.#refuse(`${control.tag} without a BEGIN of its own`)
    client.open -= 1
  }

  async #setSavepoints(savepoints: readonly string[]): Promise<void> {
    for (const name of this.#nesting.missing(savepoints)) {
      await this.#host.speak([`SAVEPOINT ${name}`])
      this.#nesting.marked(name)
    }
  }

  async #plan(issuer: Issuer, control: Control): Promise<Planned> {
    if (control.kind === 'forbidden') throw this.#refuse(control.verb)
    if ('isolation' in control) await this.#refuseIsolation(control.isolation)
    if (control.kind === 'set')
      return { instead: { texts: [], tag: control.tag }, end: () => undefined }
    const step = this.#nesting.plan(issuer, control)
    if ('conflict' in step) throw this.#refuse(step.conflict)
    const tag = 'tag' in control ? control.tag : TAGS[control.kind]
    return {
      instead: step.texts === undefined ? undefined : { texts: step.texts, tag },
      end(succeeded) {
        if (succeeded) step.apply()
        // The transaction is still there, and the application will roll it back.
        else if (control.kind === 'commit' && issuer.client !== undefined) issuer.client.open += 1
      },
    }
  }

  /** A branch has one isolation; a stronger one than asked for is right. */
  async #refuseIsolation(asked: IsolationLevel | undefined): Promise<void> {
    if (asked === undefined) return
    const given = await this.#host.isolation()
    if (STRENGTH.indexOf(asked) <= STRENGTH.indexOf(given)) return
    const { participant } = this.#host
    throw this.#refuse(
      `ISOLATION LEVEL ${asked.toUpperCase()}`,
      `begin the transaction with isolation: { ${participant}: '${asked}' }; it has ${given}`,
    )
  }

  async #endOwn(
    plan: () => Step | Conflict | undefined,
    how: 'release' | 'rollback' = 'rollback',
  ): Promise<void> {
    if (this.#opened === undefined) return
    const running = this.#queue({ client: undefined, savepoints: [] }, false)
    running.closing()
    try {
      if (running.before !== undefined) await running.before
      await this.#opened
      const step = plan()
      if (step === undefined) return
      if ('conflict' in step) throw this.#refuse(step.conflict)
      if (step.texts !== undefined && step.texts.length > 0) await this.#host.speak(step.texts)
      step.apply()
    } catch (cause) {
      if (how === 'rollback') this.#doomUnclean(cause)
      throw cause
    } finally {
      running.finish()
    }
  }

  #doomUnclean(cause: unknown): void {
    this.doom({
      code: 'STATEMENT_FAILED',
      reason: `a nested transaction could not be rolled back: ${messageOf(cause)}`,
      retryable: false,
      cause,
    })
  }

  #refuse(
    what: string,
    hint = 'return from the callback to commit, throw to roll back; take a connection to nest',
  ): TransactionError {
    const { participant, request } = this.#host
    const cause = new TransactionError('TRANSACTION_CONTROL', `${participant} refuses: ${what}`, {
      outcome: 'rolled-back',
      gtrid: request.gtrid,
      hint,
    })
    this.doom({ code: 'STATEMENT_FAILED', reason: cause.message, retryable: false, cause })
    return cause
  }
}

/** What PostgreSQL answers. */
const TAGS = { savepoint: 'SAVEPOINT', release: 'RELEASE', 'rollback to': 'ROLLBACK' } as const

const STRENGTH: readonly IsolationLevel[] = [
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
]
