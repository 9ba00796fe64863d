/**
 * The log as its owner has it: taken for a command that changes something. The order is the
 * coordinator's: own the log, look for signs of a copy, force an incarnation. A running coordinator
 * is never fought: the lock refuses.
 */
import { UnanimousError } from '../errors.ts'
import type { OperatedLog } from '../log/decision-log.ts'
import { nodeFileSystem } from '../log/node-file-system.ts'
import { openFileDecisionLog } from '../log/open-log.ts'
import { hasLog } from '../log/read-log.ts'
import { firstContact } from '../recovery/first-contact.ts'
import type { Inspection } from '../recovery/inspection.ts'
import type { Io } from './io.ts'
import { logSeams } from './log-access.ts'
import { ANSWER_MS, type Session } from './session.ts'

/**
 * @throws UnanimousError LOG_LOCKED, LOG_UNREADABLE, LOG_CORRUPT, LOG_COPIED, LOG_UNSAFE or LOG_FULL
 */
export async function ownLog(io: Io, session: Session): Promise<OperatedLog> {
  // Opening a directory without a log would make one: reading it says what is wrong.
  if (!(await hasLog(session.config.log.directory, nodeFileSystem))) await session.readLog()
  const opened = await openFileDecisionLog(session.config.log, logSeams(io)).catch(explainLocked)
  try {
    await firstContact(session.registry, opened, io.clock, ANSWER_MS)
  } catch (cause) {
    await opened.close()
    throw cause
  }
  return opened.start()
}

function explainLocked(cause: unknown): never {
  if (!(cause instanceof UnanimousError) || cause.code !== 'LOG_LOCKED') throw cause
  throw heldByCoordinator(cause.message, cause)
}

/** What to do about a coordinator that runs. */
function heldByCoordinator(message: string, cause?: unknown): UnanimousError {
  return new UnanimousError('LOG_LOCKED', message, {
    hint: 'It recovers by itself, and `unanimous recover --apply` has it do so now. What it leaves to a person waits for its end: `unanimous drain --apply`, end the process, then run this again.',
    cause,
  })
}

/** Of a command that acts on a transaction: says no while a coordinator owns it. */
export function refuseHeld(session: Session, { owner }: Inspection): void {
  if (owner === undefined) return
  const { directory } = session.config.log
  const message = `the log directory ${directory} is held by process ${owner.pid} on ${owner.host}`
  throw heldByCoordinator(message)
}
