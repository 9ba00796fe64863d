/** How things look: tables for people, JSON (schema version 1) for programs. */
import Table from 'cli-table3'
import type { LogDirectory } from '../coordinator/location.ts'
import type { UnanimousError } from '../errors.ts'
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
import { type Io, redact, type Style } from './io.ts'

/** Fields are added within a version, never changed or removed. */
const SCHEMA_VERSION = 1

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
}

/** Columns without lines, each as wide as it needs; ends with a newline. */
export function table(rows: readonly (readonly string[])[], indent: '' | '  ' = ''): string {
  const plain = new Table({
    chars: NO_BORDERS,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  })
  plain.push(...rows.map((row) => row.map((cell) => printable(cell))))
  return `${plain.toString().replace(/ +$/gm, '').replace(/^/gm, indent)}\n`
}

export function json(atMs: number, body: object): string {
  const generatedAt = new Date(atMs).toISOString()
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, generatedAt, ...body }, null, 2)}\n`
}

/** One object on a line of its own, for output that is a stream of them. */
export function jsonLine(body: object): string {
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...body })}\n`
}

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
  return table([head.map((title) => io.paint('bold', title)), ...rows])
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
    case 'heuristic-rollback':
      return io.paint('red', 'rolled back')
    case 'heuristic-hazard':
      return io.paint('red', 'end unknown')
  }
}

/** Branches that are listed and never touched; empty when there are none. */
export function apartTable(io: Io, apart: readonly ApartBranch[]): string {
  if (apart.length === 0) return ''
  const rows = apart.map(({ participant, id, kind, why }) => [participant, kind, id, why])
  return `${io.paint('bold', 'Not of this log, never touched:')}\n${table(rows, '  ')}`
}

export function inspectionJson(inspection: Inspection, { directory }: LogDirectory): object {
  const { owner, logId, participants, apart } = inspection
  return {
    log: { directory, logId, owner: ownerJson(owner) },
    participants: participants.map(participantJson),
    apart: apart.map(({ participant, kind, id, why, preparedAtMs, owner: role }) => ({
      participant,
      kind,
      id,
      why,
      preparedAt: time(preparedAtMs),
      owner: role ?? null,
    })),
  }
}

export function participantJson(each: InspectedParticipant): object {
  return {
    name: each.name,
    server: each.server ?? null,
    markers: each.markers ?? null,
    prepared: each.prepared ?? null,
    trouble: each.trouble === undefined ? null : troubleJson(each.trouble),
  }
}

export function ownerJson(owner: LogOwner | undefined): object | null {
  if (owner === undefined) return null
  return { pid: owner.pid, host: owner.host, since: formatTime(owner.sinceMs) }
}

export function troubleJson({ code, message, hint }: UnanimousError): object {
  return { code, message: redact(message), hint: hint ?? null }
}

export function transactionJson(each: InspectedTransaction, atMs: number): object {
  return {
    gtrid: each.gtrid,
    name: each.name ?? null,
    meta: parsedMeta(each.meta),
    state: each.state,
    decision: each.decision,
    decidedAt: time(each.decidedAtMs),
    ageMs: each.sinceMs === undefined ? null : Math.max(0, Math.round(atMs - each.sinceMs)),
    branches: each.branches.map((branch) => ({
      participant: branch.participant,
      bqual: branch.bqual,
      state: branch.state,
      id: branch.id ?? null,
      preparedAt: time(branch.preparedAtMs),
      owner: branch.owner ?? null,
      answer: branch.answer ?? null,
      advice: branch.advice,
    })),
    advice: each.advice,
  }
}

function time(ms: number | undefined): string | null {
  return ms === undefined ? null : formatTime(ms)
}

/** Written by the application, and checked by it alone: anything may be there. */
export function parsedMeta(meta: string | undefined): unknown {
  if (meta === undefined) return null
  try {
    return JSON.parse(meta)
  } catch {
    return meta
  }
}

/**
 * Ids, names and meta come from databases and applications: no control character of theirs reaches a
 * terminal. Colours pass.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, '\ufffd')
}

const CONTROL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\u001b(?!\[[\d;]*m)|[\u0000-\u001a\u001c-\u001f\u007f-\u009f]/g

function two(value: number): string {
  return String(value).padStart(2, '0')
}
