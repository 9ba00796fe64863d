/** Events into the user's logger: the only place that knows a log level. */
import { pino } from 'pino'
import { messageOf } from './errors.ts'
import type { CoordinatorEvent, CoordinatorEventMap, EventSink } from './events.ts'

/** The part of a pino logger that is used. */
export interface Logger {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

type Level = keyof Logger

const LEVELS: { readonly [E in CoordinatorEvent]: Level } = {
  'transaction:ended': 'debug',
  'transaction:hook-failed': 'warn',
  'branch:settled': 'debug',
  'branch:rolled-back': 'info',
  'branch:heuristic': 'error',
  'branch:reported': 'warn',
  'participant:unreachable': 'warn',
  'participant:reachable': 'info',
  'participant:warning': 'warn',
  'log:event': 'warn',
  'coordinator:stopped': 'error',
}

/** A sink that writes each event to the logger; silent without one. */
export function logSink(logger: Logger = pino({ level: 'silent' })): EventSink {
  return (name, event) => {
    const level = name === 'branch:settled' && isRecovery(event) ? 'info' : LEVELS[name]
    logger[level](describe(name, event), name)
  }
}

function isRecovery(event: CoordinatorEventMap[CoordinatorEvent]): boolean {
  return 'by' in event && event.by === 'recovery'
}

/** Ids, names and codes only: never a statement, a parameter or a connection string. */
function describe<E extends CoordinatorEvent>(name: E, event: CoordinatorEventMap[E]): object {
  if ('cause' in event) return { event: name, ...event, cause: messageOf(event.cause) }
  return { event: name, ...event }
}
