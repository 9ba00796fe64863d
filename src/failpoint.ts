/**
 * Named instants of the protocol at which a test may stop the process. Inert in production.
 *
 * A name is `phase:moment`. The list is the type, so that a crash table that forgets one does not
 * compile.
 */
export const FAILPOINTS: readonly [
  'begin:done',
  'prepare:before',
  'prepare:after-first',
  'prepare:after-all',
  'decide:before',
  'decide:after',
  'commit:before',
  'commit:after-first',
  'commit:before-answered',
  'commit:after-all',
  'abort:before-decided',
  'abort:before',
  'abort:after-first',
  'abort:after-all',
  'one-phase:before',
  'one-phase:after',
  'recover:before-list',
  'recover:listed',
  'recover:before-settle',
  'recover:after-settle',
  'recover:before-answered',
  'log:before-write',
  'log:after-write',
  'log:after-sync',
  'log:before-roll',
  'log:after-checkpoint',
  'log:after-create',
  'log:after-rename',
  'log:after-roll',
  'log:after-retire',
  'log:recycling',
  'log:recycled',
] = [
  'begin:done',
  'prepare:before',
  'prepare:after-first',
  'prepare:after-all',
  'decide:before',
  'decide:after',
  'commit:before',
  'commit:after-first',
  'commit:before-answered',
  'commit:after-all',
  'abort:before-decided',
  'abort:before',
  'abort:after-first',
  'abort:after-all',
  'one-phase:before',
  'one-phase:after',
  'recover:before-list',
  'recover:listed',
  'recover:before-settle',
  'recover:after-settle',
  'recover:before-answered',
  'log:before-write',
  'log:after-write',
  'log:after-sync',
  'log:before-roll',
  'log:after-checkpoint',
  'log:after-create',
  'log:after-rename',
  'log:after-roll',
  'log:after-retire',
  'log:recycling',
  'log:recycled',
]

export type Failpoint = (typeof FAILPOINTS)[number]

/** Called at each failpoint. May never return (a crash), or hold the caller up. */
export type Failpoints = (name: Failpoint) => void | Promise<void>

export const noFailpoints: Failpoints = () => undefined
