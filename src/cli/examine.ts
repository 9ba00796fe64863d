/**
 * What `unanimous doctor` looks at: the log's directory, and every participant at the same time, each
 * for a bounded time. Changes nothing, and takes no lock.
 */
import { dirname } from 'node:path'
import { LATE, within } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { LogOwner } from '../log/decision-log.ts'
import { type DirectoryFileSystem, fileSystemOf } from '../log/log-lock.ts'
import { nodeFileSystem } from '../log/node-file-system.ts'
import type { Examination, Finding, Participant } from '../participant/participant.ts'
import type { Io } from './io.ts'
import { ANSWER_MS, type Session } from './session.ts'

export interface ExaminedLog {
  readonly directory: string
  /** `undefined` before the application has made the log, or when it cannot be read. */
  readonly logId: string | undefined
  readonly owner: LogOwner | undefined
  /** Of the directory, or of the nearest one above it that exists. */
  readonly fileSystem: DirectoryFileSystem
  readonly findings: readonly Finding[]
  /** Damage: nothing else about the log counts. */
  readonly trouble?: UnanimousError
}

export interface ExaminedParticipant {
  readonly name: string
  readonly seen: Examination | UnanimousError
}

export async function examineLog(session: Session): Promise<ExaminedLog> {
  const { directory, allowUnsafeFileSystem } = session.config.log
  const exists = (await nodeFileSystem.stat(directory)) !== undefined
  const fileSystem = await fileSystemOf(await nearest(directory), nodeFileSystem)
  const findings = fileSystemFindings(directory, fileSystem, allowUnsafeFileSystem === true)
  const base = { directory, logId: undefined, owner: undefined, fileSystem }
  if (!exists || (await isEmpty(directory))) return { ...base, findings }
  try {
    const { logId, owner } = await session.readLog()
    return { ...base, logId, owner, findings }
  } catch (cause) {
    if (!(cause instanceof UnanimousError)) throw cause
    if (cause.code !== 'LOG_UNREADABLE') return { ...base, findings, trouble: cause }
    const unreadable: Finding = {
      code: 'log-unreadable',
      severity: 'unfit',
      message: cause.message,
      mend: cause.hint ?? 'let this user read the directory',
    }
    return { ...base, findings: [...findings, unreadable] }
  }
}

export function examineParticipants(
  io: Io,
  { registry, only }: Session,
): Promise<readonly ExaminedParticipant[]> {
  const asked = [...registry.values()].filter(({ name }) => only === undefined || only === name)
  return Promise.all(
    asked.map(async (participant) => ({
      name: participant.name,
      seen: await examineOne(io, participant),
    })),
  )
}

async function examineOne(
  { clock }: Io,
  participant: Participant,
): Promise<Examination | UnanimousError> {
  try {
    const seen = await within(clock, ANSWER_MS, participant.examine())
    if (seen !== LATE) return seen
    return unreachable(`${participant.name} did not answer within ${ANSWER_MS} ms`)
  } catch (cause) {
    if (cause instanceof UnanimousError) return cause
    return unreachable(`${participant.name}: ${messageOf(cause)}`)
  }
}

function unreachable(message: string): UnanimousError {
  return new UnanimousError('PARTICIPANT_UNREACHABLE', message)
}

function fileSystemFindings(
  directory: string,
  { name, trust }: DirectoryFileSystem,
  allowed: boolean,
): readonly Finding[] {
  const mend = 'put the log on a local disk'
  if (trust === 'refused') {
    const message = `the log directory ${directory} is on ${name}, where decisions may be lost`
    return [{ code: 'log-file-system', severity: allowed ? 'allowed' : 'unfit', message, mend }]
  }
  if (trust === 'doubtful') {
    const message = `the log directory ${directory} is on ${name}: copies of it may not be noticed`
    return [{ code: 'log-file-system', severity: 'unwise', message, mend }]
  }
  return []
}

async function nearest(directory: string): Promise<string> {
  if ((await nodeFileSystem.stat(directory)) !== undefined) return directory
  const above = dirname(directory)
  return above === directory ? directory : nearest(above)
}

async function isEmpty(directory: string): Promise<boolean> {
  return (await nodeFileSystem.list(directory).catch(() => ['unreadable'])).length === 0
}
