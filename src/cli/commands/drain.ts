/**
 * `unanimous drain`: asks the coordinator that runs to begin nothing any more and to come to rest. It
 * stays open and recovers on; its process ends it.
 */
import type { DrainReport, LiveStatus } from '../../live/wire.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { coordinatorJson, json } from '../json.ts'
import { coordinatorLine, holderOf } from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface DrainOptions extends SessionOptions {
  readonly json?: boolean
  readonly apply?: boolean
  /** How long what runs may still take, in ms. */
  readonly wait: number
}

/** @throws UnanimousError COORDINATOR_UNREACHABLE when there is one and it cannot be asked */
export function drain(io: Io, options: DrainOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const status = await session.ask('status', {})
    const applied = options.apply === true && status !== undefined
    const report = applied ? await session.ask('drain', { drainMs: options.wait }) : undefined
    if (options.json === true) {
      const coordinator = status === undefined ? null : coordinatorJson(status)
      const { directory } = session.config.log
      io.out(json(io.clock.now(), { applied, directory, coordinator, report: report ?? null }))
    } else if (status === undefined) {
      io.out('No coordinator runs on this log.\n')
    } else {
      print(io, status, report)
    }
    if (report !== undefined) return report.left + report.running > 0 ? EXIT.unsettled : EXIT.clean
    return status === undefined ? EXIT.clean : EXIT.unsettled
  })
}

function print(io: Io, status: LiveStatus, report: DrainReport | undefined): void {
  io.out(`log ${status.directory}  una1-${status.logId}  ${holderOf(status.owner)}\n`)
  if (report === undefined) {
    io.out(`${io.paint('bold', 'Plan (dry run, nothing was changed): drain')}\n`)
    io.out(`  ${coordinatorLine(status)}\n`)
    io.err('From then on it begins no transaction. Run again with --apply.\n')
    return
  }
  const { ended, aborted, running, left } = report
  io.out(`${io.paint('bold', 'Drained:')}\n`)
  io.out(`  ended by themselves  ${ended}\n  rolled back          ${aborted}\n`)
  io.out(`  still running        ${running}\n  not settled          ${left}\n`)
  if (left > 0)
    io.err('The next coordinator on this log settles them, or `unanimous recover` does.\n')
}
