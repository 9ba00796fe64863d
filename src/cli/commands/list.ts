/** `unanimous list`: every transaction that is not settled, on one screen. */
import { type ExitCode, exitCodeFor } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import {
  apartTable,
  inspectionJson,
  json,
  logLine,
  transactionJson,
  transactionTable,
} from '../print.ts'
import { type SessionOptions, withSession } from '../session.ts'

export interface ListOptions extends SessionOptions {
  readonly json?: boolean
}

export function list(io: Io, options: ListOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const inspection = await session.inspect()
    const { log } = session.config
    const shown = inspection.transactions.filter(({ state }) => state !== 'settled')
    if (options.json === true) {
      const transactions = shown.map((each) => transactionJson(each, inspection.atMs))
      io.out(json(inspection.atMs, { ...inspectionJson(inspection, log), transactions }))
      return exitCodeFor(inspection)
    }
    io.out(logLine(inspection, log))
    io.out(shown.length === 0 ? 'Nothing is unsettled.\n' : transactionTable(io, inspection, shown))
    io.out(apartTable(io, inspection.apart))
    if (shown.some(({ state }) => state === 'unsettled') && inspection.owner === undefined) {
      io.err('Next: unanimous recover\n')
    }
    return exitCodeFor(inspection)
  })
}
