/**
 * What makes a lost log survivable (PROOF.md §5): before a transaction's first prepare, the table
 * `unanimous_log` in each of its participants durably names all of them for this incarnation.
 *
 *   1. each participant names itself        so whoever is named anywhere holds rows of its own
 *   2. each participant names all of them
 *
 * Invariants:
 *  1. What a participant's tables were at its first use in this incarnation they remain, for us: tables
 *     that come later announce nothing, for its earlier branches carried no marker.
 *  2. A failure is forgotten and tried again by the next transaction.
 *  3. A set of participants that was announced once costs nothing any more.
 */
import { formatIncarnation, type Incarnation } from '../xid.ts'
import type { Participant } from './participant.ts'
import type { Registry } from './registry.ts'

/** A participant that could not be told. */
export interface Unannounced {
  readonly participant: string
  readonly cause: unknown
}

export class Announcements {
  readonly #registry: Registry
  readonly #logId: string
  readonly #incarnation: string
  /** Whether a participant has both tables, once it has named itself in them. */
  readonly #tables: Map<string, Promise<boolean>> = new Map()
  readonly #marked: Set<string> = new Set()
  /** By the names of a set of participants, in every order in which a transaction had them. */
  readonly #announced: Set<string> = new Set()
  readonly #underWay: Map<string, Promise<Unannounced | undefined>> = new Map()

  constructor(
    registry: Registry,
    log: { readonly logId: string; readonly incarnation: Incarnation },
  ) {
    this.#registry = registry
    this.#logId = log.logId
    this.#incarnation = formatIncarnation(log.incarnation)
  }

  /**
   * Announces the participants of a transaction. `undefined`: that was done before. Otherwise
   * resolves when it is durable, or with the participant that could not be told; never rejects.
   */
  ensure(names: readonly string[]): Promise<Unannounced | undefined> | undefined {
    const asked = names.join(' ')
    if (this.#announced.has(asked)) return undefined
    const sorted = [...names].sort()
    const key = sorted.join(' ')
    if (this.#announced.has(key)) {
      this.#announced.add(asked)
      return undefined
    }
    const underWay = this.#underWay.get(key) ?? this.#announce(key, sorted)
    this.#underWay.set(key, underWay)
    return underWay
  }

  /** Whether a branch in this participant must carry a marker: its tables promise it. */
  isMarked(name: string): boolean {
    return this.#marked.has(name)
  }

  async #announce(key: string, names: readonly string[]): Promise<Unannounced | undefined> {
    const participants = names.flatMap((name) => this.#registry.get(name) ?? [])
    const themselves = await tell(participants, (one) => this.#nameItself(one))
    const failed =
      themselves ??
      (await tell(
        participants.filter(({ name }) => this.#marked.has(name)),
        (one) => this.#name(one, names),
      ))
    if (failed === undefined) this.#announced.add(key)
    this.#underWay.delete(key)
    return failed
  }

  /** Concurrent sets that share a participant must agree about it. */
  async #nameItself(participant: Participant): Promise<void> {
    const { name } = participant
    const known = this.#tables.get(name)
    const asked = known ?? participant.announce(this.#logId, this.#incarnation, [name])
    this.#tables.set(name, asked)
    try {
      if (await asked) this.#marked.add(name)
    } catch (cause) {
      if (this.#tables.get(name) === asked) this.#tables.delete(name)
      throw cause
    }
  }

  async #name(participant: Participant, names: readonly string[]): Promise<void> {
    if (await participant.announce(this.#logId, this.#incarnation, names)) return
    throw new Error('its tables were there and are gone: run `unanimous init`')
  }
}

/** Tells all of them at once; answers the first that failed. */
async function tell(
  participants: readonly Participant[],
  one: (participant: Participant) => Promise<void>,
): Promise<Unannounced | undefined> {
  const told = await Promise.all(
    participants.map(async (participant): Promise<Unannounced | undefined> => {
      try {
        await one(participant)
        return undefined
      } catch (cause) {
        return { participant: participant.name, cause }
      }
    }),
  )
  return told.find((failed) => failed !== undefined)
}
