/**
 * `unanimous orphans`: prepared branches that no decision of this log can speak for. They are shown
 * with what a person would type, and never touched.
 */
import type { ApartBranch, ApartKind } from '../../recovery/inspection.ts'
import { type ExitCode, exitCodeFor } from '../exit-codes.ts'
import type { Io } from '../io.ts'
import { apartJson, inspectionJson, json } from '../json.ts'
import { formatAge, logLine, table } from '../print.ts'
import { type Session, type SessionOptions, withSession } from '../session.ts'

export interface OrphansOptions extends SessionOptions {
  readonly json?: boolean
}

export function orphans(io: Io, options: OrphansOptions): Promise<ExitCode> {
  return withSession(io, options, async (session) => {
    const inspection = await session.inspect()
    const { log } = session.config
    const { apart, atMs } = inspection
    const code = exitCodeFor({ ...inspection, transactions: [] })
    if (options.json === true) {
      const shown = apart.map((one) => ({
        ...apartJson(one),
        byHand: byHand(session, one) ?? null,
      }))
      io.out(json(atMs, { ...inspectionJson(inspection, log), apart: shown }))
      return code
    }
    io.out(logLine(inspection, log))
    if (apart.length === 0) io.out('Every prepared branch is of this log.\n')
    for (const kind of KINDS) {
      const ofKind = apart.filter((one) => one.kind === kind)
      if (ofKind.length === 0) continue
      const rows = ofKind.map((one) => [
        one.participant,
        one.preparedAtMs === undefined ? '-' : formatAge(atMs - one.preparedAtMs),
        one.owner ?? '-',
        one.why,
        byHand(session, one)?.rollBack ?? one.id,
      ])
      io.out(`${io.paint('bold', TITLE[kind])}\n${table([HEAD, ...rows], '  ')}`)
    }
    if (apart.length > 0) {
      io.err(
        'None of these is touched. Whoever prepared them knows whether they were decided: ask there before you end one by hand.\n',
      )
    }
    return code
  })
}

const HEAD: readonly string[] = ['PARTICIPANT', 'AGE', 'ROLE', 'WHY', 'BY HAND']

const KINDS: readonly ApartKind[] = ['copy', 'orphan', 'unconfigured', 'foreign']

const TITLE: { readonly [K in ApartKind]: string } = {
  copy: 'Proof that this log is a copy:',
  orphan: 'Orphans, of logs that are not this one:',
  unconfigured: 'Ours, of participants that the configuration lacks:',
  foreign: 'Of other applications:',
}

function byHand(
  { registry }: Session,
  { participant, id }: ApartBranch,
): { readonly commit: string; readonly rollBack: string } | undefined {
  return registry.get(participant)?.byHand?.({ id })
}
