/**
 * A logger that hears a coordinator's events from the first one on. Opening recovers before it answers, so
 * that listeners, which need an open coordinator, come too late for what its first pass did and reported.
 */
import type { CoordinatorEvent, Listener } from '../../src/events.ts'
import type { Logger } from '../../src/logger.ts'

/** @param listeners - by event. Those that the logger has as `debug` are not heard: of live branches. */
export function hearing(listeners: { readonly [E in CoordinatorEvent]?: Listener<E> }): Logger {
  const hear = (details: object, name: string): void => {
    const listener = listeners[name as CoordinatorEvent] as ((event: object) => void) | undefined
    listener?.(details)
  }
  return {
    debug: () => undefined,
    info: hear,
    warn: hear,
    error: hear,
    isLevelEnabled: (level) => level !== 'debug',
  }
}
