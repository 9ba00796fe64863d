/**
 * What the callers of a log were told, and whether the log that is there after a crash agrees.
 *
 * A lie is: an acknowledged commit that is gone, one that was answered as aborted and is there, an
 * end that was acknowledged and came back, an answer that was acknowledged and is gone, or a record
 * that is not what was handed over.
 */
import { isDeepStrictEqual } from 'node:util'
import type { CommitRecord, DecisionLog, PendingDecision } from '../../src/log/decision-log.ts'
import type { BranchAnswer, BranchRecord } from '../../src/protocol/vocabulary.ts'
import { transfer, unawaited } from '../support/test-log.ts'

export class Observer {
  readonly handed = new Map<string, CommitRecord>()
  readonly acked = new Set<string>()
  readonly aborted = new Set<string>()
  readonly endOffered = new Set<string>()
  readonly endAcked = new Set<string>()
  readonly answers = new Map<string, Map<string, BranchAnswer>>()
  /** Calls that failed, by code. */
  readonly failures: string[] = []
  /** Something that no caller may ever hear. */
  readonly broken: string[] = []

  /** The state of knowledge at this moment. */
  copy(): Observer {
    const copy = new Observer()
    for (const [gtrid, record] of this.handed) copy.handed.set(gtrid, record)
    for (const gtrid of this.acked) copy.acked.add(gtrid)
    for (const gtrid of this.aborted) copy.aborted.add(gtrid)
    for (const gtrid of this.endOffered) copy.endOffered.add(gtrid)
    for (const gtrid of this.endAcked) copy.endAcked.add(gtrid)
    for (const [gtrid, answers] of this.answers) copy.answers.set(gtrid, new Map(answers))
    return copy
  }

  async decide(log: DecisionLog, record: CommitRecord): Promise<void> {
    this.handed.set(record.gtrid, record)
    try {
      const decision = await log.decide(record)
      if (decision === 'commit') this.acked.add(record.gtrid)
      else this.aborted.add(record.gtrid)
      if (decision === 'commit' && log.find(record.gtrid) === undefined) {
        if (!this.endOffered.has(record.gtrid)) this.broken.push(`${record.gtrid} is not pending`)
      }
    } catch (cause) {
      const code = codeOf(cause)
      this.failures.push(code)
      // Not handed over after all: the caller may abort, so it must never appear.
      if (code !== 'LOG_POISONED') this.aborted.add(record.gtrid)
    }
  }

  async abort(log: DecisionLog, gtrid: string): Promise<void> {
    try {
      if ((await log.abort(gtrid)) === 'abort') this.aborted.add(gtrid)
    } catch (cause) {
      this.failures.push(codeOf(cause))
    }
  }

  async settle(log: DecisionLog, gtrid: string, answer: BranchAnswer): Promise<void> {
    const branches = log.find(gtrid)?.record.branches
    if (branches === undefined) return
    const offered = branches.map(({ bqual }) =>
      log.answered(gtrid, bqual, answer).then(() => {
        const answers = this.answers.get(gtrid) ?? new Map<string, BranchAnswer>()
        this.answers.set(gtrid, answers.set(bqual, answer))
      }),
    )
    if (answer === 'committed') {
      this.endOffered.add(gtrid)
      offered.push(log.end(gtrid).then(() => void this.endAcked.add(gtrid)))
    }
    for (const result of await Promise.allSettled(offered)) {
      if (result.status === 'rejected') this.failures.push(codeOf(result.reason))
    }
  }

  /** What is wrong with a log that holds these decisions; `undefined` when nothing is. */
  lie(pending: readonly PendingDecision[]): string | undefined {
    if (this.broken.length > 0) return this.broken[0]
    const found = new Map(pending.map((decision) => [decision.record.gtrid, decision]))
    for (const gtrid of this.acked) {
      if (!found.has(gtrid) && !this.endOffered.has(gtrid)) return `lost ${gtrid}`
    }
    for (const [gtrid, { record, answers }] of found) {
      if (!isDeepStrictEqual(record, this.handed.get(gtrid))) return `wrong content of ${gtrid}`
      if (this.aborted.has(gtrid)) return `${gtrid} was answered as aborted and is there`
      if (this.endAcked.has(gtrid)) return `${gtrid} was ended and is there`
      for (const [bqual, answer] of this.answers.get(gtrid) ?? []) {
        if (answers.get(bqual) !== answer) return `lost the answer of ${bqual} of ${gtrid}`
      }
    }
    return undefined
  }
}

/** Three shapes of payload: small, nearly as large as it may be, and with text beyond ASCII. */
export function shaped(gtrid: string, shape: number): CommitRecord {
  if (shape % 3 === 0) return transfer(gtrid)
  if (shape % 3 === 1) return transfer(gtrid, { name: 'überweisung', meta: '{"höhe":"100 €"}' })
  const branches = Array.from(
    { length: 6 },
    (_, index): BranchRecord => ({
      participant: `participant-${index}`,
      bqual: `participant-${index}.${shape}`,
      server: { server: `server-${index}`, startedAtMs: index },
      marker: index % 2 === 0,
    }),
  )
  return transfer(gtrid, { meta: JSON.stringify('m'.repeat(900)), branches })
}

/** A life of a log: commits of all shapes, alone and together, aborts, answers and ends. */
export async function live(log: DecisionLog, observer: Observer, steps: number): Promise<void> {
  for (let step = 0; step < steps; step += 1) {
    if (log.poison !== undefined) return
    const together = step % 4 === 3 ? 3 : 1
    const gtrids: string[] = []
    try {
      for (let n = 0; n < together; n += 1) gtrids.push(log.begin())
    } catch (cause) {
      observer.failures.push(codeOf(cause))
    }
    const [first] = gtrids
    const decided = gtrids.map((gtrid, n) => observer.decide(log, shaped(gtrid, step + n)))
    if (step % 5 === 4 && first !== undefined) decided.push(observer.abort(log, first))
    await Promise.all(decided)
    for (const gtrid of gtrids) log.release(gtrid)
    // Not awaited: these ride on the next force.
    gtrids.forEach((gtrid, n) => {
      if (step % 6 === 5) return
      unawaited(
        observer.settle(log, gtrid, n === 2 && step % 8 === 3 ? 'heuristic-hazard' : 'committed'),
      )
    })
    await abortOne(log, observer)
  }
}

async function abortOne(log: DecisionLog, observer: Observer): Promise<void> {
  try {
    const gtrid = log.begin()
    await observer.abort(log, gtrid)
    await observer.decide(log, shaped(gtrid, 0))
    log.release(gtrid)
  } catch (cause) {
    observer.failures.push(codeOf(cause))
  }
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
}
