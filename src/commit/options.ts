/** What a caller may say about one transaction, and its validation. */
import { TransactionError } from '../errors.ts'
import { MAX_META_BYTES, MAX_NAME_BYTES } from '../log/decision-log.ts'
import type { IsolationChoice } from '../participant/participant.ts'
import type { IsolationLevel } from '../protocol/vocabulary.ts'
import { type CheckedRetry, completeRetry, type RetryOptions, refusedRetry } from './retry.ts'

export interface TransactionOptions<Names extends string = string> {
  /** What the transaction does, for operators: `transfer`. At most 128 bytes. */
  readonly name?: string
  /** A business key for operators, logged as JSON. At most 1 KiB. */
  readonly meta?: Readonly<Record<string, unknown>>
  /**
   * Milliseconds until the transaction is aborted, unless its decision was handed to the log
   * before. Default: the coordinator's `timeoutMs`, 30,000. `Infinity`: never.
   */
  readonly timeoutMs?: number
  /** One level for every branch, or a level by participant. Default: the server's. */
  readonly isolation?: IsolationChoice<Names>
  /** Participants that are only read: their server refuses writes, and they need no prepare. */
  readonly readOnly?: readonly Names[]
  /** Aborts the transaction like its deadline does, and ends the attempts. */
  readonly signal?: AbortSignal
  /**
   * Runs the whole callback again when it was rolled back for a cause that may not come again
   * (`retryable`): a deadlock, a lock wait, a serialization failure, no connection in time. Each
   * attempt is a new transaction, and `timeoutMs` is for each. What joins a transaction is run again
   * only with it. Default: one attempt.
   */
  readonly retry?: RetryOptions
  /**
   * Inside a transaction: `join` it, run behind a savepoint of it (`nested`), or begin a `new` one of
   * its own. What joins or is nested has name, meta, deadline, signal, read-only participants and
   * settlement of the transaction around it. Outside of one, each begins a new one. Default: `join`.
   */
  readonly propagation?: Propagation
  /**
   * When the caller hears of a commit in more than one database: once its branches are settled, or were
   * waited for (`awaited`), or once the decision is durable, its branches being settled `behind` the
   * answer. Then the caller may not read its own writes yet, rows are locked a moment longer than it
   * waits, and a heuristic is the event `branch:heuristic` instead of an error. While as many are behind
   * as the coordinator's `settleBehind.max`, and where a branch carries a marker row, it is `awaited` all
   * the same. Default: `awaited`.
   */
  readonly settle?: Settle
}

export type Propagation = 'join' | 'nested' | 'new'
export type Settle = 'awaited' | 'behind'

export interface CheckedOptions {
  readonly name: string | undefined
  readonly meta: string | undefined
  readonly timeoutMs: number
  isolation(participant: string): IsolationLevel | undefined
  isReadOnly(participant: string): boolean
  readonly signal: AbortSignal | undefined
  readonly retry: CheckedRetry
  readonly propagation: Propagation
  readonly settle: Settle
}

const LEVELS: readonly string[] = [
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
] satisfies IsolationLevel[]
const PROPAGATIONS: readonly string[] = ['join', 'nested', 'new'] satisfies Propagation[]
const SETTLES: readonly string[] = ['awaited', 'behind'] satisfies Settle[]
/** Longest delay of a timer, in ms. */
const MAX_TIMEOUT_MS = 2_147_483_647

/** Of the participants: a set of them, or their registry. */
export type Names = Pick<ReadonlySet<string>, 'has' | 'keys'>

/**
 * Checks and completes the options of a transaction.
 *
 * @throws TransactionError INVALID_OPTION or PARTICIPANT_UNKNOWN; nothing has begun
 */
