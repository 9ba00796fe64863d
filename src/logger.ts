/** Events into the user's logger: the only place that knows a log level. */
import { pino } from 'pino'
import { messageOf, UnanimousError } from './errors.ts'
import type { CoordinatorEvent, CoordinatorEventMap, EventSink } from './events.ts'
import { redact } from './redact.ts'

/** The part of a pino logger that is used. */
export interface Logger {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
  /** Where there is one, each area has a logger of its own: `{ area: 'transaction' }`, … */
  child?(bindings: { readonly area: string }): Logger
  isLevelEnabled?(level: string): boolean
}

type Level = 'debug' | 'info' | 'warn' | 'error'

const LEVELS: { readonly [E in CoordinatorEvent]: Level } = {
  'transaction:ended': 'debug',
  'transaction:hook-failed': 'warn',
  'branch:settled': 'debug',
  'branch:rolled-back': 'info',
  'branch:heuristic': 'error',
  'branch:reported': 'warn',
  'participant:unreachable': 'warn',
  'participant:reachable': 'info',
  'participant:budget': 'warn',
  'participant:warning': 'warn',
  'log:event': 'warn',
  'coordinator:stopped': 'error',
}

/**
 * A sink that writes each event to the logger of its area, which is what the event's name begins with;
 * silent without one.
 */
export function logSink(logger: Logger = pino({ level: 'silent' })): EventSink {
  const areas = new Map<string, Logger>()
  const loggerOf = (name: CoordinatorEvent): Logger => {
    const area = name.slice(0, name.indexOf(':'))
    const known = areas.get(area) ?? logger.child?.({ area }) ?? logger
    areas.set(area, known)
    return known
  }
  return (name, event) => {
    const level = levelOf(name, event)
    const target = loggerOf(name)
    if (target.isLevelEnabled?.(level) === false) return
    target[level](describe(name, event), name)
  }
}

function levelOf<E extends CoordinatorEvent>(name: E, event: CoordinatorEventMap[E]): Level {
  // Recovery did something that a person may look for; a live branch is one of thousands.
  if ('by' in event && event.by === 'recovery') return 'info'
  if ('kind' in event && event.kind === 'poisoned') return 'error'
  return LEVELS[name]
}

/**
 * Ids, names, codes and our own messages only: never a statement, a parameter or a password. What a hook
 * threw is the application's, and so is named and not told.
 */
function describe<E extends CoordinatorEvent>(name: E, event: CoordinatorEventMap[E]): object {
  if (!('cause' in event)) return { event: name, ...event }
  const { cause } = event
  const said = name === 'transaction:hook-failed' ? nameOf(cause) : redact(messageOf(cause))
  const code = cause instanceof UnanimousError ? { code: cause.code, hint: cause.hint } : {}
  return { event: name, ...event, ...code, cause: said }
}

function nameOf(cause: unknown): string {
  return cause instanceof Error ? cause.name : typeof cause
}
