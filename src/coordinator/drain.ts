/**
 * How a coordinator comes to rest.
 *
 *   1. nothing begins any more
 *   2. what runs may end by itself, for `drainMs`
 *   3. what then still can be aborted is: abort is decided in its register first (rule 12), and what
 *      was handed to the log is not turned back (rule 10)
 *   4. recovery settles what can be settled
 *
 * What comes behind step 2, letting go of everything included, shares {@link REST_MS}: a database that
 * does not answer keeps nobody longer than that.
 */
import { LATE, sleep, within } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { DrainReport } from '../live/wire.ts'
import { closeAll, type Parts } from './parts.ts'

export const DRAIN_MS = 10_000
const REST_MS = 10_000
/** How long recovery is asked again at the end what it could not settle at once, in ms. */
const SETTLE_MS = 2_000
const PAUSE_MS = 50
/** What the log gets to force its last records, in ms, however late it is. */
const LOG_MS = 3_000

/** Steps 1 to 4. The coordinator stays open: recovery goes on, and the command line may ask. */
export function drain(parts: Parts, drainMs: number): Promise<DrainReport> {
  return drainUntil(parts, drainMs, parts.context.clock.monotonic() + drainMs + REST_MS)
}

/** @param deadline - of all of it, by the monotonic clock */
async function drainUntil(parts: Parts, drainMs: number, deadline: number): Promise<DrainReport> {
  const { context, state } = parts
  const { clock, live } = context
  const leftMs = (): number => Math.max(0, deadline - clock.monotonic())
  state.draining = true
  const before = live.snapshot()
  const waited = await within(clock, drainMs, live.whenEmpty())
  const late = waited === LATE ? live.transactions() : []
  for (const transaction of late) {
    transaction.abort(
      'COORDINATOR_CLOSED',
      `the coordinator was drained, and the transaction was not decided within ${drainMs} ms`,
      undefined,
      'Raise drainMs, or let requests end before the process is asked to.',
    )
  }
  const aborted = late.filter((each) => each.state === 'aborting')
  if (late.length > 0) await within(clock, leftMs(), live.whenEmpty())
  await settle(parts, Math.min(deadline, clock.monotonic() + SETTLE_MS))
  return {
    ended: before.size - late.length,
    aborted: aborted.length,
    running: live.size,
    left: countLeft(parts),
  }
}

/**
 * Drains, then lets go of everything: the log last.
 *
 * @param hangUp - the command line hears no more of this coordinator
 */
export async function shutDown(
  parts: Parts,
  drainMs: number,
  hangUp: () => Promise<void>,
): Promise<DrainReport> {
  const { context, log, recovery, registry, siblings } = parts
  const { clock, markers } = context
  const deadline = clock.monotonic() + drainMs + REST_MS
  const leftMs = (): number => Math.max(0, deadline - clock.monotonic())
  const report = await drainUntil(parts, drainMs, deadline)
  const stopping = Promise.all([recovery.stop(), siblings?.stop()])
  const stopped = await within(clock, leftMs(), stopping)
  if (report.running === 0 && stopped !== LATE) await within(clock, leftMs(), markers.flush())
  await closeAll(registry)
  // A pass that still waited for a server ends with the connection under it.
  await stopping
  await hangUp()
  // A disk that does not answer keeps the log, and its lock, until the process ends.
  await within(clock, Math.max(LOG_MS, leftMs()), log.close())
  return { ...report, running: context.live.size, left: countLeft(parts) }
}

/** The error of whoever would begin; `undefined` while one may. */
export function refusal({ state }: Parts, isClosed: boolean): UnanimousError | undefined {
  if (isClosed || state.draining) {
    const what = isClosed ? 'closed' : 'being drained'
    return new UnanimousError('COORDINATOR_CLOSED', `the coordinator is ${what}`, {
      hint: 'Close it when nothing begins transactions any more.',
    })
  }
  const { stopped } = state
  if (stopped === undefined) return undefined
  return new UnanimousError(stopped.code, stopped.message, { hint: stopped.hint, cause: stopped })
}

async function settle(parts: Parts, deadline: number): Promise<void> {
  const { context, recovery, registry } = parts
  const { clock, settlements } = context
  for (;;) {
    const names = [...registry.keys()].filter((name) => settlements.unsettled.of(name).left > 0)
    const leftMs = deadline - clock.monotonic()
    if (names.length === 0 || leftMs <= 0) return
    const reports = await within(clock, leftMs, recovery.passed(names))
    // Nobody can be asked: what is left is for the next coordinator.
    if (reports === LATE || reports.every((report) => report === undefined)) return
    await sleep(clock, PAUSE_MS)
  }
}

function countLeft({ context: { live, settlements } }: Parts): number {
  return new Set([...settlements.unsettled.gtrids(), ...live.snapshot()]).size
}
