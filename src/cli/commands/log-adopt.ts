/**
 * `unanimous log adopt`: makes a copied, moved or restored directory the log from here on. Without
 * `--apply` it says what that means, and which undecided branches nobody decides any more.
 *
 * Logged commits stay: they were decided, whoever carries them out. What is not logged here may have
 * been decided by the original after the copy was made, so presumed abort must not reach it.
 */
import type { LogDirectory } from '../../coordinator/location.ts'
import { UnanimousError } from '../../errors.ts'
import type { LogOwner } from '../../log/decision-log.ts'
import { identityOf, type LockIdentity, readOwner } from '../../log/log-lock.ts'
import { nodeFileSystem } from '../../log/node-file-system.ts'
import { adoptLog } from '../../log/open-log.ts'
import { type LogReport, verifyLog } from '../../log/read-log.ts'
import type { ApartBranch, Inspection } from '../../recovery/inspection.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { apartJson, json } from '../json.ts'
import { alsoByDirectory, type LogCommandOptions, locateLog, logSeams } from '../log-access.ts'
import { operatorWord } from '../operator.ts'
import { shortId, table } from '../print.ts'
import { type Session, withSession } from '../session.ts'

export interface LogAdoptOptions extends LogCommandOptions {
  readonly apply?: boolean
  readonly json?: boolean
  /** Stays on record. */
  readonly reason?: string
}

/** @throws UnanimousError LOG_UNREADABLE, LOG_CORRUPT or LOG_LOCKED */
export async function logAdopt(io: Io, options: LogAdoptOptions): Promise<ExitCode> {
  if (options.log !== undefined && options.config === undefined) {
    return adopt(io, await locateLog(io, options), options, undefined)
  }
  const work = (session: Session): Promise<ExitCode> =>
    adopt(io, session.config.log, options, () => session.inspect())
  return withSession(io, options, work).catch(alsoByDirectory)
}

async function adopt(
  io: Io,
  location: LogDirectory,
  options: LogAdoptOptions,
  inspect: (() => Promise<Inspection>) | undefined,
): Promise<ExitCode> {
  const { directory } = location
  // Adopting a directory without a log would make one.
  const report = await verifyLog(directory, nodeFileSystem)
  const owner = await readOwner(directory, nodeFileSystem)
  if (owner !== undefined) throw held(directory, owner)
  const identity = await identityOf(directory, nodeFileSystem)
  // What the databases hold has to be asked while the log still knows its incarnations.
  const inspection = await inspect?.()
  const applied = options.apply === true
  if (applied) {
    const word = operatorWord(options.reason ?? 'log adopt --apply')
    const entry = { ...word, action: 'adopt', gtrid: '' }
    await adoptLog({ ...location, segmentBytes: report.bytes }, logSeams(io), entry)
  }
  if (options.json === true) {
    const log = { directory, logId: report.logId }
    const keeps = { applied, log, identity, keeps: report.pending }
    io.out(json(io.clock.now(), { ...keeps, ...foundJson(inspection) }))
  } else {
    print(io, { directory, report, identity, inspection, applied })
  }
  return exitCode(inspection, options)
}

function foundJson(inspection: Inspection | undefined): object {
  if (inspection === undefined) return { orphans: null, copies: null }
  return {
    orphans: orphansIn(inspection),
    copies: copiesIn(inspection).map(apartJson),
  }
}

interface Looked {
  readonly directory: string
  readonly report: LogReport
  readonly identity: LockIdentity
  /** Where the databases were asked. */
  readonly inspection: Inspection | undefined
  readonly applied: boolean
}

function print(io: Io, { directory, report, identity, inspection, applied }: Looked): void {
  io.out(`log ${directory}  una1-${report.logId}\n${IDENTITY[identity]}\n`)
  io.out(
    applied
      ? `${io.paint('green', 'Adopted:')}\n`
      : `${io.paint('bold', 'Plan (dry run, nothing was changed):')}\n`,
  )
  io.out(`  keep    the logged commits that are not settled: ${report.pending}\n`)
  io.out('  forget  every incarnation so far: undecided branches of theirs become orphans\n')
  if (inspection === undefined) {
    io.err('Which branches become orphans is in the databases: --config lists them.\n')
  } else {
    printOrphans(io, inspection)
  }
  if (!applied) {
    io.err('Make sure that no other copy is in use, or will be. Then run again with --apply.\n')
  }
}

const IDENTITY: Readonly<Record<LockIdentity, string>> = {
  own: 'Its lock file is the one that was recorded: this may well be the original.',
  copied: 'Its lock file is not the one that was recorded: it was copied, moved or restored.',
  unrecorded: 'It has no lock file of its own: it was copied or restored without one.',
}

function held(directory: string, { pid, host }: LogOwner): UnanimousError {
  const message = `the log directory ${directory} is held by process ${pid} on ${host}`
  return new UnanimousError('LOG_LOCKED', message, {
    hint: 'A log that a process has opened is nothing to adopt.',
  })
}

function printOrphans(io: Io, inspection: Inspection): void {
  const orphans = orphansIn(inspection)
  if (orphans.length > 0) {
    const rows = orphans.map(({ gtrid, participant, id }) => [shortId(gtrid), participant, id])
    io.out(`${io.paint('bold', 'Orphans, for an operator to end:')}\n${table(rows, '  ')}`)
  } else if (inspection.participants.every(({ trouble }) => trouble === undefined)) {
    io.out('No database lists a branch that becomes an orphan.\n')
  }
  const copies = copiesIn(inspection)
  if (copies.length === 0) return
  const rows = copies.map(({ participant, id, why }) => [participant, id, why])
  io.out(`${io.paint('red', 'The original went on after this copy was made:')}\n`)
  io.out(table(rows, '  '))
  io.err(
    messageLines(
      'warning: no coordinator opens this log while these branches are prepared',
      'Use the original. If it is lost, end them by hand: it alone knew whether they were decided.',
    ),
  )
}

function orphansIn({ transactions }: Inspection): readonly Orphan[] {
  return transactions
    .filter(({ decision }) => decision === 'none')
    .flatMap(({ gtrid, branches }) =>
      branches.map(({ participant, id, bqual }) => ({ gtrid, participant, id: id ?? bqual })),
    )
}

interface Orphan {
  readonly gtrid: string
  readonly participant: string
  readonly id: string
}

function copiesIn({ apart }: Inspection): readonly ApartBranch[] {
  return apart.filter(({ kind }) => kind === 'copy')
}

function exitCode(inspection: Inspection | undefined, { apply }: LogAdoptOptions): ExitCode {
  if (inspection !== undefined && copiesIn(inspection).length > 0) return EXIT.corrupt
  if (inspection?.participants.some(({ trouble }) => trouble !== undefined) === true) {
    return EXIT.unreachable
  }
  return apply === true ? EXIT.clean : EXIT.unsettled
}
