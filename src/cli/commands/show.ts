/** `unanimous show`: one transaction, branch by branch, with the evidence. */
import { UnanimousError } from '../../errors.ts'
import type { InspectedTransaction, Inspection } from '../../recovery/inspection.ts'
import { EXIT, type ExitCode, exitCodeFor } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import {
  branchState,
  formatAge,
  formatTime,
  inspectionJson,
  json,
  logLine,
  printable,
  shortId,
  table,
  transactionJson,
} from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface ShowOptions extends SessionOptions {
  readonly json?: boolean
}

export function show(io: Io, id: string, options: ShowOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const inspection = await session.inspect()
    const { log } = session.config
    const found = find(inspection, id)
    if (found === undefined) return notFound(io, inspection, id)
    if (options.json === true) {
      const transaction = transactionJson(found, inspection.atMs)
      io.out(json(inspection.atMs, { ...inspectionJson(inspection, log), transaction }))
    } else {
      io.out(logLine(inspection, log))
      io.out(describe(io, inspection, found))
    }
    return exitCodeFor({ ...inspection, transactions: [found], apart: [] })
  })
}

/** @throws UnanimousError INVALID_OPTION when more than one transaction begins so */
function find({ transactions }: Inspection, id: string): InspectedTransaction | undefined {
  const exact = transactions.find(({ gtrid }) => gtrid === id || shortId(gtrid) === id)
  if (exact !== undefined) return exact
  const begin = transactions.filter(
    ({ gtrid }) => gtrid.startsWith(id) || shortId(gtrid).startsWith(id),
  )
  if (begin.length <= 1) return begin[0]
  const some = begin.slice(0, 5).map(({ gtrid }) => shortId(gtrid))
  throw new UnanimousError('INVALID_OPTION', `${begin.length} transactions begin with ${id}`, {
    hint: `Give more of the id: ${some.join(', ')}${begin.length > some.length ? ', …' : ''}`,
  })
}

/** Nobody knows it, unless somebody could not be asked. */
function notFound(io: Io, inspection: Inspection, id: string): ExitCode {
  const silent = inspection.participants.filter(({ trouble }) => trouble !== undefined)
  if (silent.length === 0) {
    throw new UnanimousError(
      'TRANSACTION_UNKNOWN',
      `no unsettled transaction has the id ${printable(id)}`,
      {
        hint: 'The log forgets a transaction once all of its branches are settled; `unanimous list` shows what is left.',
      },
    )
  }
  const names = silent.map(({ name }) => name).join(', ')
  io.err(
    messageLines(
      `error: ${printable(id)} was not found, and ${names} could not be asked`,
      'Run the command again when every participant answers.',
    ),
  )
  return EXIT.unreachable
}

function describe(io: Io, { atMs, owner }: Inspection, each: InspectedTransaction): string {
  const decision =
    each.decidedAtMs === undefined
      ? 'none is logged'
      : `commit, logged ${formatTime(each.decidedAtMs)} (${formatAge(atMs - each.decidedAtMs)} ago)`
  const facts = [
    ['transaction', each.gtrid],
    ['name', each.name ?? '-'],
    ...(each.meta === undefined ? [] : [['meta', each.meta]]),
    ['state', each.state],
    ['decision', decision],
  ]
  const branches = each.branches.map((branch) => [
    branch.participant,
    branchState(io, branch),
    branch.preparedAtMs === undefined ? '' : `prepared ${formatTime(branch.preparedAtMs)}`,
    branch.id ?? branch.bqual,
    `${branch.advice.action}: ${branch.advice.why}`,
  ])
  const advice = [
    ['advice', each.advice.why],
    ['by hand', byHand(each, owner !== undefined)],
  ]
  return `${table(facts)}branches\n${table(branches, '  ')}${table(advice)}`
}

/** What a person must not do, for the hand is quicker than the thought at night. */
function byHand({ decision, state }: InspectedTransaction, hasOwner: boolean): string {
  if (state === 'settled') return 'nothing is left to do'
  if (state === 'heuristic') return 'compare the databases: the transaction is split, or may be'
  if (decision === 'commit') return 'rolling any branch back would split the transaction'
  if (hasOwner) return 'either verb may contradict what the running coordinator decides'
  return 'committing any branch would split the transaction'
}
