/** `unanimous status`: one screen, and what to type next. */
import type { LogDirectory } from '../../coordinator/location.ts'
import type { LiveStatus } from '../../live/wire.ts'
import type { OperatorNote } from '../../log/decision-log.ts'
import { nodeFileSystem } from '../../log/node-file-system.ts'
import { verifyLog } from '../../log/read-log.ts'
import type {
  ApartKind,
  InspectedParticipant,
  InspectedState,
  Inspection,
} from '../../recovery/inspection.ts'
import { type ExitCode, exitCodeFor } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { coordinatorJson, inspectionJson, json } from '../json.ts'
import {
  coordinatorLine,
  formatAge,
  formatBytes,
  formatTime,
  logLine,
  shortId,
  table,
} from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface StatusOptions extends SessionOptions {
  readonly json?: boolean
}

/** @throws UnanimousError LOG_UNREADABLE or LOG_CORRUPT */
export function status(io: Io, options: StatusOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const inspection = await session.withHolds(await session.inspect(), [])
    const { log } = session.config
    const disk = await onDisk(log)
    const live = await session.ask('status', {})
    const seen: Seen = { inspection, log, disk, live, next: nextSteps(inspection, disk) }
    if (options.json === true) io.out(json(inspection.atMs, statusJson(seen)))
    else print(io, seen)
    return exitCodeFor(inspection)
  })
}

interface Disk {
  readonly files: number
  readonly bytes: number
  readonly sound: boolean
}

async function onDisk({ directory }: LogDirectory): Promise<Disk> {
  const { repairable } = await verifyLog(directory, nodeFileSystem)
  const names = (await nodeFileSystem.list(directory)).filter((name) => !NO_DATA.includes(name))
  const stats = await Promise.all(names.map((name) => nodeFileSystem.stat(`${directory}/${name}`)))
  const sizes = stats.flatMap((stat) => (stat === undefined || stat.size === 0 ? [] : [stat.size]))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  return { files: sizes.length, bytes, sound: repairable.length === 0 }
}

/** What names the lock and its owner, and where the owner listens. */
const NO_DATA: readonly string[] = ['lock', 'owner', 'live']

function count({ transactions }: Inspection, state: InspectedState): number {
  return transactions.filter((each) => each.state === state).length
}

function oldestMs({ transactions, atMs }: Inspection): number | undefined {
  const since = transactions
    .filter(({ state }) => state === 'unsettled')
    .flatMap(({ sinceMs }) => sinceMs ?? [])
  return since.length === 0 ? undefined : Math.max(0, Math.round(atMs - Math.min(...since)))
}

const KINDS: readonly ApartKind[] = ['orphan', 'foreign', 'unconfigured', 'copy']

function apartOf({ apart }: Inspection, kind: ApartKind): number {
  return apart.filter((one) => one.kind === kind).length
}

/** Commands, the most urgent first. */
function nextSteps(inspection: Inspection, disk: Disk): readonly string[] {
  const { participants, owner } = inspection
  const troubled = participants.some(({ trouble }) => trouble !== undefined)
  return [
    ...(apartOf(inspection, 'copy') > 0 ? ['unanimous log adopt'] : []),
    ...(count(inspection, 'heuristic') > 0 ? ['unanimous list --state heuristic'] : []),
    ...(troubled ? ['unanimous doctor'] : []),
    ...(count(inspection, 'unsettled') === 0
      ? []
      : [owner === undefined ? 'unanimous recover' : 'unanimous list']),
    ...(disk.sound ? [] : ['unanimous log verify']),
  ]
}

interface Seen {
  readonly inspection: Inspection
  readonly log: LogDirectory
  readonly disk: Disk
  readonly live: LiveStatus | undefined
  readonly next: readonly string[]
}

function statusJson({ inspection, log: location, disk, live, next }: Seen): object {
  const { log, participants } = inspectionJson(inspection, location)
  return {
    log: { ...log, ...disk },
    coordinator: live === undefined ? null : coordinatorJson(live),
    participants,
    unsettled: { count: count(inspection, 'unsettled'), oldestMs: oldestMs(inspection) ?? null },
    heuristic: { count: count(inspection, 'heuristic') },
    live: { count: count(inspection, 'live') },
    apart: Object.fromEntries(KINDS.map((kind) => [kind, apartOf(inspection, kind)])),
    lastOperator: lastJson(inspection.operators.at(-1)),
    next,
  }
}

function lastJson(last: OperatorNote | undefined): object | null {
  if (last === undefined) return null
  const { atMs, action, gtrid, who, host, reason } = last
  return { at: formatTime(atMs), action, gtrid, who, host, reason }
}

function print(io: Io, { inspection, log, disk, live, next }: Seen): void {
  io.out(logLine(inspection, log))
  const sound = disk.sound ? io.paint('green', 'sound') : io.paint('yellow', 'repairable')
  const rows = [
    ['log', sound, `${formatBytes(disk.bytes)} in ${disk.files} files`],
    ...inspection.participants.map((one) => participantRow(io, one)),
  ]
  io.out(table(rows))
  io.out(table(factRows(io, inspection, live)))
  if (next.length > 0) io.err(`Next: ${next.join(', then ')}\n`)
}

/** What there is none of is left out, but for what is unsettled. */
function factRows(
  io: Io,
  inspection: Inspection,
  live: LiveStatus | undefined,
): readonly (readonly string[])[] {
  const { operators, atMs } = inspection
  const unsettled = count(inspection, 'unsettled')
  const age = oldestMs(inspection)
  const since = age === undefined ? '' : `, the oldest for ${formatAge(age)}`
  const heuristic = count(inspection, 'heuristic')
  const inFlight = count(inspection, 'live')
  const apart = KINDS.filter((kind) => apartOf(inspection, kind) > 0)
  const last = operators.at(-1)
  return [
    ...(live === undefined ? [] : [['coordinator', coordinatorLine(live)]]),
    ['unsettled', unsettled === 0 ? '0' : io.paint('yellow', `${unsettled}${since}`)],
    ...(heuristic === 0 ? [] : [['heuristic', io.paint('red', String(heuristic))]]),
    ...(inFlight === 0 ? [] : [['live', String(inFlight)]]),
    ...(apart.length === 0
      ? []
      : [['apart', apart.map((kind) => `${apartOf(inspection, kind)} ${kind}`).join(', ')]]),
    ...(last === undefined ? [] : [['by hand', lastLine(last, atMs)]]),
  ]
}

function lastLine({ action, gtrid, atMs, who, host, reason }: OperatorNote, nowMs: number): string {
  const what = gtrid === '' ? action : `${action} ${shortId(gtrid)}`
  return `${what} ${formatAge(nowMs - atMs)} ago, by ${who} on ${host}: ${reason}`
}

function participantRow(io: Io, one: InspectedParticipant): readonly string[] {
  if (one.trouble !== undefined) return [one.name, io.paint('red', 'cannot be asked')]
  const waiting = one.waiting?.length ?? 0
  return [
    one.name,
    one.server ?? '',
    `${one.prepared ?? 0} prepared`,
    one.markers === true ? 'marker rows on' : 'no marker rows',
    ...(waiting === 0 ? [] : [`${waiting} sessions wait for them`]),
  ]
}
