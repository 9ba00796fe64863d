/**
 * What a command line says to the coordinator that holds its log, and what it hears: lines of JSON
 * over a socket, one request a connection.
 *
 *   ─► {"v":1,"request":"list","params":{"participant":"ledger"}}
 *   ◄─ {"v":1,"alive":true}                      while it works, so that silence means something
 *   ◄─ {"v":1,"part":{"transactions":[…]}}       any number: belongs to the end of the same-named array of the result
 *   ◄─ {"v":1,"result":{…}}                      or {"v":1,"error":{"code":…,"message":…,"hint":…}}
 *
 * Within a version requests and fields are added, never changed or removed.
 */
import { messageOf, UnanimousError } from '../errors.ts'
import type { LogOwner } from '../log/decision-log.ts'
import type { Inspection } from '../recovery/inspection.ts'
import type { Done } from '../recovery/once.ts'
import type { Postponed } from '../recovery/pass.ts'

export const LIVE_VERSION = 1

/** How a coordinator is. */
export interface LiveStatus {
  /** By its clock, in ms since the epoch. */
  readonly atMs: number
  readonly logId: string
  readonly directory: string
  readonly owner: LogOwner
  /**
   *  - `open`: begins transactions
   *  - `draining`: lets those that run end, and begins none
   *  - `stopped`: decides nothing any more, until the process is restarted
   */
  readonly state: 'open' | 'draining' | 'stopped'
  /** Why it is stopped. */
  readonly stoppedBy?: UnanimousError
  /** Transactions that have begun and not ended. */
  readonly running: number
  /** The age of the oldest of them, in ms. */
  readonly oldestRunningMs?: number
  /** Commit decisions that the log keeps: some branch has not answered, or heuristically. */
  readonly decisions: number
  readonly participants: readonly LiveParticipant[]
}

export interface LiveParticipant {
  readonly name: string
  /** Whether recovery could list it last; unknown before its first answer. */
  readonly reachable?: boolean
  /** Branches whose end is left to recovery. */
  readonly unsettled: number
  /** Since the decision of the oldest branch that has not ended, in ms. */
  readonly oldestMs?: number
  /** Whether more is unsettled than the budget allows: new work there is refused. */
  readonly refusing: boolean
}

/** A transaction that runs, whether or not it has prepared anything. */
export interface LiveRunning {
  readonly gtrid: string
  readonly name?: string
  readonly state: string
  readonly ageMs: number
  /** Those that it has enlisted. */
  readonly participants: readonly string[]
}

/** What recovery did on request. */
export interface LiveRecovered {
  /** In the order in which it happened. */
  readonly done: readonly Done[]
  /** What the last pass could not settle yet; absent where the coordinator is of an earlier version. */
  readonly unsettled?: readonly Postponed[]
  /** What is left. */
  readonly inspection: Inspection
}

/** What draining came to. */
export interface DrainReport {
  /** Transactions that were running when it began, and ended by themselves in time. */
  readonly ended: number
  /** Those that were aborted because the time was over. */
  readonly aborted: number
  /** Those that still run: their decision is on its way to the disk, or a database does not answer. */
  readonly running: number
  /** Transactions with a branch that has not ended: the next coordinator on this log settles them. */
  readonly left: number
}

/** Each request with its parameters and its answer. */
export interface LiveRequests {
  readonly status: { readonly params: object; readonly result: LiveStatus }
  readonly list: { readonly params: { readonly participant?: string }; readonly result: Inspection }
  /** Transactions whose id begins so, and those of them that run. */
  readonly show: {
    readonly params: { readonly id: string }
    readonly result: { readonly inspection: Inspection; readonly running: readonly LiveRunning[] }
  }
  /** Recovers now rather than at the next turn, and tries again for `waitMs` (default 0). */
  readonly recover: {
    readonly params: { readonly participant?: string; readonly waitMs?: number }
    readonly result: LiveRecovered
  }
  /** Begins nothing any more and ends what runs, by itself for `drainMs` (default 10,000). */
  readonly drain: { readonly params: { readonly drainMs?: number }; readonly result: DrainReport }
}

export type LiveRequest = keyof LiveRequests

/** Pieces of the arrays of a result, by the array's name. */
export type Part = Readonly<Record<string, readonly unknown[]>>

/** A line of an answer. */
export type Reply =
  | { readonly v: number; readonly alive: true }
  | { readonly v: number; readonly part: Part }
  | { readonly v: number; readonly result: unknown }
  | { readonly v: number; readonly error: UnanimousError }

/** A line, with its end. Errors inside travel by code, message and hint. */
export function encodeLine(body: object): string {
  return `${JSON.stringify({ v: LIVE_VERSION, ...body }, (_key, value: unknown) =>
    value instanceof UnanimousError
      ? { $error: { code: value.code, message: value.message, hint: value.hint } }
      : value,
  )}\n`
}

/** @throws UnanimousError INVALID_OPTION for a line that is no JSON object of this version */
export function decodeLine(line: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(line, (_key, each: unknown) => reviveError(each))
  } catch (cause) {
    throw new UnanimousError('INVALID_OPTION', `a line is no JSON: ${messageOf(cause)}`, { cause })
  }
  if (!isRecord(value)) throw new UnanimousError('INVALID_OPTION', 'a line is no JSON object')
  if (value['v'] !== LIVE_VERSION) {
    throw new UnanimousError('INVALID_OPTION', `a line is of version ${String(value['v'])}`, {
      hint: `This side speaks version ${LIVE_VERSION}: use the command line of the application's own version of unanimous.`,
    })
  }
  return value
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function reviveError(value: unknown): unknown {
  if (!isRecord(value) || !isRecord(value['$error'])) return value
  const { code, message, hint } = value['$error']
  return new UnanimousError(code as UnanimousError['code'], String(message), {
    hint: typeof hint === 'string' ? hint : undefined,
  })
}
