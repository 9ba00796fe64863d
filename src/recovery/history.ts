/** What is known of a transaction's past, in the order in which it happened. Pure. */
import type { OperatorNote } from '../log/decision-log.ts'
import { parseBqual } from '../xid.ts'
import type { InspectedTransaction } from './inspection.ts'

export interface HistoryEntry {
  readonly atMs: number
  /** `prepared` (where its server tells), `decided`, `answered`, or what an `operator` did. */
  readonly kind: 'prepared' | 'decided' | 'answered' | 'operator'
  /** Of the branch; absent when it concerns the whole. */
  readonly participant?: string
  /** `prepared`, `commit`, a branch's answer, or the operator's action. */
  readonly what: string
  readonly who?: string
  readonly host?: string
  readonly reason?: string
}

export function historyOf(
  gtrid: string,
  transaction: InspectedTransaction | undefined,
  operators: readonly OperatorNote[],
): readonly HistoryEntry[] {
  const entries: HistoryEntry[] = []
  for (const { participant, preparedAtMs, answer, answeredAtMs } of transaction?.branches ?? []) {
    if (preparedAtMs !== undefined) {
      entries.push({ atMs: preparedAtMs, kind: 'prepared', participant, what: 'prepared' })
    }
    if (answer !== undefined && answeredAtMs !== undefined) {
      entries.push({ atMs: answeredAtMs, kind: 'answered', participant, what: answer })
    }
  }
  if (transaction?.decidedAtMs !== undefined) {
    entries.push({ atMs: transaction.decidedAtMs, kind: 'decided', what: 'commit' })
  }
  const ofIt = operators.filter((note) => note.gtrid === gtrid)
  return [...entries, ...ofIt.map(operatorEntry)].toSorted((a, b) => a.atMs - b.atMs)
}

function operatorEntry({ atMs, action, bqual, who, host, reason }: OperatorNote): HistoryEntry {
  const did = { atMs, kind: 'operator', what: action, who, host, reason } as const
  if (bqual === undefined || bqual === '') return did
  return { ...did, participant: parseBqual(bqual).participant }
}
