/**
 * `unanimous log dump`: every record of the log, oldest first, without its lock. A table is written
 * line by line with fixed columns: a log may hold more records than a table should be measured for.
 */
import type { CommitRecord } from '../../log/decision-log.ts'
import { readOwner } from '../../log/log-lock.ts'
import { nodeFileSystem } from '../../log/node-file-system.ts'
import { type DumpedBatch, dumpLog } from '../../log/read-log.ts'
import type { LogRecord } from '../../log/record.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { jsonLine, parsedMeta } from '../json.ts'
import { type LogCommandOptions, locateLog } from '../log-access.ts'
import { formatTime, holderOf, printable, shortId } from '../print.ts'

export interface LogDumpOptions extends LogCommandOptions {
  readonly json?: boolean
}

/** @throws LogCorruptError after what lies before the damage was shown */
export async function logDump(io: Io, options: LogDumpOptions): Promise<ExitCode> {
  const { directory } = await locateLog(io, options)
  const owner = await readOwner(directory, nodeFileSystem)
  let first = true
  for await (const batch of dumpLog(directory, nodeFileSystem)) {
    if (options.json === true) {
      io.out(batch.records.map((record) => jsonLine(recordJson(batch, record))).join(''))
      continue
    }
    if (first) {
      io.out(`log ${batch.file}  ${holderOf(owner)}\n`)
      io.out(`${io.paint('bold', row('BATCH', 'OFFSET', 'RECORD', 'AT', 'WHAT'))}\n`)
      first = false
    }
    io.out(batch.records.map((record) => `${recordRow(batch, record)}\n`).join(''))
  }
  return EXIT.clean
}

function row(batch: string, offset: string, record: string, at: string, what: string): string {
  const head = [batch.padEnd(8), offset.padEnd(10), record.padEnd(10), at.padEnd(24)]
  return `${head.join('  ')}  ${printable(what)}`.trimEnd()
}

function recordRow({ batch, offset }: DumpedBatch, record: LogRecord): string {
  const at = timeOf(record)
  const time = at === undefined ? '-' : formatTime(at)
  return row(String(batch), String(offset), record.type, time, describe(record))
}

function timeOf(record: LogRecord): number | undefined {
  if (record.type === 'commit') return record.commit.decidedAtMs
  return 'atMs' in record ? record.atMs : undefined
}

/** Ids as `list` prints them: without what all gtrids of the log have in common. */
function describe(record: LogRecord): string {
  switch (record.type) {
    case 'checkpoint': {
      const { logId, lowestEpoch, nonces } = record
      const last = lowestEpoch + nonces.length - 1
      const known = nonces.length === 0 ? 'none' : `${lowestEpoch} to ${last}`
      return `una1-${logId}, incarnations: ${known}`
    }
    case 'open':
      return `incarnation ${record.epoch.toString(36)}.${record.nonce}`
    case 'server':
      return `#${record.index} ${record.server}${record.timeline === undefined ? '' : ` timeline ${record.timeline}`}`
    case 'commit': {
      const { gtrid, name, branches } = record.commit
      const bquals = branches.map(({ bqual }) => bqual).join(', ')
      return `${shortId(gtrid)}  ${name ?? '-'}  ${bquals}`
    }
    case 'answered':
    case 'heuristic':
      return `${shortId(record.gtrid)}  ${record.bqual}: ${record.answer}`
    case 'end':
      return shortId(record.gtrid)
    case 'operator': {
      const { action, gtrid, bqual, who, host, reason } = record
      const branch = bqual === '' ? '' : `  ${bqual}`
      return `${shortId(gtrid)}${branch}  ${action} by ${who} on ${host}: ${reason}`
    }
  }
}

function recordJson({ file, offset, batch }: DumpedBatch, record: LogRecord): object {
  const at = timeOf(record)
  const time = at === undefined ? null : formatTime(at)
  return { file, offset, batch, type: record.type, at: time, ...bodyJson(record) }
}

function bodyJson(record: LogRecord): object {
  switch (record.type) {
    case 'checkpoint':
      return { logId: record.logId, lowestEpoch: record.lowestEpoch, nonces: record.nonces }
    case 'open':
      return { epoch: record.epoch, nonce: record.nonce }
    case 'server':
      return { index: record.index, server: record.server, timeline: record.timeline ?? null }
    case 'commit':
      return commitJson(record.commit)
    case 'answered':
    case 'heuristic':
      return { gtrid: record.gtrid, bqual: record.bqual, answer: record.answer }
    case 'end':
      return { gtrid: record.gtrid }
    case 'operator': {
      const { action, gtrid, bqual, who, host, reason } = record
      return { action, gtrid, bqual: bqual === '' ? null : bqual, who, host, reason }
    }
  }
}

function commitJson({ gtrid, name, meta, branches }: CommitRecord): object {
  return {
    gtrid,
    name: name ?? null,
    meta: parsedMeta(meta),
    branches: branches.map(({ participant, bqual, server, xid8, marker }) => ({
      participant,
      bqual,
      server: server.server,
      timeline: server.timeline ?? null,
      serverStartedAt: formatTime(server.startedAtMs),
      xid8: xid8 ?? null,
      marker,
    })),
  }
}
