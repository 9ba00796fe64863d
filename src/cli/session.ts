/** A configuration in use: its participants, its log, and what they have to say. */
import { resolve } from 'node:path'
import { UnanimousError } from '../errors.ts'
import { Events } from '../events.ts'
import { askLive } from '../live/client.ts'
import type { LiveRequest, LiveRequests, Part } from '../live/wire.ts'
import type { LogSnapshot } from '../log/decision-log.ts'
import { nodeFileSystem } from '../log/node-file-system.ts'
import { LogReader } from '../log/read-log.ts'
import { createRegistry, type Registry } from '../participant/registry.ts'
import { withHolds } from '../recovery/holds.ts'
import {
  type Choose,
  type InspectOptions,
  inspect,
  narrowed,
  type Survey,
  survey,
} from '../recovery/inspect.ts'
import type {
  InspectedParticipant,
  InspectedTransaction,
  Inspection,
} from '../recovery/inspection.ts'
import { type LoadedConfig, loadConfig } from './config.ts'
import { type Io, messageLines } from './io.ts'

export interface SessionOptions {
  readonly config?: string | undefined
  /** A log directory in place of the configuration's. */
  readonly log?: string | undefined
  readonly participant?: string | undefined
}

/** How long a participant may take to say what it holds, in ms. */
export const ANSWER_MS = 5_000

export class Session {
  readonly config: LoadedConfig
  readonly registry: Registry
  readonly events: Events
  /** The only participant that is asked. */
  readonly only: string | undefined
  readonly #io: Io
  readonly #log: LogReader
  /** The coordinator did not answer: it is not waited for again. */
  #isSilent = false

  constructor(io: Io, config: LoadedConfig, only: string | undefined) {
    this.#io = io
    this.config = config
    this.#log = new LogReader(config.log.directory, nodeFileSystem)
    this.only = only
    this.events = new Events()
    this.events.on('participant:warning', ({ message, hint }) =>
      io.err(messageLines(`warning: ${message}`, hint)),
    )
    this.registry = createRegistry(config.participants, io.clock, this.events)
    if (only !== undefined && !this.registry.has(only)) {
      throw new UnanimousError('PARTICIPANT_UNKNOWN', `no participant is named ${only}`, {
        hint: `${config.file} has ${[...this.registry.keys()].join(', ')}.`,
      })
    }
  }

  /**
   * What the log holds now.
   *
   * @throws UnanimousError LOG_UNREADABLE or LOG_CORRUPT
   */
  readLog(): Promise<LogSnapshot> {
    return this.#explained(() => this.#log.read())
  }

