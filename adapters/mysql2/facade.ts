/**
 * A `mysql2` connection over a branch: the core of what the application holds as `tx.<name>`, and
 * what the ambient pool's `getConnection` answers. Several of them share the branch's one connection;
 * each balances its own transactions, which are savepoints there.
 *
 * `query` and `execute` do what the pool's own do, over a lease of the branch's connection instead of a
 * connection: the driver makes the commands. (To run the pool's own, over an object made like a pool for
 * each statement, left V8 a class, and a closure old at once, of every statement.) What ends or resets a
 * connection would end the branch with it, so it is refused, or, where nothing can be answered, has no
 * effect.
 */
import { EventEmitter } from 'node:events'
import { Connection } from 'mysql2'
import * as promises from 'mysql2/promise'
import { UnanimousError } from '../../src/adapter.ts'
import { newClient } from '../dialect/nesting.ts'
import type { Turn } from '../dialect/turn.ts'
import type { MysqlCommand, MysqlCorePool, MysqlDone, MysqlHandle } from './driver-types.ts'
import { mergesFirst } from './first.ts'
import { Lease, type LeaseHost, OpenResult } from './lease.ts'
import type { Session } from './pool.ts'

export interface FacadeHost extends LeaseHost {
  readonly participant: string
  /** Whose configuration the statements have. */
  readonly corePool: MysqlCorePool
  /** The branch's connection, as long as the branch was not begun on the server. */
  unbegun(): Session | undefined
  /** The server's id of the branch's connection, once it has one. */
  threadId(): number | null
}

/** Makes the command of a `query`, whatever form its arguments have. */
const { createQuery } = Connection as unknown as {
  createQuery(
    this: void,
    sql: unknown,
    values: unknown,
    done: unknown,
    config: object,
  ): MysqlCommand
}

const CORE = Connection.prototype as unknown as {
  execute(sql: unknown, values: unknown): MysqlCommand
  format(...args: unknown[]): string
  _resolveNamedPlaceholders(...args: unknown[]): void
}

/** Under this name since mysql2 3.15; `PoolConnection`, which its types know, came later. */
const { PromisePoolConnection } = promises as unknown as {
  readonly PromisePoolConnection: new (
    core: object,
    promise: PromiseConstructor | undefined,
  ) => MysqlHandle
}

type Take = (cause: unknown, connection?: Lease) => void

export class BranchConnection extends EventEmitter {
  readonly #host: FacadeHost
  readonly #client = newClient()

  constructor(host: FacadeHost) {
    super()
    this.#host = host
  }

  get config(): object {
    return this.#host.corePool.config.connectionConfig
  }

  get threadId(): number | null {
    return this.#host.threadId()
  }

