/**
 * Slots: a log directory for each process of a cluster, under one root.
 *
 *   <root>/slot-1, slot-2, …   each a log of its own, with its own lock, log id and incarnations
 *
 * A process takes the first slot that nobody holds. What a dead process left in its slot is
 * recovered by whoever opens that slot next: the process that takes it, or a sibling that opens it
 * for recovery and lets it go. A slot that is damaged or was copied stops only itself.
 */
import { errorOf, messageOf, UnanimousError } from '../errors.ts'
import type { LogOwner, LogSnapshot, OpenedLog } from './decision-log.ts'
import type { FileSystem } from './file-system.ts'
import { asUnreadable, readOwner } from './log-lock.ts'
import { type LogOptions, type LogSeams, openFileDecisionLog } from './open-log.ts'
import { readLog } from './read-log.ts'

/** As {@link LogOptions}, with a root in place of the directory. There is no waiting for a slot. */
export interface SlotOptions extends Omit<LogOptions, 'directory' | 'lockWaitMs'> {
  /** The directory above the slots; created when missing. */
  readonly root: string
}

export interface OpenedSlot {
  /** `slot-3` */
  readonly name: string
  readonly directory: string
  readonly log: OpenedLog
}

/** A slot as anyone can see it without holding it. */
export interface SlotStatus {
  readonly name: string
  readonly directory: string
  /** What its log holds; absent when there is none, or it cannot be read. */
  readonly snapshot: LogSnapshot | undefined
  readonly owner: LogOwner | undefined
  /** Why it cannot be read. */
  readonly problem: Error | undefined
}

const SLOT_NAME = /^slot-[1-9]\d{0,5}$/
/** Tries, when other processes take slots at the same moment. */
const MAX_TRIES = 1000

/**
 * Takes the first slot that nobody holds, or a new one. A slot that cannot be opened is passed
 * over, with a warning.
 *
 * @throws UnanimousError LOG_UNSAFE, LOG_UNREADABLE or INVALID_OPTION
 */
export async function openSlot(options: SlotOptions, seams: LogSeams): Promise<OpenedSlot> {
  const { files } = seams
  try {
    await files.makeDirectory(options.root)
    for (const name of await freeSlots(options.root, files)) {
      const slot = await tryFree(name, options, seams)
      if (slot !== undefined) return slot
    }
    const last = (await slotNames(options.root, files)).at(-1)
    const first = last === undefined ? 1 : slotNumber(last) + 1
    for (let number = first; number < first + MAX_TRIES; number += 1) {
      const log = await openUnlessHeld(`slot-${number}`, options, seams)
      const directory = `${options.root}/slot-${number}`
      if (log !== undefined) return { name: `slot-${number}`, directory, log }
    }
  } catch (cause) {
    throw asUnreadable(options.root, cause)
  }
  throw new UnanimousError('LOG_LOCKED', `no slot under ${options.root} could be taken`)
}

/**
 * Opens a slot that another process left, for recovery; `undefined` when somebody holds it.
 *
 * @throws LogCorruptError
 * @throws UnanimousError LOG_COPIED, LOG_UNSAFE, LOG_UNREADABLE or INVALID_OPTION
 */
export function openSibling(
  name: string,
  options: SlotOptions,
  seams: LogSeams,
): Promise<OpenedLog | undefined> {
  return openUnlessHeld(name, options, seams)
}

/** Every slot under the root, by number. Takes nothing. */
export async function readSlots(root: string, files: FileSystem): Promise<readonly SlotStatus[]> {
  const names = (await files.stat(root)) === undefined ? [] : await slotNames(root, files)
  return Promise.all(names.map((name) => readSlot(name, `${root}/${name}`, files)))
}

/** Slots that nobody seems to hold: only these are worth the wait for a lock. */
async function freeSlots(root: string, files: FileSystem): Promise<string[]> {
  const names = await slotNames(root, files)
  const owners = await Promise.all(names.map((name) => readOwner(`${root}/${name}`, files)))
  return names.filter((_, index) => owners[index] === undefined)
}

async function readSlot(name: string, directory: string, files: FileSystem): Promise<SlotStatus> {
  try {
    const snapshot = await readLog(directory, files)
    return { name, directory, snapshot, owner: snapshot.owner, problem: undefined }
  } catch (cause) {
    return { name, directory, snapshot: undefined, owner: undefined, problem: errorOf(cause) }
  }
}

async function tryFree(
  name: string,
  options: SlotOptions,
  seams: LogSeams,
): Promise<OpenedSlot | undefined> {
  try {
    const log = await openUnlessHeld(name, options, seams)
    return log === undefined ? undefined : { name, directory: `${options.root}/${name}`, log }
  } catch (cause) {
    if (!stopsOnlyItself(cause)) throw cause
    seams.onEvent({ kind: 'warning', message: `${name} is passed over: ${messageOf(cause)}` })
    return undefined
  }
}

async function openUnlessHeld(
  name: string,
  { root, ...options }: SlotOptions,
  seams: LogSeams,
): Promise<OpenedLog | undefined> {
  try {
    return await openFileDecisionLog({ ...options, directory: `${root}/${name}` }, seams)
  } catch (cause) {
    if (cause instanceof UnanimousError && cause.code === 'LOG_LOCKED') return undefined
    throw cause
  }
}

function stopsOnlyItself(cause: unknown): boolean {
  const codes: readonly string[] = ['LOG_CORRUPT', 'LOG_COPIED', 'LOG_UNREADABLE']
  return cause instanceof UnanimousError && codes.includes(cause.code)
}

/** Every slot under an existing root, by number. */
export async function slotNames(root: string, files: FileSystem): Promise<string[]> {
  const names = (await files.list(root)).filter((name) => SLOT_NAME.test(name))
  return names.toSorted((a, b) => slotNumber(a) - slotNumber(b))
}

function slotNumber(name: string): number {
  return Number(name.slice('slot-'.length))
}