  async #markLog(): Promise<() => Promise<LogSnapshot | undefined>> {
    const read = await this.#explained(() => this.#log.mark())
    return () => this.#explained(read)
  }

  async #explained<T>(read: () => Promise<T>): Promise<T> {
    const { directory } = this.config.log
    try {
      return await read()
    } catch (cause) {
      if (!(cause instanceof UnanimousError) || cause.code !== 'LOG_UNREADABLE') throw cause
      const missing = (await nodeFileSystem.stat(directory)) === undefined
      const message = missing ? `there is no log directory ${directory}` : cause.message
      throw new UnanimousError('LOG_UNREADABLE', message, {
        hint: cause.hint !== undefined && !missing ? cause.hint : this.#whereIsTheLog(),
        cause,
      })
    }
  }

  /**
   * What the coordinator that holds the log says: it alone knows what is live. `undefined` when none
   * runs, or when it does not answer, which is told to stderr.
   *
   * @throws UnanimousError what the coordinator refuses with
   */
  async ask<N extends LiveRequest>(
    request: N,
    params: LiveRequests[N]['params'],
    onPart: (part: Part) => void = () => undefined,
  ): Promise<LiveRequests[N]['result'] | undefined> {
    const { directory } = this.config.log
    if (this.#isSilent) return undefined
    try {
      const answer = await askLive(directory, request, params, { clock: this.#io.clock, onPart })
      return answer.kind === 'answered' ? answer.result : undefined
    } catch (cause) {
      if (!(cause instanceof UnanimousError) || cause.code !== 'COORDINATOR_UNREACHABLE')
        throw cause
      this.#io.err(messageLines(`warning: ${cause.message}`, cause.hint))
      this.#isSilent = true
      return undefined
    }
  }

  /**
   * Looks at everything, changes nothing: through the coordinator that holds the log, or without it.
   * Participants that could not be asked are told to stderr.
   *
   * @param how - `at a glance`: whether participants are fit for recovery is not asked
   */
  async inspect(how: 'thoroughly' | 'at a glance' = 'thoroughly'): Promise<Inspection> {
    const inspection = (await this.#ask()) ?? (await inspect(this.#inspectOptions(how)))
    this.tellTroubles(inspection.participants)
    return inspection
  }

  /** As {@link inspect} at a glance, with the evidence of what is chosen, and so many of what is apart. */
  async survey(choose: Choose, most: number): Promise<Survey> {
    const live = await this.#ask()
    const seen =
      live === undefined
        ? await survey(this.#inspectOptions('at a glance'), choose, most)
        : narrowed(live, choose, most)
    this.tellTroubles(seen.inspection.participants)
    return seen
  }

  async #ask(): Promise<Inspection | undefined> {
    const only = this.only === undefined ? {} : { participant: this.only }
    const live = await this.ask('list', only)
    return live === undefined ? undefined : this.placed(live)
  }

  /** A coordinator answers from memory; where the log has it, and what operators did, is in its files. */
  async placed(inspection: Inspection): Promise<Inspection> {
    const snapshot = await this.readLog()
    const transactions = inspection.transactions.map((each) => {
      const place = snapshot.placeOf?.(each.gtrid)
      return place === undefined ? each : { ...each, place }
    })
    return { ...inspection, transactions, operators: snapshot.operators ?? [] }
  }

  /** With what the transactions that will be shown keep from others. */
  withHolds(inspection: Inspection, shown: readonly InspectedTransaction[]): Promise<Inspection> {
    const { registry } = this
    return withHolds(inspection, { registry, clock: this.#io.clock, answerMs: ANSWER_MS, shown })
  }

  #inspectOptions(how: 'thoroughly' | 'at a glance'): InspectOptions {
    return {
      registry: this.registry,
      clock: this.#io.clock,
      readLog: () => this.readLog(),
      markLog: () => this.#markLog(),
      answerMs: ANSWER_MS,
      only: this.only,
      atAGlance: how === 'at a glance',
    }
  }

  /** Tells stderr which participants could not be asked, and why. */
  tellTroubles(participants: readonly InspectedParticipant[]): void {
    for (const { name, trouble } of participants) {
      if (trouble === undefined) continue
      const message = trouble.message.startsWith(name)
        ? trouble.message
        : `${name}: ${trouble.message}`
      this.#io.err(messageLines(`warning: ${message}`, trouble.hint))
    }
  }

  #whereIsTheLog(): string {
    return `The application makes it when it first opens a coordinator. If it has run, \`log\` in ${this.config.file} names another directory than the application does.`
  }

  async close(): Promise<void> {
    const closed = [...this.registry.values()].map((one) => one.close())
    await Promise.allSettled(closed)
    await this.config.close().catch((cause: unknown) => {
      this.#io.err(
        messageLines(`warning: close() of the configuration: ${String(cause)}`, undefined),
      )
    })
  }
}

/**
 * Runs work with the configuration in use, and lets go of it whatever happens.
 *
 * @throws UnanimousError CONFIG_INVALID, INVALID_OPTION or PARTICIPANT_UNKNOWN, and what the work throws
 */
export async function withSession<T>(
  io: Io,
  options: SessionOptions,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const loaded = await loadConfig(io.cwd, options.config)
  const config =
    options.log === undefined
      ? loaded
      : { ...loaded, log: { ...loaded.log, directory: resolve(io.cwd, options.log) } }
  const session = await start(io, config, options.participant)
  try {
    return await work(session)
  } finally {
    await session.close()
  }
}

async function start(io: Io, config: LoadedConfig, only: string | undefined): Promise<Session> {
  try {
    return new Session(io, config, only)
  } catch (cause) {
    await config.close().catch(() => undefined)
    throw cause
  }
}