  query(sql: unknown, values?: unknown, done?: MysqlDone): MysqlCommand {
    const { connectionConfig } = this.#host.corePool.config
    const command = createQuery(sql, values, done, connectionConfig)
    command.namedPlaceholders ??= connectionConfig['namedPlaceholders']
    const heard = command.onResult !== undefined
    const result = heard ? undefined : new OpenResult()
    const tell = (cause: unknown): void => {
      if (command.onResult !== undefined) command.onResult(cause)
      else command.emit('error', cause)
    }
    this.#lease(
      textOf(sql),
      result,
      (cause, lease) => {
        if (lease === undefined) return tell(cause)
        try {
          lease.query(command).once('end', () => lease.release())
        } catch (mistake) {
          lease.release()
          tell(mistake)
        }
      },
      heard,
    )
    result?.watch(command)
    return command
  }

  execute(sql: unknown, values?: unknown, done?: MysqlDone): MysqlCommand | undefined {
    const heard = typeof values === 'function' ? (values as MysqlDone) : done
    if (heard === undefined) return this.#executeAsEvents(sql, values)
    this.#lease(textOf(sql), undefined, (cause, lease) => {
      if (lease === undefined) return heard(cause)
      try {
        const given = typeof values === 'function' ? [] : values
        lease.execute(sql, given, heard).once('end', () => lease.release())
      } catch (mistake) {
        lease.release()
        heard(mistake)
      }
    })
    return undefined
  }

  /** A pool's `execute` needs a callback; a connection's reports by events, or as a stream, without. */
  #executeAsEvents(sql: unknown, values: unknown): MysqlCommand {
    const made: MysqlCommand[] = []
    const maker = {
      config: this.config,
      addCommand: (command: MysqlCommand) => made.push(command),
      _resolveNamedPlaceholders: (...args: unknown[]) => this._resolveNamedPlaceholders(...args),
    }
    const command = CORE.execute.call(maker, sql, values)
    const result = new OpenResult()
    result.watch(command)
    this.#lease(textOf(sql), result, (cause, lease) => {
      if (lease !== undefined) lease.executeAsEvents(made, command)
      else fail(command, cause)
    })
    return command
  }

  beginTransaction(done?: MysqlDone): MysqlCommand {
    return this.query('START TRANSACTION', done)
  }

  commit(done?: MysqlDone): MysqlCommand {
    return this.query('COMMIT', done)
  }

  rollback(done?: MysqlDone): MysqlCommand {
    return this.query('ROLLBACK', done)
  }

  /** A connection that died tells at the next statement; a ping alone enlists nothing. */
  ping(done?: MysqlDone): void {
    if (done !== undefined) process.nextTick(done, null)
  }

  connect(done?: MysqlDone): void {
    if (done !== undefined) process.nextTick(done, null)
  }

  /** What was begun here and not ended is rolled back; the connection is the branch's. */
  release(): void {
    this.#host.gate.release(this.#client)
  }

  destroy(): void {
    this.release()
  }

  end(done?: MysqlDone): void {
    this.release()
    if (done !== undefined) process.nextTick(done, null)
  }

  prepare(_options: unknown, done?: MysqlDone): void {
    this.#refuse('prepare', done)
  }

  changeUser(_options: unknown, done?: MysqlDone): void {
    this.#refuse('changeUser', done)
  }

  reset(done?: MysqlDone): void {
    this.#refuse('reset', done)
  }

  /** Without effect, like `pause` and `resume`: the connection is not this client's alone. */
  unprepare(): void {}

  pause(): void {}

  resume(): void {}

  /** With named placeholders and a `queryFormat`, which the pool's own knows nothing of. */
  format(...args: unknown[]): string {
    return CORE.format.apply(this, args)
  }

  /** mysql2's promises run its `format` on us. */
  _resolveNamedPlaceholders(...args: unknown[]): void {
    CORE._resolveNamedPlaceholders.apply(this, args)
  }

  escape(value: unknown): string {
    return this.#host.corePool.escape(value)
  }

  escapeId(value: unknown): string {
    return this.#host.corePool.escapeId(value)
  }

  promise(promise?: PromiseConstructor): MysqlHandle {
    return promised(this, promise)
  }

  /** @param merges - the first statement may go in one packet with XA START */
  #lease(text: unknown, result: OpenResult | undefined, take: Take, merges = false): void {
    const { gate } = this.#host
    gate.turn(this.#client, text, result !== undefined).then(
      (turn) => {
        result?.took(turn)
        const unbegun = this.#host.unbegun()
        const plain = (turn.instead?.texts.length ?? 0) <= 1
        if (unbegun === undefined || (merges && plain && mergesFirst(unbegun))) {
          this.#give(turn, text, take)
          return
        }
        this.#host.begin().then(
          () => this.#give(turn, text, take),
          (cause: unknown) => refuse(turn, take, cause),
        )
      },
      (cause: unknown) => take(cause),
    )
  }

  #give(turn: Turn, text: unknown, take: Take): void {
    let lease: Lease
    try {
      lease = new Lease(this.#host, turn, text)
    } catch (cause) {
      refuse(turn, take, cause)
      return
    }
    take(null, lease)
  }

  #refuse(what: string, done: MysqlDone | undefined): void {
    const { participant } = this.#host
    const cause = new UnanimousError('INVALID_OPTION', `${participant}: no ${what}() in a branch`, {
      hint: 'use query or execute; step out with coordinator.outside(fn)',
    })
    if (done !== undefined) process.nextTick(done, cause)
  }
}

/** The promise connection that mysql2 itself would make of it. */
export function facade(host: FacadeHost): MysqlHandle {
  return promised(new BranchConnection(host))
}

function promised(core: BranchConnection, promise?: PromiseConstructor): MysqlHandle {
  return new PromisePoolConnection(core, promise)
}

function refuse(turn: Turn, take: Take, cause: unknown): void {
  turn.end(false)
  take(cause)
}

function fail(command: MysqlCommand, cause: unknown): void {
  process.nextTick(() => {
    command.emit('error', cause)
    command.emit('end')
  })
}

function textOf(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || !('sql' in config)) return config
  return config.sql
}
