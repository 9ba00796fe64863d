/**
 * Every exit code of the command line, and the one place that chooses among them. When several
 * apply, the first of this order wins: 7, 6, 4, 5, 3. What makes the answer itself worthless comes
 * first, then what a person must see, then what makes it incomplete.
 */
import { UnanimousError } from '../errors.ts'
import type {
  ApartBranch,
  ApartKind,
  InspectedState,
  Inspection,
  Outline,
} from '../recovery/inspection.ts'

export const EXIT: {
  readonly clean: 0
  readonly failure: 1
  readonly usage: 2
  readonly unsettled: 3
  readonly heuristic: 4
  readonly unreachable: 5
  readonly locked: 6
  readonly corrupt: 7
  readonly interrupted: 130
} = {
  clean: 0,
  failure: 1,
  usage: 2,
  unsettled: 3,
  heuristic: 4,
  unreachable: 5,
  locked: 6,
  corrupt: 7,
  interrupted: 130,
}

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

export const EXIT_CODES_HELP: string = `
Exit codes:
  0    clean: nothing is unsettled
  1    unexpected failure
  2    wrong usage or configuration
  3    transactions are unsettled, the plan is not empty, or there is something to mend
  4    a branch ended against its decision, or may have
  5    a participant could not be asked: the answer is incomplete
  6    the log is held by a running coordinator, and the command needs it for itself
  7    the log is damaged or is a copy
  130  interrupted
If several apply, the first of 7, 6, 4, 5, 3. Treat any other code as a failure.`

/** For an error that ended the command. */
export function exitCodeOf(cause: unknown): ExitCode {
  if (!(cause instanceof UnanimousError)) return EXIT.failure
  switch (cause.code) {
    case 'CONFIG_INVALID':
    case 'INVALID_OPTION':
    case 'PARTICIPANT_UNKNOWN':
    case 'TRANSACTION_UNKNOWN':
    case 'AGAINST_DECISION':
    case 'LOG_UNREADABLE':
    case 'LOG_UNSAFE':
      return EXIT.usage
    case 'PARTICIPANT_UNREACHABLE':
    case 'COORDINATOR_UNREACHABLE':
    case 'PARTICIPANT_UNFIT':
      return EXIT.unreachable
    case 'LOG_LOCKED':
      return EXIT.locked
    case 'LOG_CORRUPT':
    case 'LOG_COPIED':
      return EXIT.corrupt
    default:
      return EXIT.failure
  }
}

/** For what was seen. */
export function exitCodeFor({
  transactions,
  participants,
  apart,
}: Pick<Inspection, 'participants'> & {
  readonly transactions: readonly Pick<Outline, 'state'>[]
  readonly apart: readonly Pick<ApartBranch, 'kind'>[]
}): ExitCode {
  const isAny = (state: InspectedState): boolean => transactions.some((one) => one.state === state)
  const isApart = (kind: ApartKind): boolean => apart.some((one) => one.kind === kind)
  if (isApart('copy')) return EXIT.corrupt
  if (isAny('heuristic')) return EXIT.heuristic
  if (participants.some(({ trouble }) => trouble !== undefined)) return EXIT.unreachable
  if (isAny('unsettled') || isApart('unconfigured')) return EXIT.unsettled
  return EXIT.clean
}
