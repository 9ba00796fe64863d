/**
 * `unanimous recover`: says what recovery would do, and with `--apply` does it.
 *
 * Applying asks the coordinator that runs to recover now; without one it opens the log itself, and the
 * lock decides who may.
 */
import { messageOf, UnanimousError } from '../../errors.ts'
import { noFailpoints } from '../../failpoint.ts'
import type { OperatedLog } from '../../log/decision-log.ts'
import type { HeuristicCommit } from '../../recovery/heuristic-commits.ts'
import type { Action, InspectedTransaction, Inspection } from '../../recovery/inspection.ts'
import { type Done, type OnceReport, recoverOnce } from '../../recovery/once.ts'
import { byBegin } from '../../xid.ts'
import { EXIT, type ExitCode, exitCodeFor } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { inspectionJson, json, postponedJson, transactionJson } from '../json.ts'
import { operatorWord } from '../operator.ts'
import { ownLog } from '../own-log.ts'
import { apartTable, logLine, shortId, table, transactionTable } from '../print.ts'
import { Progress } from '../progress.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface RecoverOptions extends SessionOptions {
  readonly json?: boolean
  readonly apply?: boolean
  /** How long to try again what cannot be settled at once, in ms. */
  readonly wait?: number
  /** Stays on record with what was settled. */
  readonly reason?: string
  readonly fromDatabases?: boolean
  /** Log ids, as the operator wrote them. */
  readonly ownerIsDead?: readonly string[]
}

/** @throws UnanimousError INVALID_OPTION for `--wait` without `--apply` */
export function checkWait({ wait, apply: applies }: RecoverOptions): void {
  if (wait === undefined || applies === true) return
  throw new UnanimousError('INVALID_OPTION', '--wait is for --apply: a dry run waits for nothing')
}

export async function recover(io: Io, options: RecoverOptions): Promise<ExitCode> {
  checkWait(options)
  if (options.ownerIsDead !== undefined) {
    throw new UnanimousError('INVALID_OPTION', '--owner-is-dead is for --from-databases', {
      hint: 'A log that is here needs no word: its lock tells whether its owner lives.',
    })
  }
  return withSession(io, options, (session) =>
    options.apply === true ? apply(io, session, options) : plan(io, session, options),
  )
}

interface Step {
  readonly gtrid: string
  readonly name: string | undefined
  readonly participant: string
  readonly bqual: string
  readonly action: Action
  readonly why: string
}

/** What recovery does by itself; the rest needs time, a participant or a person. */
const STEPS: readonly Action[] = ['commit', 'roll back', 'prove']

async function plan(io: Io, session: Session, options: RecoverOptions): Promise<ExitCode> {
  const inspection = await session.inspect()
  const { log } = session.config
  const steps = inspection.transactions.flatMap(stepsOf)
  const others = leftOver(inspection).filter((each) => stepsOf(each).length === 0)
  if (options.json === true) {
    const left = others.map((each) => transactionJson(each, inspection))
    io.out(
      json(inspection.atMs, {
        applied: false,
        ...inspectionJson(inspection, log),
        plan: steps.map((step) => ({ ...step, name: step.name ?? null })),
        left,
      }),
    )
    return planCode(inspection, steps)
  }
  io.out(logLine(inspection, log))
  if (steps.length > 0) {
    const rows = steps
      .slice(0, SHOWN)
      .map((step, index) => [
        String(index + 1),
        io.paint(step.action === 'roll back' ? 'yellow' : 'green', step.action),
        shortId(step.gtrid),
        step.name ?? '-',
        step.participant,
        step.why,
      ])
    io.out(`${io.paint('bold', 'Plan (dry run, nothing was changed):')}\n${table(rows, '  ')}`)
    io.out(moreLine(steps.length - rows.length, '--json'))
  } else if (others.length === 0) {
    io.out('There is nothing to do.\n')
  }
  printLeft(io, inspection, others, 'Not in the plan:')
  if (steps.length > 0) io.err('Run again with --apply.\n')
  return planCode(inspection, steps)
}

function stepsOf({ gtrid, name, branches }: InspectedTransaction): Step[] {
  return branches
    .filter(({ advice }) => STEPS.includes(advice.action))
    .map(({ participant, bqual, advice }) => ({ gtrid, name, participant, bqual, ...advice }))
}

function planCode(inspection: Inspection, steps: readonly Step[]): ExitCode {
  const code = exitCodeFor(inspection)
  return code === EXIT.clean && steps.length > 0 ? EXIT.unsettled : code
}