export function checkOptions(
  options: TransactionOptions,
  names: Names,
  defaultTimeoutMs: number,
): CheckedOptions {
  const { name, isolation, readOnly = [], signal, timeoutMs = defaultTimeoutMs } = options
  if (name !== undefined && typeof name !== 'string') {
    refuse('the name of the transaction is not a text', 'Give what the transaction does.')
  }
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    refuse('signal is not an AbortSignal', 'Give the `signal` of an AbortController.')
  }
  if (name !== undefined && Buffer.byteLength(name) > MAX_NAME_BYTES) {
    refuse('the name of the transaction is too long', `A name has at most ${MAX_NAME_BYTES} bytes.`)
  }
  if (!(timeoutMs > 0 && (timeoutMs <= MAX_TIMEOUT_MS || timeoutMs === Number.POSITIVE_INFINITY))) {
    refuse(
      `timeoutMs cannot be ${timeoutMs}`,
      `Give milliseconds from 1 to ${MAX_TIMEOUT_MS}, or Infinity.`,
    )
  }
  const wrongRetry = options.retry === undefined ? undefined : refusedRetry(options.retry)
  if (wrongRetry !== undefined) {
    refuse(wrongRetry, 'Give `{ attempts }` from 1 to 1000, and pauses in ms, the shortest first.')
  }
  const { propagation = 'join', settle = 'awaited' } = options
  if (!PROPAGATIONS.includes(propagation)) {
    refuse(`there is no propagation ${String(propagation)}`, `One of: ${PROPAGATIONS.join(', ')}.`)
  }
  if (!SETTLES.includes(settle)) {
    refuse(`there is no settle ${String(settle)}`, `One of: ${SETTLES.join(', ')}.`)
  }
  const declared = [...readOnly]
  for (const participant of declared) checkName(participant, names)
  return {
    name,
    meta: encodeMeta(options.meta),
    timeoutMs,
    isolation: isolation === undefined ? none : checkIsolation(isolation, names),
    isReadOnly: (participant) => declared.includes(participant),
    signal,
    retry: completeRetry(options.retry),
    propagation,
    settle,
  }
}

const none = (): undefined => undefined

function checkIsolation(
  isolation: IsolationChoice | undefined,
  names: Names,
): CheckedOptions['isolation'] {
  const levels = typeof isolation === 'string' ? {} : (isolation ?? {})
  for (const participant of Object.keys(levels)) checkName(participant, names)
  for (const level of typeof isolation === 'string' ? [isolation] : Object.values(levels)) {
    if (level !== undefined && !LEVELS.includes(level)) {
      refuse(`there is no isolation level ${level}`, `One of: ${LEVELS.join(', ')}.`)
    }
  }
  return (participant) => (typeof isolation === 'string' ? isolation : levels[participant])
}

/**
 * The error for a participant that is not configured.
 *
 * @param gtrid - empty when no transaction has begun
 */
export function unknownParticipant(name: string, names: Names, gtrid: string): TransactionError {
  return new TransactionError('PARTICIPANT_UNKNOWN', `no participant is named ${name}`, {
    outcome: 'rolled-back',
    gtrid,
    hint: `Configured: ${[...names.keys()].join(', ')}.`,
  })
}

function checkName(name: string, names: Names): void {
  if (!names.has(name)) throw unknownParticipant(name, names, '')
}

function encodeMeta(meta: Readonly<Record<string, unknown>> | undefined): string | undefined {
  if (meta === undefined) return undefined
  let text: string | undefined
  try {
    text = JSON.stringify(meta) as string | undefined
  } catch (cause) {
    refuse('meta cannot be written as JSON', 'Give plain values without cycles.', cause)
  }
  if (text === undefined) refuse('meta cannot be written as JSON', 'Give a plain object.')
  if (Buffer.byteLength(text) > MAX_META_BYTES) {
    refuse('meta is too long', `Its JSON text has at most ${MAX_META_BYTES} bytes.`)
  }
  return text
}

function refuse(message: string, hint: string, cause?: unknown): never {
  throw new TransactionError('INVALID_OPTION', message, {
    outcome: 'rolled-back',
    gtrid: '',
    hint,
    cause,
  })
}
