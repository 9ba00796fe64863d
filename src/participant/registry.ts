/**
 * Participants by name. A name is persisted in every branch and every commit record, so it is
 * checked once, here, and never changes.
 */
import type { Clock } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { Events } from '../events.ts'
import { isParticipantName, MAX_PARTICIPANT_NAME_BYTES } from '../xid.ts'
import type { Participant, ParticipantDefinition } from './participant.ts'

/** Names that `tx` uses, or may come to use, for itself. `then` would make it a thenable. */
export const RESERVED_NAMES: readonly [
  'then',
  'catch',
  'finally',
  'gtrid',
  'name',
  'meta',
  'signal',
  'state',
  'outcome',
  'begin',
  'prepare',
  'commit',
  'rollback',
  'run',
  'savepoint',
  'transaction',
  'afterCommit',
  'afterRollback',
  'constructor',
  'prototype',
  'toString',
  'toJSON',
  'valueOf',
  'hasOwnProperty',
] = [
  'then',
  'catch',
  'finally',
  'gtrid',
  'name',
  'meta',
  'signal',
  'state',
  'outcome',
  'begin',
  'prepare',
  'commit',
  'rollback',
  'run',
  'savepoint',
  'transaction',
  'afterCommit',
  'afterRollback',
  'constructor',
  'prototype',
  'toString',
  'toJSON',
  'valueOf',
  'hasOwnProperty',
]

/** What the type can forbid: every object has `toString` and its like, so those are refused at run time only. */
export type ReservedName = Exclude<
  (typeof RESERVED_NAMES)[number],
  'constructor' | 'toString' | 'valueOf' | 'hasOwnProperty'
>

/** What the user configures: a definition by name. */
export type Participants = { readonly [name: string]: ParticipantDefinition } & {
  readonly [N in ReservedName]?: never
}

export type Registry = ReadonlyMap<string, Participant>

/**
 * Creates every configured participant. Connects to nothing.
 *
 * @throws UnanimousError INVALID_OPTION for a name that cannot be used, or no participant at all
 */
export function createRegistry(definitions: Participants, clock: Clock, events: Events): Registry {
  const registry = new Map<string, Participant>()
  for (const [name, definition] of Object.entries(definitions)) {
    checkName(name)
    if (typeof (definition as Partial<ParticipantDefinition> | null)?.create !== 'function') {
      throw new UnanimousError('INVALID_OPTION', `participant ${name} is not an adapter`, {
        hint: 'Pass what an adapter answers: `postgres(pool)` or `mysql(pool)`.',
      })
    }
    const warn = (warning: { code: string; message: string; hint?: string }) =>
      events.emit('participant:warning', {
        participant: name,
        code: warning.code,
        message: warning.message,
        hint: warning.hint,
      })
    registry.set(name, definition.create({ name, clock, warn }))
  }
  if (registry.size === 0) {
    throw new UnanimousError('INVALID_OPTION', 'no participant is configured')
  }
  return registry
}

function checkName(name: string): void {
  if (!isParticipantName(name)) {
    throw new UnanimousError(
      'INVALID_OPTION',
      `${JSON.stringify(name)} cannot name a participant`,
      {
        hint: `A name begins with a letter, has letters, digits, "_" and "-", and at most ${MAX_PARTICIPANT_NAME_BYTES} bytes.`,
      },
    )
  }
  if (RESERVED_NAMES.some((reserved) => reserved === name)) {
    throw new UnanimousError('INVALID_OPTION', `a participant cannot be named ${name}`, {
      hint: 'The transaction object uses that name for itself.',
    })
  }
}
