/** `unanimous doctor`: whether everything is set up for two-phase commit, and what mends it. */
import { UnanimousError } from '../../errors.ts'
import type { Finding, Severity } from '../../participant/participant.ts'
import {
  type ExaminedLog,
  type ExaminedParticipant,
  examineLog,
  examineParticipants,
} from '../examine.ts'
import { EXIT, type ExitCode, exitCodeOf } from '../exit-codes.ts'
import { type Io, messageLines, redact, type Style } from '../io.ts'
import { json, ownerJson, troubleJson } from '../json.ts'
import { holderOf, printable } from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface DoctorOptions extends SessionOptions {
  readonly json?: boolean
}

export function doctor(io: Io, options: DoctorOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const log = await examineLog(session)
    const participants = await examineParticipants(io, session)
    if (options.json === true) {
      const body = { log: logJson(log), participants: participants.map(participantJson) }
      io.out(json(io.clock.now(), body))
    } else {
      print(io, log, participants)
    }
    return exitCode(log, participants)
  })
}

/** What is unwise or could not be read needs a look, not a mend. */
function exitCode(log: ExaminedLog, participants: readonly ExaminedParticipant[]): ExitCode {
  if (log.trouble !== undefined) return exitCodeOf(log.trouble)
  if (participants.some(({ seen }) => seen instanceof UnanimousError)) return EXIT.unreachable
  return mustMend(log, participants) > 0 ? EXIT.unsettled : EXIT.clean
}

function mustMend(log: ExaminedLog, participants: readonly ExaminedParticipant[]): number {
  const seen = participants.flatMap((each) =>
    each.seen instanceof UnanimousError ? [] : each.seen.findings,
  )
  return [...log.findings, ...seen].filter(({ severity }) => severity === 'unfit').length
}

function print(io: Io, log: ExaminedLog, participants: readonly ExaminedParticipant[]): void {
  const { directory, fileSystem, logId, owner, trouble } = log
  const state = logId === undefined ? 'there is no log yet' : `una1-${logId}  ${holderOf(owner)}`
  io.out(`${io.paint('bold', 'log')}  ${directory}  ${fileSystem.name}`)
  io.out(trouble === undefined && log.findings.every(isOfFileSystem) ? `  ${state}\n` : '\n')
  if (trouble !== undefined) io.err(messageLines(`error: ${trouble.message}`, trouble.hint))
  for (const finding of log.findings) printFinding(io, finding)
  for (const { name, seen } of participants) {
    if (seen instanceof UnanimousError) {
      io.out(`${io.paint('bold', name)}  ${io.paint('red', 'unreachable')}\n`)
      io.err(messageLines(`error: ${seen.message}`, seen.hint))
      continue
    }
    const markers = seen.markers ? 'marker rows on' : 'no marker rows: see `unanimous init`'
    io.out(`${io.paint('bold', name)}  ${seen.server}  ${markers}  ${clock(seen.clockSkewMs)}\n`)
    for (const finding of seen.findings) printFinding(io, finding)
  }
  const count = mustMend(log, participants)
  if (count > 0) io.err(`${count} to mend before two-phase commit is safe.\n`)
  else if (exitCode(log, participants) === EXIT.clean) io.err('Fit for two-phase commit.\n')
}

const STYLE: { readonly [S in Severity]: Style } = {
  unfit: 'red',
  unwise: 'yellow',
  unread: 'yellow',
  allowed: 'dim',
}

function printFinding(io: Io, { severity, code, message, mend, restart }: Finding): void {
  io.out(`  ${io.paint(STYLE[severity], severity)}  ${code}  ${printable(redact(message))}\n`)
  if (severity === 'allowed') return
  io.out(`    ${printable(mend)}${restart === true ? '   (and restart the server)' : ''}\n`)
}

function isOfFileSystem({ code }: Finding): boolean {
  return code === 'log-file-system'
}

function clock(skewMs: number): string {
  if (Math.abs(skewMs) < 1_000) return 'clocks agree'
  return `its clock is ${(Math.abs(skewMs) / 1_000).toFixed(1)} s ${skewMs > 0 ? 'ahead' : 'behind'}`
}

function logJson({ directory, logId, owner, fileSystem, findings, trouble }: ExaminedLog): object {
  return {
    directory,
    logId: logId ?? null,
    owner: ownerJson(owner),
    fileSystem: fileSystem.name,
    findings: findings.map(findingJson),
    trouble: trouble === undefined ? null : troubleJson(trouble),
  }
}

function participantJson({ name, seen }: ExaminedParticipant): object {
  if (seen instanceof UnanimousError) {
    return {
      name,
      server: null,
      markers: null,
      clockSkewMs: null,
      settings: {},
      findings: [],
      trouble: troubleJson(seen),
    }
  }
  const { server, markers, clockSkewMs, settings, findings } = seen
  return {
    name,
    server,
    markers,
    clockSkewMs,
    settings,
    findings: findings.map(findingJson),
    trouble: null,
  }
}

function findingJson({ code, severity, message, mend, restart }: Finding): object {
  return { code, severity, message: redact(message), mend, restart: restart ?? false }
}
