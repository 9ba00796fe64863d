/**
 * What the contract suite needs to know of a database and its driver. One harness stands for one
 * adapter on one server.
 */
import type { Participant } from '../../src/adapter.ts'
import { type Branch, type BranchRequest, systemClock } from '../../src/adapter.ts'
import type { WireProxy } from './wire-proxy.ts'

export type Row = Readonly<Record<string, unknown>>

export interface OpenOptions {
  /** The participant's name. Default: the harness's own choice. */
  readonly name?: string
  /** Whether the table of marker rows exists. Default: no. */
  readonly markers?: boolean
  /** Connections of the pool. Default: 3. */
  readonly poolSize?: number
  /** Several statements may travel in one packet, where the driver has a switch for it. */
  readonly merges?: boolean
  readonly answerMs?: number
  /** Default: the adapter's own. */
  readonly lockTimeoutMs?: number
  /** The case closes the participant itself. */
  readonly closes?: boolean
}

/** A participant over a pool of its own, behind a proxy that can cut its connections. */
export interface Opened {
  readonly participant: Participant
  readonly warnings: readonly string[]
  readonly proxy: WireProxy
  /** Runs a statement through a branch's handle, as an application would. */
  run(branch: Branch, text: string): Promise<readonly Row[]>
  /** Runs a text on a connection of the pool and gives it back as it is: a careless borrower. */
  leak(text: string): Promise<readonly Row[]>
  pool(): PoolCounts
  close(): Promise<void>
}

export interface PoolCounts {
  readonly total: number
  readonly idle: number
  /** Listeners for `error` and `end` on the pool's idle connections, all together. */
  readonly listeners: number
}

/** A connection of the test's own. */
export interface RawSession {
  run(text: string): Promise<readonly Row[]>
  close(): void
}

export interface ContractHarness {
  open(options?: OpenOptions): Promise<Opened>
  /** As the superuser, in the test's database. */
  session(): Promise<RawSession>
  /** A statement that answers its own session's id as `id`. */
  readonly sessionId: string
  /** A statement that takes this many seconds. */
  sleep(seconds: number): string
  killSession(id: unknown): string
  /** The rows in what the driver answers to a statement; none for one that answers none. */
  rowsOf(answer: unknown): readonly Row[]
  /** A statement that answers how long its session waits for locks. */
  readonly lockWaits: string
  /** What phase one, and what a commit without it, are called on the wire. */
  readonly verbs: { readonly prepare: string; readonly commitOnePhase: string; commit: string }
  /** A statement after whose failure the branch cannot commit; what comes before it, and where. */
  readonly dooming: {
    readonly statement: string
    readonly inBranch: readonly string[]
    readonly elsewhere: readonly string[]
  }
  /** Transaction control that must be refused before anything is sent. */
  readonly control: readonly string[]
  /** Statements that look like transaction control and must pass, in this order. */
  readonly allowed: readonly string[]
  /** Prepares a branch that is not ours, and answers its verbs. */
  foreign(session: RawSession, name: string): Promise<{ readonly rollback: string }>
  /** Locks the marker table against inserts until the session is closed. */
  lockMarkers(holder: RawSession): Promise<void>
  /** Whether the transaction id of a branch proves how it ended. */
  readonly hasTransactionIds: boolean
  /** Whether a PREPARE may wait in the server behind a blocked statement of the same packet (T4). */
  readonly votesInOnePacket: boolean
}

const LOG_ID = Array.from({ length: 16 }, () => Math.floor(Math.random() * 10)).join('')
export const GTRID_PREFIX: string = `una1-${LOG_ID}-1.01234567-`
let sequence = 0

/** What a transaction would ask a participant for; a gtrid of its own unless one is given. */
export function requestOf(asked: Partial<BranchRequest> = {}): BranchRequest {
  sequence += 1
  return {
    gtrid: GTRID_PREFIX + sequence.toString(36),
    isolation: undefined,
    readOnly: false,
    enlist: () => 10_000,
    savepoints: () => [],
    seat: async () => ({
      taken: () => undefined,
      left: () => undefined,
      onceHeld: () => undefined,
    }),
    outside: (work) => work(),
    ...asked,
  }
}

/** A branch as a transaction would ask for it. */
export function branchOf(opened: Opened, asked: Partial<BranchRequest> = {}): Branch {
  return opened.participant.branch(requestOf(asked))
}

export const sealed = (): Error => new Error('sealed')

/** Waits until the answer is yes, for at most ten seconds; asks again after `everyMs`, by default 20. */
export async function eventually(
  what: string,
  ask: () => Promise<boolean>,
  everyMs = 20,
): Promise<void> {
  const until = systemClock.monotonic() + 10_000
  while (!(await ask())) {
    if (systemClock.monotonic() > until) throw new Error(`never came true: ${what}`)
    await pause(everyMs)
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
