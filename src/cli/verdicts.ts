/** How the verdicts of the databases look, when there is no log to ask. */
import type { PreparedBranch } from '../participant/participant.ts'
import type { Hindrance, Verdict } from '../protocol/from-databases.ts'
import { formatTime, table } from './print.ts'

type Shown = Verdict<PreparedBranch>

/** A line for each branch that would be settled. */
export function planRows(verdicts: readonly Shown[]): string[][] {
  return verdicts
    .filter(({ action }) => action !== 'leave')
    .flatMap(({ action, gtrid, branches, committedIn }) => {
      const why =
        action === 'commit'
          ? `committed in ${committedIn.join(' and ')}`
          : 'no database has committed it, nor will'
      return branches.map(({ participant }) => [action, gtrid, participant, why])
    })
}

/** A line for each transaction that is left, with everything that speaks against settling it. */
export function leftTable(verdicts: readonly Shown[]): string {
  return table(
    verdicts.map(({ gtrid, branches, hindrances, action }) => [
      gtrid,
      branches.map(({ participant }) => participant).join(', '),
      hindrances.length > 0 ? hindrances.map(shortText).join('; ') : `to ${action}: look again`,
    ]),
    '  ',
  )
}

function shortText(hindrance: Hindrance): string {
  switch (hindrance.kind) {
    case 'log-present':
      return 'its log is here'
    case 'no-word':
      return 'nobody said that its owner is dead'
    case 'session':
      return `session ${hindrance.id} of ${hindrance.participant} works for its log`
    case 'hidden-sessions':
      return `sessions of ${hindrance.participant} are hidden`
    case 'not-configured':
      return `${hindrance.participant} is not configured`
    case 'elsewhere':
      return `its branch of ${hindrance.participant} is on the server of ${hindrance.seenBy}`
    case 'silent':
      return `${hindrance.participant} did not answer`
    case 'no-tables':
      return `${hindrance.participant} has not both tables`
    case 'not-announced':
      return `${hindrance.participant} does not know its incarnation`
    case 'open-marker':
      return `a marker of ${hindrance.participant} is neither committed nor gone`
  }
}

/** The reason with the way out; continues "because …". */
export function hindranceText(hindrance: Hindrance): string {
  const what = shortText(hindrance)
  switch (hindrance.kind) {
    case 'log-present':
      return `${what}: \`unanimous recover\` lets it speak`
    case 'no-word':
      return `${what}: --owner-is-dead ${hindrance.logId}, if no process works with that log any more`
    case 'session':
      return `${what}: wait (--wait 30s), or end it: pg_terminate_backend(${hindrance.id}), KILL ${hindrance.id}`
    case 'hidden-sessions':
      return `${what}: GRANT pg_read_all_stats TO the role (PostgreSQL), GRANT PROCESS ON *.* TO the user (MySQL, MariaDB)`
    case 'not-configured':
    case 'elsewhere':
      return `${what}: give it the participants of the application, under the same names`
    case 'silent':
      return `${what}: run this again when it does`
    case 'no-tables':
      return `${what}: what it has committed left no trace`
    case 'not-announced':
      return `${what}: its tables were made later, or this is not the database that the application used`
    case 'open-marker':
      return `${what}: look again`
  }
}

export function verdictJson(verdict: Shown): object {
  const { gtrid, logId, action, committedIn, branches, hindrances } = verdict
  return {
    gtrid,
    logId,
    action,
    committedIn,
    branches: branches.map(({ participant, xid, branch }) => ({
      participant,
      bqual: xid.bqual,
      id: branch.id,
      preparedAt: branch.preparedAtMs === undefined ? null : formatTime(branch.preparedAtMs),
      owner: branch.owner ?? null,
    })),
    hindrances: hindrances.map((each) => ({ ...each, why: shortText(each) })),
  }
}
