/** `unanimous status`: one screen, and what to type next. */
import type { LogDirectory } from '../../coordinator/location.ts'
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
import { inspectionJson, json } from '../json.ts'
import { formatAge, formatBytes, formatTime, holderOf, shortId, table } from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface StatusOptions extends SessionOptions {
  readonly json?: boolean
}

/** @throws UnanimousError LOG_UNREADABLE or LOG_CORRUPT */
export function status(io: Io, options: StatusOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const inspection = await session.inspect()
    const { log } = session.config
    const disk = await onDisk(log)
    const next = nextSteps(inspection, disk)
    if (options.json === true)
      io.out(json(inspection.atMs, statusJson(inspection, log, disk, next)))
    else print(io, inspection, log, disk, next)
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
  const names = await nodeFileSystem.list(directory)
  const stats = await Promise.all(names.map((name) => nodeFileSystem.stat(`${directory}/${name}`)))
  const sizes = stats.flatMap((stat) => (stat === undefined || stat.size === 0 ? [] : [stat.size]))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  return { files: sizes.length, bytes, sound: repairable.length === 0 }
}

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

function statusJson(
  inspection: Inspection,
  location: LogDirectory,
  disk: Disk,
  next: readonly string[],
): object {
  const { log, participants } = inspectionJson(inspection, location)
  const last = inspection.operators.at(-1)
  return {
    log: { ...log, ...disk },
    participants,
    unsettled: { count: count(inspection, 'unsettled'), oldestMs: oldestMs(inspection) ?? null },
    heuristic: { count: count(inspection, 'heuristic') },
    live: { count: count(inspection, 'live') },
    apart: Object.fromEntries(KINDS.map((kind) => [kind, apartOf(inspection, kind)])),
    lastOperator:
      last === undefined
        ? null
        : {
            at: formatTime(last.atMs),
            action: last.action,
            gtrid: last.gtrid,
            who: last.who,
            host: last.host,
            reason: last.reason,
          },
    next,
  }
}

function print(
  io: Io,
  inspection: Inspection,
  { directory }: LogDirectory,
  disk: Disk,
  next: readonly string[],
): void {
  const { owner, logId, participants, operators, atMs } = inspection
  const size = `${formatBytes(disk.bytes)} in ${disk.files} files`
  const sound = disk.sound ? io.paint('green', 'sound') : io.paint('yellow', 'repairable')
  const rows = [
    ['log', directory, `una1-${logId}`, `${size}, ${sound}`],
    ['owner', holderOf(owner)],
    ...participants.map((one) => participantRow(io, one)),
  ]
  const unsettled = count(inspection, 'unsettled')
  const age = oldestMs(inspection)
  const since = age === undefined ? '' : `, the oldest for ${formatAge(age)}`
  const heuristic = count(inspection, 'heuristic')
  const live = count(inspection, 'live')
  const apart = KINDS.filter((kind) => apartOf(inspection, kind) > 0)
  const last = operators.at(-1)
  const facts = [
    ['unsettled', unsettled === 0 ? '0' : io.paint('yellow', `${unsettled}${since}`)],
    ...(heuristic === 0 ? [] : [['heuristic', io.paint('red', String(heuristic))]]),
    ...(live === 0 ? [] : [['live', String(live)]]),
    ...(apart.length === 0
      ? []
      : [['apart', apart.map((kind) => `${apartOf(inspection, kind)} ${kind}`).join(', ')]]),
    ...(last === undefined
      ? []
      : [
          [
            'by hand',
            `${last.action} ${shortId(last.gtrid)}`.trim() +
              `, ${formatAge(atMs - last.atMs)} ago, by ${last.who} on ${last.host}: ${last.reason}`,
          ],
        ]),
  ]
  io.out(table([...rows, ...facts]))
  if (next.length > 0) io.err(`Next: ${next.join(', then ')}\n`)
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