async function apply(io: Io, session: Session, options: RecoverOptions): Promise<ExitCode> {
  const asked = await settleLive(io, session, options)
  const report = asked ?? (await settle(io, session, options))
  const inspection = asked?.inspection ?? (await session.inspect())
  const { log } = session.config
  const left = leftOver(inspection)
  if (options.json === true) {
    const body = {
      applied: true,
      ...inspectionJson(inspection, log),
      done: report.done,
      unsettled: report.unsettled.map(postponedJson),
      left: left.map((each) => transactionJson(each, inspection)),
    }
    io.out(json(inspection.atMs, body))
    return exitCodeFor(inspection)
  }
  io.out(logLine(inspection, log))
  if (report.done.length > 0) {
    const rows = report.done
      .toSorted(byTransaction)
      .map(({ did, gtrid, participant }) => [DID[did], shortId(gtrid), participant])
    io.out(`${io.paint('bold', 'Done:')}\n${table(rows, '  ')}`)
  } else if (left.length === 0) {
    io.out('There was nothing to do.\n')
  }
  printLeft(io, inspection, left, 'Left:')
  for (const { participant, count, why, hint } of report.unsettled) {
    const because = why === undefined ? '' : `: ${why}`
    io.err(messageLines(`Not settled yet: ${count} in ${participant}${because}.`, hint))
  }
  if (report.unsettled.length > 0) io.err('Run again with --apply --wait 30s.\n')
  return exitCodeFor(inspection)
}

/** Databases are settled side by side, and a person reads transaction by transaction. */
function byTransaction(a: Done, b: Done): number {
  return byBegin(a.gtrid, b.gtrid) || (a.participant < b.participant ? -1 : 1)
}

const DID: { readonly [D in OnceReport['done'][number]['did']]: string } = {
  committed: 'committed',
  'committed-unproven': 'committed (unproven)',
  'heuristic-rollback': 'found rolled back against the decision',
  'heuristic-hazard': 'found gone, its end unknown',
  'rolled-back': 'rolled back',
}

/** Through the coordinator that runs: it has what recovery needs, and is never fought for the log. */
async function settleLive(
  io: Io,
  session: Session,
  { wait }: RecoverOptions,
): Promise<(Pick<OnceReport, 'done' | 'unsettled'> & { inspection: Inspection }) | undefined> {
  const { only } = session
  const progress = new Progress(io, 'settled')
  try {
    const params = {
      ...(only === undefined ? {} : { participant: only }),
      ...(wait === undefined ? {} : { waitMs: wait }),
    }
    const answer = await session.ask('recover', params, ({ done = [] }) => {
      for (const _ of done) progress.step()
    })
    if (answer === undefined) return undefined
    const inspection = await session.placed(answer.inspection)
    session.tellTroubles(inspection.participants)
    return { done: answer.done, unsettled: answer.unsettled ?? [], inspection }
  } finally {
    progress.end()
  }
}

async function settle(io: Io, session: Session, options: RecoverOptions): Promise<OnceReport> {
  const { registry, events, only } = session
  const log = await ownLog(io, session)
  record(io, session, log, options.reason ?? 'recover --apply')
  const progress = new Progress(io, 'settled')
  events.on('branch:settled', () => progress.step())
  events.on('branch:rolled-back', () => progress.step())
  try {
    const parts = { clock: io.clock, failpoints: noFailpoints, registry, log, events }
    const onSplit = splitRecorder(log)
    return await recoverOnce(parts, { only, waitMs: options.wait ?? 0, onSplit })
  } finally {
    progress.end()
  }
}

const FOUND = 'found committed'

/** Puts each branch that a hand has committed on record, once. */
function splitRecorder(log: OperatedLog): (found: readonly HeuristicCommit[]) => Promise<void> {
  const word = operatorWord('its marker row has committed, and no commit is logged')
  const known = new Set(
    log.operators.flatMap((one) => (one.action === FOUND ? [`${one.gtrid}:${one.bqual}`] : [])),
  )
  return async (found) => {
    for (const { gtrid, bqual } of found) {
      if (known.has(`${gtrid}:${bqual}`)) continue
      known.add(`${gtrid}:${bqual}`)
      await log.operator({ ...word, action: FOUND, gtrid, bqual })
    }
  }
}

/** Puts it on record with the first branch that is settled: a run that settles nothing is none. */
function record(io: Io, { events }: Session, log: OperatedLog, reason: string): void {
  const word = operatorWord(reason)
  let recorded = false
  const once = (): void => {
    if (recorded) return
    recorded = true
    log.operator({ ...word, action: 'recover', gtrid: '' }).catch((cause: unknown) => {
      io.err(messageLines(`warning: not on record: ${messageOf(cause)}`, undefined))
    })
  }
  events.on('branch:settled', once)
  events.on('branch:rolled-back', once)
}

/** Lines for a person; a program gets all of them. */
const SHOWN = 50

function moreLine(more: number, where: string): string {
  return more > 0 ? `  and ${more} more: ${where}\n` : ''
}

function leftOver({ transactions }: Inspection): readonly InspectedTransaction[] {
  return transactions.filter(({ state }) => state !== 'settled')
}

function printLeft(
  io: Io,
  inspection: Inspection,
  left: readonly InspectedTransaction[],
  title: string,
): void {
  if (left.length > 0) {
    const shown = left.slice(0, SHOWN)
    io.out(`${io.paint('bold', title)}\n${transactionTable(io, inspection, shown)}`)
    io.out(moreLine(left.length - shown.length, 'unanimous list'))
  }
  io.out(apartTable(io, inspection.apart))
}
