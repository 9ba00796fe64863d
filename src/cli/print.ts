/** How things look to people: tables and lines. What programs read is in json.ts. */
import stringWidth from 'string-width'
import type { LogDirectory } from '../coordinator/location.ts'
import type { LiveStatus } from '../live/wire.ts'
import type { LogOwner } from '../log/decision-log.ts'
import type {
  ApartBranch,
  InspectedBranch,
  InspectedParticipant,
  InspectedState,
  InspectedTransaction,
  Inspection,
} from '../recovery/inspection.ts'
import { parseGtrid } from '../xid.ts'
import type { Io, Style } from './io.ts'

/** Columns without lines, each as wide as it needs; ends with a newline. */
export function table(rows: readonly (readonly string[])[], indent: '' | '  ' = ''): string {
  const widths: number[] = []
  const measured = rows.map((row) =>
    row.map((cell, column) => {
      const text = printable(cell)
      const width = widthOf(text)
      widths[column] = Math.max(widths[column] ?? 0, width)
      return { text, width }
    }),
  )
  const lines = measured.map((row) => {
    const cells = row.map(({ text, width }, column) => {
      const isLast = column === row.length - 1
      return isLast ? text : text + ' '.repeat((widths[column] ?? 0) - width)
    })
    return `${indent}${cells.join('  ').trimEnd()}\n`
  })
  return lines.join('')
}

/** In columns of a terminal. Nearly every cell is plain, and there may be very many. */
function widthOf(text: string): number {
  return PLAIN.test(text) ? text.length : stringWidth(text)
}

const PLAIN = /^[ -~]*$/

/** `850ms`, `12s`, `6m12s`, `3h05m`, `4d02h`. */
export function formatAge(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))}ms`
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours}h${two(minutes % 60)}m`
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`
}

export function formatTime(ms: number): string {
  return new Date(ms).toISOString()
}

/** `850 KiB`, `32.0 MiB`. */
export function formatBytes(count: number): string {
  if (count < 1024 * 1024) return `${Math.ceil(count / 1024)} KiB`
  return `${(count / 1024 / 1024).toFixed(1)} MiB`
}

/** A gtrid without what all gtrids of a log have in common; `show` takes it back. */
export function shortId(gtrid: string): string {
  const parsed = parseGtrid(gtrid)
  return parsed === undefined
    ? gtrid
    : gtrid.slice(gtrid.indexOf(parsed.logId) + parsed.logId.length + 1)
}

/** Where the log is, and who holds it. */
export function logLine({ owner, logId }: Inspection, { directory }: LogDirectory): string {
  return `log ${directory}  una1-${logId}  ${holderOf(owner)}\n`
}

export function holderOf(owner: LogOwner | undefined): string {
  if (owner === undefined) return 'no process holds it'
  return `held by process ${owner.pid} on ${owner.host} since ${formatTime(owner.sinceMs)}`
}

/** How a running coordinator is. */
export function coordinatorLine({
  state,
  running,
  oldestRunningMs,
  stoppedBy,
}: LiveStatus): string {
  const oldest =
    oldestRunningMs === undefined ? '' : `, the oldest for ${formatAge(oldestRunningMs)}`
  const why = stoppedBy === undefined ? '' : `: ${stoppedBy.message}`
  return `${state}${why}, ${running} running${oldest}`
}

export function transactionTable(
  io: Io,
  inspection: Inspection,
  shown: readonly InspectedTransaction[],
): string {
  const names = participantNames(inspection)
  const head = [
    'ID',
    'NAME',
    'STATE',
    'DECISION',
    'AGE',
    ...names.map((name) => name.toUpperCase()),
    'ADVICE',
  ]
  const rows = shown.map((each) => [
    shortId(each.gtrid),
    each.name ?? '-',
    io.paint(STATE_STYLE[each.state], each.state),
    each.decision === 'commit' ? 'commit' : '-',
    each.sinceMs === undefined ? '-' : formatAge(inspection.atMs - each.sinceMs),
    ...names.map((name) => cell(io, each, name, inspection.participants)),
    each.advice.why,
  ])
  return `${table([head.map((title) => io.paint('bold', title)), ...rows])}${waitLines(inspection, shown)}`
}

/** Who waits for what is on the screen. */
function waitLines({ participants }: Inspection, shown: readonly InspectedTransaction[]): string {
  const known = shown.flatMap(({ gtrid, branches }) =>
    branches.flatMap(({ participant, holds }) => {
      const count = holds?.waiting.length ?? 0
      return count === 0 ? [] : [`${participant}: ${sessions(count)} for ${shortId(gtrid)}`]
    }),
  )
  const unclear = participants.flatMap(({ name, waiting = [] }) =>
    waiting.length === 0 ? [] : [`${name}: ${sessions(waiting.length)} for some prepared branch`],
  )
  return [...known, ...unclear].map((line) => `${line}\n`).join('')
}

function sessions(count: number): string {
  return count === 1 ? '1 session waits' : `${count} sessions wait`
}

const STATE_STYLE: { readonly [S in InspectedState]: Style } = {
  unsettled: 'yellow',
  live: 'cyan',
  heuristic: 'red',
  settled: 'green',
}

function participantNames({ participants, transactions }: Inspection): string[] {
  const inBranches = transactions.flatMap(({ branches }) =>
    branches.map((each) => each.participant),
  )
  return [...new Set([...participants.map(({ name }) => name), ...inBranches])]
}

function cell(
  io: Io,
  { branches }: InspectedTransaction,
  name: string,
  participants: readonly InspectedParticipant[],
): string {
  const its = branches.filter(({ participant }) => participant === name)
  if (its.length > 0) return its.map((branch) => branchState(io, branch)).join(', ')
  const asked = participants.find((each) => each.name === name)?.prepared !== undefined
  return asked ? '-' : '?'
}

/** The branch's end where the log holds it, else what its database says. */
export function branchState(io: Io, { answer, state }: InspectedBranch): string {
  if (answer === undefined) return state === 'prepared' ? io.paint('yellow', state) : state
  switch (answer) {
    case 'committed':
      return io.paint('green', 'committed')
    case 'committed-unproven':
      return io.paint('green', 'committed (unproven)')
    case 'heuristic-commit':
      return io.paint('red', 'committed by hand')
    case 'heuristic-rollback':
      return io.paint('red', 'rolled back')
    case 'heuristic-hazard':
      return io.paint('red', 'end unknown')
  }
}

/** Beside what is of this log: the rest is for `orphans`. */
export const APART_SHOWN = 20

/**
 * Branches that are listed and never touched; empty when there are none.
 *
 * @param total - how many there are, when these are not all
 */
export function apartTable(
  io: Io,
  apart: readonly ApartBranch[],
  total: number = apart.length,
): string {
  if (apart.length === 0) return ''
  const shown = apart.slice(0, APART_SHOWN)
  const rows = shown.map(({ participant, id, kind, why }) => [participant, kind, id, why])
  const more = total - shown.length
  const rest = more === 0 ? '' : `  and ${more} more: unanimous orphans\n`
  return `${io.paint('bold', 'Not of this log, never touched:')}\n${table(rows, '  ')}${rest}`
}

/**
 * Ids, names and meta come from databases and applications: no control character of theirs reaches a
 * terminal, nor one that turns the direction of what follows. Colours pass.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, '\ufffd')
}

const CONTROL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\u001b(?!\[[\d;]*m)|[\u0000-\u001a\u001c-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function two(value: number): string {
  return String(value).padStart(2, '0')
}
