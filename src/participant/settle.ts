/**
 * Idempotent phase two: from a server's words to a branch's answer, and from the answers of all
 * branches to the end of the decision. The live path and recovery share it.
 *
 * Rule 4: "no such transaction" proves nothing by itself. It is read with the participant's proof
 * (marker row, PostgreSQL's transaction id), and only where there is none with the server's life.
 * Rule 7: a decision is forgotten only after every branch has answered.
 */
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import { conclude, isCommitted } from '../protocol/outcome.ts'
import type {
  BranchAnswer,
  BranchEvidence,
  BranchRecord,
  Settlement,
} from '../protocol/vocabulary.ts'
import { TurnoverMap } from '../turnover-map.ts'
import type { Xid } from '../xid.ts'
import type { Participant } from './participant.ts'
import { Unsettled } from './unsettled.ts'

/** The part of the decision log that settling needs. */
export interface AnswerLog {
  /** A poisoned log cannot record the answer; after the restart the branch is asked again. */
  answered(gtrid: string, bqual: string, answer: BranchAnswer): void
  end(gtrid: string): Promise<void>
}

/** A commit decision of an earlier life, as far as it is followed. */
export interface Resumed {
  readonly record: {
    readonly gtrid: string
    readonly decidedAtMs: number
    readonly branches: readonly BranchRecord[]
  }
  readonly answers: ReadonlyMap<string, BranchAnswer>
}

interface Open {
  readonly gtrid: string
  readonly branches: readonly BranchRecord[]
  readonly answers: Map<string, BranchAnswer>
  readonly changed: (() => void)[]
}

/** The answers of every logged commit that is not ended. */
export class Settlements {
  /** What has not ended, aborted branches too. */
  readonly unsettled: Unsettled
  readonly #log: AnswerLog
  readonly #events: Events
  readonly #ended: (gtrid: string, participants: readonly string[]) => void
  readonly #open = new TurnoverMap<string, Open>()
  /** Ended, but the end is not durable: after a crash the marker would be asked for again. */
  readonly #ending = new TurnoverMap<string, true>()
  readonly #warned: Set<string> = new Set()

  /** @param ended - called once the end is durable, with the participants that carry a marker */
  constructor(
    log: AnswerLog,
    events: Events,
    clock: Clock,
    ended: (gtrid: string, participants: readonly string[]) => void,
  ) {
    this.unsettled = new Unsettled(clock)
    this.#log = log
    this.#events = events
    this.#ended = ended
  }

  /**
   * Reads a settlement of a branch that must be committed: at once, unless it is to be proven.
   * `undefined`: not known yet, try again.
   */
  answerOf(
    participant: Participant,
    xid: Xid,
    evidence: BranchEvidence,
    settlement: Settlement,
  ): BranchAnswer | undefined | Promise<BranchAnswer | undefined> {
    switch (settlement.kind) {
      case 'answered':
        return 'committed'
      case 'later':
      case 'unknown':
        return undefined
      case 'other-server':
        return this.#notAnswered(participant.name, xid)
      case 'absent':
        return this.proveAbsent(participant, xid, evidence)
    }
  }

  /** How a branch that must be committed, and is not listed, ended. */
  async proveAbsent(
    participant: Participant,
    xid: Xid,
    evidence: BranchEvidence,
  ): Promise<BranchAnswer | undefined> {
    const proof = await participant.prove(xid, evidence)
    switch (proof.kind) {
      case 'committed':
        return 'committed'
      case 'rolled-back':
        return 'heuristic-rollback'
      case 'look-again':
        return undefined
      case 'none':
        if (proof.life === 'other-server') return this.#notAnswered(participant.name, xid)
        return proof.life === 'same' ? 'committed-unproven' : 'heuristic-hazard'
    }
  }

  /** Follows a commit that has become durable. */
  follow(
    gtrid: string,
    branches: readonly BranchRecord[],
    answers: ReadonlyMap<string, BranchAnswer> = new Map(),
    ageMs = 0,
  ): void {
    const open: Open = { gtrid, branches, answers: new Map(answers), changed: [] }
    this.#open.set(gtrid, open)
    for (const { participant, bqual } of branches) {
      if (!answers.has(bqual)) this.unsettled.decided(participant, gtrid, 'commit', ageMs)
    }
    this.#endWhenAllAnswered(open)
  }

