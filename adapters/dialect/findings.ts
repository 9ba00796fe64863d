/**
 * How findings are judged, the same for every dialect. What is found is decided by a table a dialect
 * (postgres-findings.ts, mysql-findings.ts), from what was read and nothing else.
 *
 * Invariants:
 *  1. What makes two-phase commit unsafe refuses the participant, unless the configuration names it.
 *  2. What could not be read is said, and refuses nothing.
 */
import {
  type Finding,
  messageOf,
  type ParticipantWarning,
  UnanimousError,
} from '../../src/adapter.ts'

/** A finding before the configuration was asked; `overridable` ones may be taken by name. */
export interface Fact extends Omit<Finding, 'severity'> {
  readonly severity: 'unfit' | 'overridable' | 'unwise' | 'unread'
}

/** What the configuration takes by name is no obstacle, and nobody is warned of it. */
export function judge(facts: readonly Fact[], allow: readonly string[]): readonly Finding[] {
  return facts.map(({ severity, ...fact }) => {
    if (severity === 'unfit' || severity === 'unread') return { ...fact, severity }
    if (allow.includes(fact.code)) return { ...fact, severity: 'allowed' }
    return { ...fact, severity: severity === 'overridable' ? 'unfit' : severity }
  })
}

/** @throws UnanimousError PARTICIPANT_UNFIT, with everything that must be mended */
export function refuseUnfit(participant: string, findings: readonly Finding[]): void {
  const unfit = findings.filter(({ severity }) => severity === 'unfit')
  if (unfit.length === 0) return
  const what = unfit.map(({ message }) => message).join('; ')
  throw new UnanimousError('PARTICIPANT_UNFIT', `${participant}: ${what}`, {
    hint: unfit.map(mendOf).join('; '),
  })
}

export function warningOf(participant: string, finding: Finding): ParticipantWarning {
  const { code, message } = finding
  return { code, message: `${participant}: ${message}`, hint: mendOf(finding) }
}

function mendOf({ mend, restart }: Finding): string {
  return restart === true ? `${mend}, and restart the server` : mend
}

/**
 * @param known - every name that the adapter's type allows
 * @throws UnanimousError INVALID_OPTION
 */
export function checkAllow(allow: readonly string[], known: readonly string[]): void {
  const strange = allow.find((name) => !known.includes(name))
  if (strange === undefined) return
  throw new UnanimousError('INVALID_OPTION', `allow: ${JSON.stringify(strange)} names nothing`, {
    hint: `It takes ${known.join(', ')}.`,
  })
}

export const CLOCK_SKEW = 'clock-skew' as const
const SKEW_MS = 5_000

/** Ages of branches are told by both clocks; nothing is decided by them. */
export function clockFacts(skewMs: number): readonly Fact[] {
  if (Math.abs(skewMs) <= SKEW_MS) return []
  const word = skewMs > 0 ? 'ahead of' : 'behind'
  return [
    {
      code: CLOCK_SKEW,
      severity: 'unwise',
      message: `the server's clock is ${Math.round(Math.abs(skewMs) / 1_000)} s ${word} ours: ages of branches are wrong by that`,
      mend: 'timedatectl set-ntp true (on both machines)',
    },
  ]
}

export function unread(what: string, cause: unknown, mend: string): Fact {
  const why = cause === undefined ? '' : `: ${messageOf(cause)}`
  return { code: 'unread', severity: 'unread', message: `${what} could not be read${why}`, mend }
}
