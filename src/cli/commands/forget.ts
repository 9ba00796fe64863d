/**
 * `unanimous forget`: drops the record of a decision that no branch can be settled by any more, once
 * a person has mended the data. Who did so, and why, stays in the log.
 */
import type { Inspection } from '../../recovery/inspection.ts'
import { checkForget, forgetDecision } from '../../recovery/operate.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { mustFind } from '../find.ts'
import type { Io } from '../io.ts'
import { inspectionJson, json, transactionJson } from '../json.ts'
import { operatorWord } from '../operator.ts'
import { ownLog, refuseHeld } from '../own-log.ts'
import { logLine, transactionTable } from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface ForgetOptions extends SessionOptions {
  readonly json?: boolean
  readonly reason: string
  readonly confirm?: string
  readonly apply?: boolean
}

/** @throws UnanimousError INVALID_OPTION, TRANSACTION_UNKNOWN, LOG_LOCKED or PARTICIPANT_UNREACHABLE */
export function forget(io: Io, id: string, options: ForgetOptions): Promise<ExitCode> {
  const word = operatorWord(options.reason)
  return withSession(io, options, async (session) => {
    const inspection: Inspection = await session.inspect()
    const found = mustFind(inspection, id)
    refuseHeld(session, inspection)
    checkForget(found, options.confirm === found.gtrid)
    const applied = options.apply === true
    if (applied) await forgetDecision(await ownLog(io, session), found.gtrid, word)
    const { log } = session.config
    if (options.json === true) {
      const transaction = transactionJson(found, inspection)
      const body = { applied, ...inspectionJson(inspection, log), transaction, operator: word }
      io.out(json(inspection.atMs, body))
    } else {
      const title = applied ? 'Forgotten:' : 'Plan (dry run, nothing was changed): forget'
      io.out(`${logLine(inspection, log)}${io.paint('bold', title)}\n`)
      io.out(transactionTable(io, inspection, [found]))
      io.out(`On record as ${word.who} on ${word.host}: ${word.reason}\n`)
      if (!applied)
        io.err('Compare the databases and mend them first. Then run again with --apply.\n')
    }
    return applied ? EXIT.clean : EXIT.unsettled
  })
}
