/**
 * What must be true, checked while it happens and at the end. The numbers are those of docs/proof.md.
 *
 *  while it happens, at the database itself
 *    I9   a branch is committed only after every branch of its transaction that wrote was prepared
 *    I10  a prepared branch is committed only after its commit record is durable, and never committed
 *         in one place and rolled back in another
 *  at the end
 *    I1   all branches of a transaction ended alike                I7   the same ids in every database
 *    I2   committed: everywhere    I3   rolled back: nowhere       I4   in doubt, or unheard: all or none
 *    I8   one outcome, whoever is asked and when                   I15  what a DBA ended is reported
 *    I11  nothing is prepared, decided or waited for any more      I12  nothing is locked
 *    I13  recovery of what was recovered changes nothing, and reports nothing new
 *  when the log says so
 *    I14  a tail that was cut is kept where no loss of power reaches it
 */

import type { Xid } from '../../src/adapter.ts'
import type { Outcome } from '../../src/protocol/vocabulary.ts'
import type { SimDisk } from './disk.ts'
import { keyOf, type ServerObserver, type SimServer, type Verb } from './server.ts'
import { Violation, type World } from './world.ts'

export interface Answer {
  readonly outcome: Outcome
  readonly code: string | undefined
  readonly recoverable: boolean
}

/** One run of a callback: one global transaction. */
export interface Attempt {
  readonly gtrid: string
  /** Servers on which a statement that writes was sent. */
  readonly wrote: Set<string>
  readonly prepared: Set<string>
  readonly committed: Set<string>
  readonly rolledBack: Set<string>
  /** When its callback returned. */
  workedAt: number | undefined
  answer: Answer | undefined
  /** What outcome() said that must remain true. */
  readonly told: Set<'committed' | 'rolled-back'>
  readonly hooks: Set<'committed' | 'rolled-back'>
  byHand: Verb | undefined
  /** Whether a marker or a transaction id can tell what was done by hand. */
  provable: boolean
  /** A heuristic was reported of it. */
  reported: boolean
}

export class Oracle implements ServerObserver {
  readonly attempts = new Map<string, Attempt>()
  /** Log ids whose branches are ours. */
  readonly logIds = new Set<string>()
  readonly #world: World
  readonly #disk: SimDisk
  /** What was seen where nothing can be thrown. */
  readonly problems: string[] = []
  /** Keys of branches of which operators were told that a hand has committed another one. */
  readonly splitTold = new Set<string>()
  /** The log is gone: what a database holds stands for it. */
  logLost = false

  constructor(world: World, disk: SimDisk) {
    this.#world = world
    this.#disk = disk
  }

  begin(gtrid: string): Attempt {
    if (this.attempts.has(gtrid)) throw new Violation(`${gtrid} was begun twice`)
    const attempt: Attempt = {
      gtrid,
      wrote: new Set(),
      prepared: new Set(),
      committed: new Set(),
      rolledBack: new Set(),
      workedAt: undefined,
      answer: undefined,
      told: new Set(),
      hooks: new Set(),
      byHand: undefined,
      provable: false,
      reported: false,
    }
    this.attempts.set(gtrid, attempt)
    return attempt
  }

  prepared(server: SimServer, xid: Xid): void {
    const attempt = this.#attempt(xid)
    if (attempt.prepared.has(server.name)) fail(`${keyOf(xid)} was prepared twice`)
    attempt.prepared.add(server.name)
  }

  finished(server: SimServer, xid: Xid, verb: Verb, by: 'library' | 'dba'): void {
    this.#world.note(`${server.name} did ${verb} ${keyOf(xid)} by ${by}`)
    const attempt = this.#attempt(xid)
    if (by === 'dba') {
      attempt.byHand = verb
      attempt.provable = server.tables || server.flavour === 'postgres'
      return
    }
    if (attempt.answer?.outcome === 'rolled-back' && verb === 'commit') {
      fail(`I3: ${keyOf(xid)} is committed, and its caller heard rolled-back`)
    }
    if (attempt.answer?.outcome === 'committed' && verb === 'rollback') {
      fail(`I2: ${keyOf(xid)} is rolled back, and its caller heard committed`)
    }
    if (verb === 'rollback') {
      attempt.rolledBack.add(server.name)
      if (attempt.committed.size > 0) fail(`I10: ${keyOf(xid)} is rolled back, others committed`)
      return
    }
    if (attempt.rolledBack.size > 0) fail(`I10: ${keyOf(xid)} is committed, others rolled back`)
    for (const name of attempt.wrote) {
      if (!attempt.prepared.has(name))
        fail(`I9: ${keyOf(xid)} is committed, ${name} never prepared`)
    }
    if (attempt.committed.size === 0 && !this.logLost && !this.#disk.isDurable(xid.gtrid)) {
      fail(`I10: ${keyOf(xid)} is committed before its record is durable`)
    }
    attempt.committed.add(server.name)
  }

