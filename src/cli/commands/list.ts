/** `unanimous list`: the transactions that are not settled, a page at a time. */
import { UnanimousError } from '../../errors.ts'
import type { Choice } from '../../recovery/inspect.ts'
import type { InspectedState, Inspection, Outline } from '../../recovery/inspection.ts'
import { byBegin } from '../../xid.ts'
import { type ExitCode, exitCodeFor } from '../exit-codes.ts'
import { wholeId } from '../find.ts'
import type { Io } from '../io.ts'
import { inspectionJson, json, transactionJson } from '../json.ts'
import { APART_SHOWN, apartTable, logLine, shortId, transactionTable } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface ListOptions extends SessionOptions {
  readonly json?: boolean
  /** In ms. */
  readonly olderThan?: number
  readonly state?: InspectedState
  readonly limit?: number
  /** The last id of the page before. */
  readonly after?: string
}

const PAGE = 50

export function list(io: Io, { participant, ...options }: ListOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    checkParticipant(session, participant)
    let page: Page = { wanted: [], shown: [], next: undefined }
    const isJson = options.json === true
    const survey = await session.survey(
      (choice) => {
        page = paged(choice, filter(choice, options, participant), options)
        return page.shown
      },
      isJson ? Number.POSITIVE_INFINITY : APART_SHOWN,
    )
    const { inspection: looked, outlines, apart } = survey
    const { log } = session.config
    const inspection = await session.withHolds(looked, looked.transactions)
    const code = exitCodeFor({ ...inspection, transactions: outlines, apart })
    if (isJson) {
      const transactions = inspection.transactions.map((each) => transactionJson(each, inspection))
      const body = { total: page.wanted.length, next: page.next ?? null, transactions }
      io.out(json(inspection.atMs, { ...inspectionJson(inspection, log), ...body }))
      return code
    }
    io.out(logLine(inspection, log))
    io.out(
      page.shown.length === 0
        ? `${nothing(outlines, page)}\n`
        : transactionTable(io, inspection, inspection.transactions),
    )
    io.out(apartTable(io, inspection.apart, apart.length))
    tellNext(io, inspection, page)
    return code
  })
}

/** @throws UnanimousError PARTICIPANT_UNKNOWN */
function checkParticipant({ registry, config }: Session, name: string | undefined): void {
  if (name === undefined || registry.has(name)) return
  throw new UnanimousError('PARTICIPANT_UNKNOWN', `no participant is named ${name}`, {
    hint: `${config.file} has ${[...registry.keys()].join(', ')}.`,
  })
}

/** Settled ones only when asked for by name. */
function filter(
  { outlines, atMs, isIn }: Choice,
  { olderThan = 0, state }: ListOptions,
  participant: string | undefined,
): readonly Outline[] {
  return outlines.filter(
    (each) =>
      (state === undefined ? each.state !== 'settled' : each.state === state) &&
      (olderThan === 0 || (each.sinceMs !== undefined && atMs - each.sinceMs >= olderThan)) &&
      (participant === undefined || isIn(each.gtrid, participant)),
  )
}

interface Page {
  /** On all pages. */
  readonly wanted: readonly Outline[]
  readonly shown: readonly Outline[]
  /** Where the next page begins: after this id. */
  readonly next: string | undefined
}

/** The order of begin never changes, so a page follows the last one whatever was settled meanwhile. */
function paged(
  { logId }: Pick<Inspection, 'logId'>,
  wanted: readonly Outline[],
  { after, limit = PAGE }: ListOptions,
): Page {
  const last = after === undefined ? undefined : wholeId(logId, after)
  const rest = last === undefined ? wanted : wanted.filter(({ gtrid }) => byBegin(gtrid, last) > 0)
  const shown = rest.slice(0, limit)
  return { wanted, shown, next: rest.length > shown.length ? shown.at(-1)?.gtrid : undefined }
}

function nothing(outlines: readonly Outline[], { wanted }: Page): string {
  if (wanted.length > 0) return 'Nothing comes after that id.'
  const all = outlines.some(({ state }) => state !== 'settled')
  return all ? 'Nothing is like that.' : 'Nothing is unsettled.'
}

function tellNext(io: Io, inspection: Inspection, { wanted, shown, next }: Page): void {
  if (next !== undefined) {
    const more = `${shown.length} of ${wanted.length} are shown`
    io.err(`${more}. More: --after ${shortId(next)} with the same options, or --limit.\n`)
  }
  if (shown.some(({ state }) => state === 'unsettled') && inspection.owner === undefined) {
    io.err('Next: unanimous recover\n')
  }
}
