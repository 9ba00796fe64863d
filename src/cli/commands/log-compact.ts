/**
 * `unanimous log compact`: opens the log as its owner, which writes what is still needed into a
 * fresh segment, and lets go of it. Damage of one copy is repaired on the way.
 */
import { nodeFileSystem } from '../../log/node-file-system.ts'
import { openFileDecisionLog } from '../../log/open-log.ts'
import { type LogReport, verifyLog } from '../../log/read-log.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { json } from '../json.ts'
import { type LogCommandOptions, locateLog, logSeams } from '../log-access.ts'
import { formatBytes, table } from '../print.ts'

export interface LogCompactOptions extends LogCommandOptions {
  readonly json?: boolean
}

/** @throws UnanimousError LOG_UNREADABLE, LOG_CORRUPT, LOG_LOCKED or LOG_COPIED */
export async function logCompact(io: Io, options: LogCompactOptions): Promise<ExitCode> {
  const location = await locateLog(io, options)
  const { directory } = location
  // Opening a directory without a log would make one.
  const before = await verifyLog(directory, nodeFileSystem)
  const diskBefore = await diskBytes(directory)
  // The size that the application chose stays.
  const opened = await openFileDecisionLog(
    { ...location, segmentBytes: before.bytes },
    logSeams(io),
  )
  await (await opened.start()).close()
  const after = await verifyLog(directory, nodeFileSystem)
  const diskAfter = await diskBytes(directory)
  if (options.json === true) {
    const log = { directory, logId: after.logId }
    const extents = { before: extent(before, diskBefore), after: extent(after, diskAfter) }
    io.out(json(io.clock.now(), { log, ...extents }))
    return EXIT.clean
  }
  const head = ['', 'BATCHES', 'RECORDS', 'NOT SETTLED', 'USED', 'ON DISK']
  const rows = [
    head.map((title) => io.paint('bold', title)),
    sizes('before', before, diskBefore),
    sizes('after', after, diskAfter),
  ]
  io.out(`log ${directory}  una1-${after.logId}\n${table(rows)}`)
  return EXIT.clean
}

function extent({ batches, records, pending, end }: LogReport, disk: number): object {
  return { batches, records, pending, end, bytes: disk }
}

function sizes(
  when: string,
  { batches, records, pending, end }: LogReport,
  disk: number,
): readonly string[] {
  return [
    when,
    String(batches),
    String(records),
    String(pending),
    formatBytes(end),
    formatBytes(disk),
  ]
}

async function diskBytes(directory: string): Promise<number> {
  const names = await nodeFileSystem.list(directory)
  const stats = await Promise.all(names.map((name) => nodeFileSystem.stat(`${directory}/${name}`)))
  return stats.reduce((sum, stat) => sum + (stat?.size ?? 0), 0)
}