  committedInOnePhase(server: SimServer, xid: Xid): void {
    this.#world.note(`${server.name} did commit ${keyOf(xid)} in one phase`)
    const attempt = this.#attempt(xid)
    for (const name of attempt.wrote) {
      if (name !== server.name) fail(`I9: ${keyOf(xid)} committed in one phase beside ${name}`)
    }
    attempt.committed.add(server.name)
  }

  answered(attempt: Attempt, answer: Answer): void {
    this.#world.note(`answer ${attempt.gtrid} ${answer.outcome} ${answer.code ?? ''}`)
    if (attempt.answer !== undefined) fail(`${attempt.gtrid} was answered twice`)
    attempt.answer = answer
  }

  /**
   * Whether a prepared branch waits for a person, who was told: a hand has committed another one of an
   * undecided transaction, so that rolling it back would split what a person has begun to commit.
   */
  isLeft(key: string): boolean {
    const attempt = this.attempts.get(key.slice(0, key.indexOf(':')))
    if (attempt?.byHand !== 'commit' || !this.splitTold.has(key)) return false
    return attempt.committed.size === 0 && attempt.answer?.outcome !== 'committed'
  }

  /** Checks a transaction whose branches have all ended. */
  conclude(attempt: Attempt, servers: readonly SimServer[], restarted: ReadonlySet<string>): void {
    const { gtrid, wrote, answer, byHand } = attempt
    const holding = servers.filter(({ rows }) => rows.has(gtrid)).map(({ name }) => name)
    const everywhere = holding.length === wrote.size
    const nowhere = holding.length === 0
    if (byHand !== undefined) {
      // Who ends a branch by hand just before the log is lost leaves nothing that could tell.
      if (!everywhere && !nowhere && !this.logLost) concludeByHand(attempt)
      return
    }
    const said = answer === undefined ? 'nothing' : `${answer.outcome} (${answer.code ?? 'ok'})`
    const state = `${gtrid}: wrote ${[...wrote].join()}, committed ${holding.join()}, heard ${said}`
    if (!everywhere && !nowhere) fail(`I1: ${state}`)
    switch (answer?.outcome) {
      case 'committed':
        if (!everywhere) fail(`I2: ${state}`)
        break
      case 'rolled-back':
        if (!nowhere) fail(`I3: ${state}`)
        break
      case 'heuristic':
        if (answer.code !== 'HEURISTIC_HAZARD')
          fail(`I15: a heuristic that nobody caused: ${state}`)
        break
      case 'in-doubt':
      case undefined:
    }
    const { told, hooks, reported } = attempt
    // Without proof a server that was restarted leaves a hazard; nothing else may.
    const isSaid = reported || answer?.outcome === 'heuristic'
    if (isSaid && ![...wrote].some((name) => restarted.has(name))) {
      fail(`I15: a heuristic that nobody caused: ${state}`)
    }
    if ((told.has('committed') || hooks.has('committed')) && !everywhere) fail(`I8: ${state}`)
    if ((told.has('rolled-back') || hooks.has('rolled-back')) && !nowhere) fail(`I8: ${state}`)
  }

  /** Checks servers on which nothing is prepared, but for a person, or under way any more. */
  atRest(servers: readonly SimServer[]): void {
    for (const { name, lockHolder, prepared } of servers) {
      if (lockHolder === undefined) continue
      const isHeld = prepared.has(lockHolder) && this.isLeft(lockHolder)
      if (!isHeld) fail(`I12: ${name} has a lock that nobody holds`)
    }
  }

  /** What the databases hold, which another recovery must leave as it is. */
  standing(servers: readonly SimServer[]): string {
    const held = servers.map(({ name, rows, prepared }) => [name, ...rows, ...prepared.keys()])
    return held.map((each) => each.join(' ')).join('\n')
  }

  /** Of what operators were told, which another recovery of the same logs must not add to. */
  get reports(): string {
    const reported = [...this.attempts.values()].filter((attempt) => attempt.reported)
    return reported.map(({ gtrid }) => gtrid).join(' ')
  }

  recoveredTwice(once: string, twice: string): void {
    if (twice !== once) fail(`I13: recovered twice is not once: ${twice}\nonce: ${once}`)
  }

  /** @param copy - where the log says that it kept what it cut */
  tailCut(copy: string): void {
    if (this.#disk.isKept(copy)) return
    this.problems.push(`I14: a tail was cut and not kept: ${copy}`)
  }

  #attempt(xid: Xid): Attempt {
    const attempt = this.attempts.get(xid.gtrid)
    if (attempt === undefined) throw new Violation(`${keyOf(xid)} is not ours, and was touched`)
    return attempt
  }
}

/** What ended in two ways because somebody ended a branch by hand. */
function concludeByHand({ gtrid, byHand, committed, reported, answer, provable }: Attempt): void {
  if (byHand !== 'rollback' || committed.size === 0 || !provable) return
  if (reported || answer?.outcome === 'heuristic') return
  fail(`I15: ${gtrid} was rolled back by hand in one place, and nobody was told`)
}

export function fail(what: string): never {
  throw new Violation(what)
}
