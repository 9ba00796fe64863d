/** Where the decision log is: a directory of its own, or a slot under a root that processes share. */
import { resolve } from 'node:path'
import { messageOf, UnanimousError } from '../errors.ts'
import type { OpenedLog } from '../log/decision-log.ts'
import { type LogSeams, openFileDecisionLog } from '../log/open-log.ts'
import { openSlot } from '../log/slots.ts'
import type { Registry } from '../participant/registry.ts'
import { type FirstContact, firstContact } from '../recovery/first-contact.ts'

/** A log of one coordinator. */
export interface LogDirectory {
  readonly directory: string
  /** How long to wait for another process to let go of the log, in ms. Default 0. */
  readonly lockWaitMs?: number
  /** Accept a file system that cannot keep what it confirmed: tmpfs, NFS, SMB. Default false. */
  readonly allowUnsafeFileSystem?: boolean
}

/** Logs of several processes on one host: each coordinator takes one that nobody holds. */
export interface LogRoot {
  /** The directory above the logs. Coordinators that share it also recover for each other. */
  readonly root: string
  /** As for a single log. */
  readonly allowUnsafeFileSystem?: boolean
}

export type LogLocation = LogDirectory | LogRoot

/** The same place for as long as the process runs, also when it changes its working directory. */
export function fixed(log: string | LogLocation): LogLocation {
  const location = typeof log === 'string' ? { directory: log } : log
  if ('root' in location) return { ...location, root: absolute(location.root) }
  return { ...location, directory: absolute(location.directory) }
}

/** What names nothing is refused where it is opened. */
function absolute(path: string): string {
  return path === '' ? path : resolve(path)
}

/** A log that is owned, and met by the participants that answered. */
export interface Located extends FirstContact {
  readonly log: OpenedLog
  readonly directory: string
  /** `slot-3`, under a root. */
  readonly slot: string | undefined
}

/**
 * Owns a log and asks the participants whether it is the only one of its identity. A slot that
 * proves to be a copy is left alone, and the next one is taken.
 *
 * @throws UnanimousError as opening a log, or LOG_COPIED for a single directory
 */
export async function openAt(
  location: LogLocation,
  seams: LogSeams,
  registry: Registry,
  contactMs: number,
): Promise<Located> {
  if (!('root' in location)) {
    const log = await openFileDecisionLog(location, seams)
    return meet(log, location.directory, undefined)
  }
  const copies: OpenedLog[] = []
  try {
    for (;;) {
      const { log, directory, name } = await openSlot(location, seams)
      try {
        return await meet(log, directory, name)
      } catch (cause) {
        if (!(cause instanceof UnanimousError) || cause.code !== 'LOG_COPIED') throw cause
        const message = `${name} is passed over: ${messageOf(cause)}`
        seams.onEvent({ kind: 'warning', message })
      }
    }
  } finally {
    await Promise.all(copies.map((log) => log.close()))
  }

  async function meet(
    log: OpenedLog,
    directory: string,
    slot: string | undefined,
  ): Promise<Located> {
    try {
      const met = await firstContact(registry, log, seams.clock, contactMs)
      return { log, directory, slot, ...met }
    } catch (cause) {
      // Held until another one is taken, so that it is not found free again.
      if (slot === undefined) await log.close()
      else copies.push(log)
      throw cause
    }
  }
}
