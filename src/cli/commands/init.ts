/** `unanimous init`: the tables for marker rows; prints their SQL for a DBA, or creates them. */
import { messageOf, UnanimousError } from '../../errors.ts'
import type { Participant } from '../../participant/participant.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { table } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface InitOptions extends SessionOptions {
  readonly apply?: boolean
}

export function init(io: Io, options: InitOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    if (options.apply === true) return create(io, session)
    for (const participant of chosen(session)) {
      io.out(`-- ${participant.name}\n`)
      for (const statement of participant.initStatements()) {
        io.out(`${statement.replace(/;?\s*$/, ';')}\n`)
      }
    }
    io.err(
      'Nothing was changed. Run again with --apply, or run these statements as the table owner.\n',
    )
    return EXIT.clean
  })
}

async function create(io: Io, session: Session): Promise<ExitCode> {
  let code: ExitCode = EXIT.clean
  const rows: string[][] = []
  for (const participant of chosen(session)) {
    try {
      await participant.init()
      const { server, markers } = await participant.contact()
      rows.push([participant.name, server, markers ? 'ready' : 'no marker table was found'])
      if (!markers) code = EXIT.unreachable
    } catch (cause) {
      code = EXIT.unreachable
      const hint = cause instanceof UnanimousError ? cause.hint : undefined
      io.err(messageLines(`error: ${messageOf(cause)}`, hint))
    }
  }
  if (rows.length > 0) io.out(table(rows))
  if (code === EXIT.clean) {
    io.err('A coordinator uses the tables from its next start on.\n')
  }
  return code
}

function chosen({ registry, only }: Session): readonly Participant[] {
  return [...registry.values()].filter(({ name }) => only === undefined || only === name)
}