  /** Follows what was found in the log at start: all of it is recovery's. */
  resume(pending: readonly Resumed[], nowMs: number): void {
    for (const { record, answers } of pending) {
      this.follow(record.gtrid, record.branches, answers, nowMs - record.decidedAtMs)
      for (const { participant } of record.branches) this.leave(participant, record.gtrid)
    }
  }

  /** The live path has let go of a branch, whatever was decided: its end is recovery's. */
  leave(participant: string, gtrid: string): void {
    this.unsettled.leave(participant, gtrid)
  }

  /** Whether a branch of this commit has not answered yet, or not as it was decided. */
  isOpen(gtrid: string): boolean {
    return this.#open.has(gtrid)
  }

  /** Whether the log may still be asked for this transaction after a crash at this moment. */
  isNeeded(gtrid: string): boolean {
    return this.#open.has(gtrid) || this.#ending.has(gtrid)
  }

  /** Whether some database is known to have committed its branch. */
  isConfirmed(gtrid: string): boolean {
    const open = this.#open.get(gtrid)
    if (open === undefined) return this.#ending.has(gtrid)
    return [...open.answers.values()].includes('committed')
  }

  /** Records an answer. A second answer of the same branch changes nothing. */
  answer(
    gtrid: string,
    bqual: string,
    answer: BranchAnswer,
    by: 'live' | 'recovery' | 'operator',
  ): void {
    const open = this.#open.get(gtrid)
    if (open === undefined || open.answers.has(bqual)) return
    open.answers.set(bqual, answer)
    const participant = open.branches.find((branch) => branch.bqual === bqual)?.participant ?? ''
    this.unsettled.ended(participant, gtrid)
    this.#events.emit('branch:settled', { gtrid, participant, bqual, answer, by })
    if (!isCommitted(answer)) {
      this.#events.emit('branch:heuristic', { gtrid, participant, bqual, answer })
    }
    this.#log.answered(gtrid, bqual, answer)
    for (const notify of open.changed.splice(0)) notify()
    this.#endWhenAllAnswered(open)
  }

  /** Answers so far, in the order of the branches; empty when the decision has ended. */
  answersOf(gtrid: string): readonly (BranchAnswer | undefined)[] {
    const open = this.#open.get(gtrid)
    return open === undefined ? [] : answersOf(open)
  }

  /** Resolves at the next answer of this transaction; at once when it is not followed. */
  nextAnswer(gtrid: string): Promise<void> {
    const open = this.#open.get(gtrid)
    if (open === undefined) return Promise.resolve()
    return new Promise((resolve) => {
      open.changed.push(resolve)
    })
  }

  /** Resolves when every branch of this transaction has answered, in whatever way. */
  async whenAnswered(gtrid: string): Promise<void> {
    while (this.answersOf(gtrid).includes(undefined)) await this.nextAnswer(gtrid)
  }

  /** Another server's silence about a branch that it never held is no answer at all. */
  #notAnswered(participant: string, xid: Xid): undefined {
    if (this.#warned.has(participant)) return undefined
    this.#warned.add(participant)
    this.#events.emit('participant:warning', {
      participant,
      code: 'OTHER_SERVER',
      message: `${participant} is not the server that prepared ${xid.gtrid}`,
      hint: 'Its decision is kept. Lead the participant back to that server, or settle the branch there by hand.',
    })
    return undefined
  }

  #endWhenAllAnswered(open: Open): void {
    const { gtrid, branches, answers } = open
    if (answers.size < branches.length || conclude(answersOf(open)) !== 'committed') return
    // A listener that was told of the last answer may have come here before.
    if (!this.#open.delete(gtrid)) return
    this.#ending.set(gtrid, true)
    const marked = branches.filter((branch) => branch.marker)
    this.#log.end(gtrid).then(
      () => {
        this.#ending.delete(gtrid)
        this.#ended(
          gtrid,
          marked.map((branch) => branch.participant),
        )
      },
      // Poisoned: the decision stays, and the markers with it.
      () => undefined,
    )
  }
}

function answersOf({ branches, answers }: Open): readonly (BranchAnswer | undefined)[] {
  return branches.map(({ bqual }) => answers.get(bqual))
}
