/** `unanimous show`: one transaction, its past, its branches, and what may be done about it. */
import type { LiveRunning } from '../../live/wire.ts'
import type { SeenWait } from '../../participant/participant.ts'
import { choicesOf } from '../../recovery/advice.ts'
import { type HistoryEntry, historyOf } from '../../recovery/history.ts'
import type {
  InspectedBranch,
  InspectedParticipant,
  InspectedTransaction,
  Inspection,
} from '../../recovery/inspection.ts'
import { EXIT, type ExitCode, exitCodeFor } from '../exit-codes.ts'
import { find, mustFind } from '../find.ts'
import type { Io } from '../io.ts'
import { historyJson, inspectionJson, json, runningJson, transactionJson } from '../json.ts'
import { branchState, formatAge, formatTime, logLine, shortId, table } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface ShowOptions extends SessionOptions {
  readonly json?: boolean
}

export function show(io: Io, id: string, options: ShowOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const looked = await session.inspect('at a glance')
    const { log } = session.config
    const one = find(looked, id)
    const inspection = await session.withHolds(looked, one === undefined ? [] : [one])
    const found = inspection.transactions.find(({ gtrid: its }) => its === one?.gtrid)
    const running = await runningAs(session, inspection, found?.gtrid ?? id)
    const gtrid =
      found?.gtrid ??
      running[0]?.gtrid ??
      forgotten(inspection, id) ??
      mustFind(inspection, id).gtrid
    const history = historyOf(gtrid, found, inspection.operators)
    if (options.json === true) {
      const transaction = found === undefined ? null : transactionJson(found, inspection)
      const past = history.map(historyJson)
      io.out(
        json(inspection.atMs, {
          ...inspectionJson(inspection, log),
          transaction,
          history: past,
          running: running.map(runningJson),
        }),
      )
    } else {
      io.out(logLine(inspection, log))
      if (found !== undefined) io.out(facts(found, inspection))
      else if (running.length === 0) {
        io.out(`transaction  ${gtrid}\nsettled, and forgotten by the log\n`)
      }
      if (running.length > 0) io.out(runningTable(running))
      io.out(past(history))
      if (found !== undefined) io.out(present(io, found, inspection))
    }
    if (found === undefined) return EXIT.clean
    return exitCodeFor({ ...inspection, transactions: [found], apart: [] })
  })
}

/** What the coordinator that runs works on under that id, whether or not it has prepared anything. */
async function runningAs(
  session: Session,
  { owner }: Inspection,
  id: string,
): Promise<readonly LiveRunning[]> {
  if (owner === undefined) return []
  return (await session.ask('show', { id }))?.running ?? []
}

function runningTable(running: readonly LiveRunning[]): string {
  const rows = running.map(({ gtrid, name, state, ageMs, participants }) => [
    shortId(gtrid),
    name ?? '-',
    state,
    formatAge(ageMs),
    participants.join(', '),
  ])
  return `running\n${table(rows, '  ')}`
}

/** A transaction of which only an operator's deeds are still on record. */
function forgotten({ operators }: Inspection, id: string): string | undefined {
  return operators.find(
    ({ gtrid }) => gtrid !== '' && (gtrid.startsWith(id) || shortId(gtrid).startsWith(id)),
  )?.gtrid
}

function facts(each: InspectedTransaction, { atMs }: Inspection): string {
  const { decidedAtMs, place, sinceMs } = each
  const decision =
    decidedAtMs === undefined
      ? 'none is logged'
      : `commit, logged ${formatTime(decidedAtMs)} (${formatAge(atMs - decidedAtMs)} ago)`
  return table([
    ['transaction', each.gtrid],
    ['name', each.name ?? '-'],
    ...(each.meta === undefined ? [] : [['meta', each.meta]]),
    ['state', each.state],
    ['since', sinceMs === undefined ? 'not known' : formatTime(sinceMs)],
    ['decision', decision],
    ...(place === undefined ? [] : [['logged in', `${place.file} at offset ${place.offset}`]]),
  ])
}

function past(history: readonly HistoryEntry[]): string {
  if (history.length === 0) return ''
  const rows = history.map((entry) => [
    formatTime(entry.atMs),
    entry.kind,
    entry.participant ?? '',
    entry.who === undefined
      ? entry.what
      : `${entry.what}, by ${entry.who} on ${entry.host}: ${entry.reason}`,
  ])
  return `history\n${table(rows, '  ')}`
}

function present(io: Io, each: InspectedTransaction, { owner, participants }: Inspection): string {
  const branches = each.branches.map((branch) => [
    branch.participant,
    branchState(io, branch),
    branch.id ?? branch.bqual,
    `${branch.advice.action}: ${branch.advice.why}`,
  ])
  const known = each.branches.flatMap(holdLines)
  const holds = [...known, ...participants.flatMap((one) => unclearLines(one, each))]
  const choices = choicesOf(each, owner !== undefined)
  const advice = [
    ['advice', each.advice.why],
    ['commit', choices.commit],
    ['roll back', choices.rollBack],
  ]
  const held = holds.length === 0 ? '' : `holds\n${table(holds, '  ')}`
  return `now\n${table(branches, '  ')}${held}${table(advice)}`
}

/** Of a server that does not tell for which branch: this one is one of those that may be meant. */
function unclearLines(
  { name, waiting = [] }: InspectedParticipant,
  { branches }: InspectedTransaction,
): readonly (readonly string[])[] {
  const isIn = branches.some((one) => one.participant === name && one.state === 'prepared')
  if (!isIn) return []
  return waiting.map((wait) => [name, `${waitLine(wait)}, for this or another prepared branch`])
}

function waitLine({ session, user, waitingMs }: SeenWait): string {
  const who = user === undefined ? `session ${session}` : `session ${session} of ${user}`
  return waitingMs === undefined ? `${who} waits` : `${who} has waited for ${formatAge(waitingMs)}`
}

function holdLines({ participant, holds }: InspectedBranch): readonly (readonly string[])[] {
  if (holds === undefined) return []
  const { locks, tables, rows, waiting } = holds
  const what = [
    ...(rows === undefined ? [] : [`${rows} rows changed`]),
    ...(locks === undefined ? [] : [`${locks} locks`]),
    ...(tables === undefined || tables.length === 0 ? [] : [`in ${tables.join(', ')}`]),
  ]
  const waits = waiting.map((wait) => [participant, waitLine(wait)])
  return [...(what.length === 0 ? [] : [[participant, what.join(' ')]]), ...waits]
}
