/** `unanimous init`: the tables for marker rows; prints their SQL for a DBA, or creates them. */
import { messageOf, UnanimousError } from '../../errors.ts'
import type { Capabilities, Participant } from '../../participant/participant.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { json, troubleJson } from '../json.ts'
import { table } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface InitOptions extends SessionOptions {
  readonly apply?: boolean
  readonly json?: boolean
}

export function init(io: Io, options: InitOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const applied = options.apply === true
    const made: Made[] = []
    for (const participant of chosen(session)) {
      made.push(applied ? await create(participant) : { participant })
    }
    if (options.json === true) {
      io.out(json(io.clock.now(), { applied, participants: made.map(madeJson) }))
    } else if (applied) {
      print(io, made)
    } else {
      for (const { participant } of made) io.out(sqlOf(participant))
      io.err(
        'Nothing was changed. Run again with --apply, or run these statements as the table owner.\n',
      )
    }
    return made.every(isReady) ? EXIT.clean : EXIT.unreachable
  })
}

/** What became of it; neither, when nothing was to be changed. */
interface Made {
  readonly participant: Participant
  readonly capabilities?: Capabilities
  readonly trouble?: UnanimousError
}

async function create(participant: Participant): Promise<Made> {
  try {
    await participant.init()
    return { participant, capabilities: await participant.contact() }
  } catch (cause) {
    const trouble =
      cause instanceof UnanimousError
        ? cause
        : new UnanimousError('PARTICIPANT_UNREACHABLE', messageOf(cause), { cause })
    return { participant, trouble }
  }
}

function isReady({ capabilities, trouble }: Made): boolean {
  return trouble === undefined && capabilities?.markers !== false
}

function sqlOf(participant: Participant): string {
  const lines = statements(participant).map((statement) => `${statement}\n`)
  return `-- ${participant.name}\n${lines.join('')}`
}

function statements(participant: Participant): readonly string[] {
  return participant.initStatements().map((statement) => statement.replace(/;?\s*$/, ';'))
}

function print(io: Io, made: readonly Made[]): void {
  const rows = made.flatMap(({ participant, capabilities }) =>
    capabilities === undefined
      ? []
      : [
          [
            participant.name,
            capabilities.server,
            capabilities.markers ? 'ready' : 'no marker table was found',
          ],
        ],
  )
  if (rows.length > 0) io.out(table(rows))
  for (const { trouble } of made) {
    if (trouble !== undefined) io.err(messageLines(`error: ${trouble.message}`, trouble.hint))
  }
  if (made.every(isReady)) io.err('A coordinator uses the tables from its next start on.\n')
}

function madeJson({ participant, capabilities, trouble }: Made): object {
  return {
    name: participant.name,
    statements: statements(participant),
    server: capabilities?.server ?? null,
    markers: capabilities?.markers ?? null,
    trouble: trouble === undefined ? null : troubleJson(trouble),
  }
}

function chosen({ registry, only }: Session): readonly Participant[] {
  return [...registry.values()].filter(({ name }) => only === undefined || only === name)
}
