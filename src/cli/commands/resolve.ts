/**
 * `unanimous resolve`: an operator ends the branches of one transaction. With what the log holds, it
 * does what recovery would; against it only when forced, and with the whole id typed.
 */
import { UnanimousError } from '../../errors.ts'
import type { InspectedTransaction, Inspection } from '../../recovery/inspection.ts'
import {
  type Acted,
  carryOutWish,
  type OperatorStep,
  type OperatorWord,
  planWish,
  type Wish,
} from '../../recovery/operate.ts'
import { EXIT, type ExitCode, exitCodeFor } from '../exit-codes.ts'
import { find, mustFind } from '../find.ts'
import { type Io, messageLines, redact } from '../io.ts'
import { inspectionJson, json, transactionJson } from '../json.ts'
import { operatorWord } from '../operator.ts'
import { ownLog, refuseHeld } from '../own-log.ts'
import { logLine, shortId, table, transactionTable } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface ResolveOptions extends SessionOptions {
  readonly json?: boolean
  readonly commit?: boolean
  readonly rollback?: boolean
  readonly branch?: string
  readonly reason: string
  readonly forceAgainstLog?: boolean
  readonly confirm?: string
  readonly apply?: boolean
}

/**
 * @throws UnanimousError INVALID_OPTION, AGAINST_DECISION, TRANSACTION_UNKNOWN, LOG_LOCKED or
 * PARTICIPANT_UNREACHABLE
 */
export function resolve(io: Io, id: string, options: ResolveOptions): Promise<ExitCode> {
  const word = operatorWord(options.reason)
  const wish = wishOf(options)
  return withSession(io, options, async (session) => {
    const inspection = await session.inspect()
    const found = mustFind(inspection, id)
    refuseHeld(session, inspection)
    const steps = planWish(found, wish)
    if (wish.against) checkConfirmed(found, options.confirm)
    return options.apply === true
      ? apply(io, session, { found, steps, word }, options)
      : plan(io, session, inspection, { found, steps, word }, options)
  })
}

function wishOf({ commit, rollback, branch, forceAgainstLog }: ResolveOptions): Wish {
  if ((commit === true) === (rollback === true)) {
    throw new UnanimousError('INVALID_OPTION', 'either --commit or --rollback is needed')
  }
  const decision = commit === true ? 'commit' : 'abort'
  return { decision, branch, against: forceAgainstLog === true }
}

function checkConfirmed({ gtrid }: InspectedTransaction, confirm: string | undefined): void {
  if (confirm === gtrid) return
  throw new UnanimousError('INVALID_OPTION', 'acting against the log wants the whole id typed', {
    hint: `--confirm ${gtrid}`,
  })
}

interface Intent {
  readonly found: InspectedTransaction
  readonly steps: readonly OperatorStep[]
  readonly word: OperatorWord
}

const VERB: { readonly [D in OperatorStep['decision']]: string } = {
  commit: 'commit',
  abort: 'roll back',
}

function plan(
  io: Io,
  session: Session,
  inspection: Inspection,
  { found, steps, word }: Intent,
  options: ResolveOptions,
): ExitCode {
  const { log } = session.config
  if (options.json === true) {
    const body = { applied: false, ...inspectionJson(inspection, log) }
    const transaction = transactionJson(found, inspection)
    const planned = steps.map(stepJson)
    io.out(json(inspection.atMs, { ...body, transaction, operator: word, plan: planned, done: [] }))
    return EXIT.unsettled
  }
  const rows = steps.map((step, index) => [
    String(index + 1),
    io.paint(step.against ? 'red' : 'green', VERB[step.decision]),
    shortId(found.gtrid),
    found.name ?? '-',
    step.participant,
    step.against ? 'AGAINST what the log holds' : 'as the log holds it',
  ])
  io.out(logLine(inspection, log))
  io.out(`${io.paint('bold', 'Plan (dry run, nothing was changed):')}\n${table(rows, '  ')}`)
  io.out(`On record as ${word.who} on ${word.host}: ${word.reason}\n`)
  io.err('Run again with --apply.\n')
  return EXIT.unsettled
}

function stepJson({ participant, bqual, decision, against }: OperatorStep): object {
  return { participant, bqual, action: VERB[decision], against }
}

async function apply(
  io: Io,
  session: Session,
  { found, steps, word }: Intent,
  options: ResolveOptions,
): Promise<ExitCode> {
  const { gtrid } = found
  const { registry, events } = session
  const parts = { registry, events, clock: io.clock, log: await ownLog(io, session) }
  const acted = await carryOutWish(parts, gtrid, steps, word)
  const inspection = await session.inspect()
  const left = find(inspection, gtrid)
  const { log } = session.config
  if (options.json === true) {
    const transaction = left === undefined ? null : transactionJson(left, inspection)
    const body = { applied: true, ...inspectionJson(inspection, log), transaction }
    const done = acted.map(actedJson)
    io.out(json(inspection.atMs, { ...body, operator: word, plan: steps.map(stepJson), done }))
    return exitCode(inspection, left, acted)
  }
  io.out(logLine(inspection, log))
  const rows = acted.map(({ participant, did, trouble }) => [
    did === undefined ? io.paint('yellow', 'not done') : DID[did],
    shortId(gtrid),
    participant,
    redact(trouble ?? ''),
  ])
  io.out(`${io.paint('bold', 'Done:')}\n${table(rows, '  ')}`)
  if (left !== undefined && left.state !== 'settled') {
    io.out(`${io.paint('bold', 'Left:')}\n${transactionTable(io, inspection, [left])}`)
  }
  for (const { participant, did, hint } of acted) {
    if (did === undefined && hint !== undefined) io.err(messageLines(`${participant}:`, hint))
  }
  if (acted.some(({ did }) => did === undefined)) {
    io.err(messageLines('Not everything was done.', 'Run the command again: it may be repeated.'))
  }
  return exitCode(inspection, left, acted)
}

const DID: { readonly [D in NonNullable<Acted['did']>]: string } = {
  committed: 'committed',
  'committed-unproven': 'committed (unproven)',
  'committed-against': 'committed against the log',
  'heuristic-rollback': 'rolled back against the log',
  'heuristic-hazard': 'gone, its end unknown',
  'rolled-back': 'rolled back',
}

function actedJson({ participant, bqual, did, trouble, hint }: Acted): object {
  const its = { participant, bqual, did: did ?? null }
  return { ...its, trouble: redact(trouble ?? '') || null, hint: hint ?? null }
}

function exitCode(
  inspection: Inspection,
  left: InspectedTransaction | undefined,
  acted: readonly Acted[],
): ExitCode {
  if (acted.some(({ did }) => did === 'committed-against')) return EXIT.heuristic
  const transactions = left === undefined ? [] : [left]
  const code = exitCodeFor({ ...inspection, transactions, apart: [] })
  const undone = acted.some(({ did }) => did === undefined)
  return code === EXIT.clean && undone ? EXIT.unsettled : code
}
