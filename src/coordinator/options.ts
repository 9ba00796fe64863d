/** What a coordinator is opened with. */
import { type Clock, type Random, systemClock, systemRandom } from '../clock.ts'
import type { SettleBehindOptions } from '../commit/behind.ts'
import { type Failpoints, noFailpoints } from '../failpoint.ts'
import { serveLive } from '../live/server.ts'
import type { FileSystem } from '../log/file-system.ts'
import { nodeFileSystem } from '../log/node-file-system.ts'
import type { Logger } from '../logger.ts'
import type { BudgetOptions } from '../participant/budget.ts'
import type { Participants } from '../participant/registry.ts'
import type { LogLocation } from './location.ts'

export interface CoordinatorOptions<P extends Participants> {
  /**
   * The decision log's directory, for one coordinator at a time; or `{ root }`, under which each
   * of several processes takes a log of its own. Created when it is missing.
   */
  readonly log: string | LogLocation
  /** The databases, by the name that `tx` and every record of them will use. */
  readonly participants: P
  /** A pino logger. Default: silent. */
  readonly logger?: Logger
  /** Deadline of a transaction that gives none, in ms. Default 30,000. */
  readonly timeoutMs?: number
  /** How long an enlistment waits for a connection while its transaction holds another, in ms. Default 5,000. */
  readonly acquireMs?: number
  /** How long a caller waits for its commit record to be durable, in ms. Default 5,000. */
  readonly forceMs?: number
  /** How long a caller waits for its branches to be settled, in ms. Default 5,000. */
  readonly settleMs?: number
  /** How long `open` waits for participants to answer, in ms. Default 1,000. */
  readonly contactMs?: number
  /** How long `open` waits for the first recovery of those that answered, in ms. Default 5,000. */
  readonly recoverMs?: number
  /** Between two recovery passes over a quiet participant, in ms. Default 5,000. */
  readonly recoveryIntervalMs?: number
  /**
   * How much may be unsettled in one participant before new work there is refused as retryable.
   * Default: `{ unsettled: 100, ageMs: Infinity }`. `false`: no limits.
   */
  readonly budget?: BudgetOptions | false
  /** How many transactions with `settle: 'behind'` may be settled behind at a time. Default: `{ max: 64 }`. */
  readonly settleBehind?: SettleBehindOptions
  /** @internal Clock, randomness, files, failpoints and the socket, for tests. */
  readonly seams?: Partial<Seams>
}

export interface CloseOptions {
  /**
   * How long running transactions may still take, in ms; those that are not decided then are rolled
   * back. Default 10,000. Closing may take some 10 s more when a database does not answer.
   */
  readonly drainMs?: number
}

/** What a test may give. Declarations of the package name it, so it is not internal to them. */
export interface Seams {
  readonly clock: Clock
  readonly random: Random
  readonly files: FileSystem
  readonly failpoints: Failpoints
  /** Listens on the socket in the log's directory; `undefined`: the command line cannot ask. */
  readonly listen: typeof serveLive | undefined
}

/** Those of the system, where no others are given. A fake disk holds no sockets. */
export function completeSeams(given: Partial<Seams> = {}): Seams {
  return {
    clock: systemClock,
    random: systemRandom,
    files: nodeFileSystem,
    failpoints: noFailpoints,
    listen: given.files === undefined && process.platform !== 'win32' ? serveLive : undefined,
    ...given,
  }
}
