/**
 * What is known of the server behind a participant: learned on its own connection, judged, and
 * learned again when the server is another one or has started again.
 *
 * Invariants:
 *  1. What is known was read on the connection that is in use: a new own connection is asked first.
 *  2. A session of the pool on another server, or another life of it, than is known makes us look
 *     again before a branch begins there; if ours leads elsewhere still, the branch is refused, for
 *     it would be prepared where recovery does not look.
 *  3. What is unwise is warned of once.
 */
import {
  type Capabilities,
  type Examination,
  type ParticipantWarning,
  type ServerIdentity,
  type Settlement,
  UnanimousError,
} from '../../src/adapter.ts'
import { refuseUnfit, warningOf } from './findings.ts'
import type { Lane } from './lane.ts'

/** To a decision that is meant for one server alone. */
export const OTHER_SERVER: Settlement = {
  kind: 'other-server',
  cause: new Error('another server is there than the one that prepared the branch'),
}

/** What was read of a server, and what it means. */
export interface Learned extends Examination {
  /** `undefined` when the server does not tell; it is unfit then. */
  readonly identity: ServerIdentity | undefined
}

export interface ContactOptions<C extends object, L extends Learned> {
  readonly participant: string
  readonly lane: Lane<C>
  /** Runs on the own connection; throws what the lane and the server throw. */
  readonly ask: <T>(work: (own: C) => Promise<T>) => Promise<T>
  /** Reads everything; throws no finding. */
  readonly look: (own: C) => Promise<L>
  readonly isSameLife: (one: ServerIdentity, other: ServerIdentity) => boolean
  readonly warn: (warning: ParticipantWarning) => void
}

export class Contact<C extends object, L extends Learned> {
  readonly #options: ContactOptions<C, L>
  readonly #told = new Set<string>()
  #learning: Promise<L> | undefined
  /** What was judged last, and found fit. */
  #fit: Promise<L> | undefined
  #latest: { readonly own: C; readonly learned: L } | undefined

  constructor(options: ContactOptions<C, L>) {
    this.#options = options
  }

  /** What was learned last; `undefined` before the first contact. */
  get known(): L | undefined {
    return this.#latest?.learned
  }

  /** What is known, judged or not. Concurrent calls share one attempt. */
  learn(): Promise<L> {
    if (this.#learning !== undefined) return this.#learning
    const attempt = this.#options.ask((own) => this.#look(own))
    this.#learning = attempt
    attempt.catch(() => {
      if (this.#learning === attempt) this.#learning = undefined
    })
    return attempt
  }

  /** What is known on this own connection; call inside the lane's work. */
  async on(own: C): Promise<L> {
    if (this.#latest?.own === own) return this.#latest.learned
    const learned = await this.#look(own)
    this.#learning = Promise.resolve(learned)
    return learned
  }

  /** @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT */
  async fit(): Promise<Capabilities> {
    const { participant, warn } = this.#options
    const learning = this.learn()
    const { server, markers, findings, identity } = await learning
    refuseUnfit(participant, findings)
    for (const finding of findings) {
      const { code, severity, message } = finding
      const key = `${identity?.server} ${code} ${severity === 'unread' ? message : ''}`
      if (severity === 'allowed' || this.#told.has(key)) continue
      this.#told.add(key)
      warn(warningOf(participant, finding))
    }
    this.#fit = learning
    return { server, markers }
  }

  /** Whether {@link fit} would say nothing new: it was asked, and nothing was learned since. */
  get isFit(): boolean {
    return this.#fit !== undefined && this.#fit === this.#learning
  }

  /** What is known may be out of date. */
  forget(): void {
    this.#learning = undefined
  }

  /** @throws UnanimousError PARTICIPANT_UNREACHABLE */
  examine(): Promise<L> {
    this.forget()
    return this.learn()
  }

  /**
   * A session of the pool says which server it is on.
   *
   * @throws UnanimousError PARTICIPANT_UNREACHABLE or PARTICIPANT_UNFIT
   */
  async confirm(seen: ServerIdentity): Promise<void> {
    const attempt = this.learn()
    if (this.#matches(await attempt, seen)) return
    // Somebody else may be looking again already.
    if (this.#learning === attempt) {
      this.forget()
      this.#options.lane.renew()
    }
    await this.fit()
    if (this.#matches(await this.learn(), seen)) return
    throw new UnanimousError(
      'PARTICIPANT_UNFIT',
      `${this.#options.participant}: the pool leads to more than one server`,
      { hint: 'give each server a pool and a participant of its own' },
    )
  }

  #matches({ identity }: L, seen: ServerIdentity): boolean {
    return identity !== undefined && this.#options.isSameLife(identity, seen)
  }

  async #look(own: C): Promise<L> {
    const learned = await this.#options.look(own)
    this.#latest = { own, learned }
    return learned
  }
}
