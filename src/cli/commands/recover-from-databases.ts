/**
 * `unanimous recover --from-databases`: the log is lost, and marker rows decide (PROOF.md §5).
 *
 * It settles by the databases alone. The directory of the configuration is looked at for one thing:
 * whether the log is lost at all. A log that is there and sound speaks for its own transactions, and
 * `unanimous recover` makes it speak.
 */
import { UnanimousError } from '../../errors.ts'
import { readOwner } from '../../log/log-lock.ts'
import { nodeFileSystem } from '../../log/node-file-system.ts'
import {
  type DatabasesLook,
  type DatabasesOptions,
  lookWithoutLog,
  recoverWithoutLog,
  type SettledBranch,
} from '../../recovery/from-databases.ts'
import { isLogId } from '../../xid.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { json, participantJson } from '../json.ts'
import { table } from '../print.ts'
import { ANSWER_MS, type Session, withSession } from '../session.ts'
import { hindranceText, leftTable, planRows, verdictJson } from '../verdicts.ts'
import { checkWait, type RecoverOptions } from './recover.ts'

export async function recoverFromDatabases(io: Io, options: RecoverOptions): Promise<ExitCode> {
  checkWait(options)
  if (options.participant !== undefined) {
    throw new UnanimousError('INVALID_OPTION', '--from-databases asks every participant', {
      hint: 'Leave --participant out: what one database tells counts only with the others.',
    })
  }
  const dead = new Set((options.ownerIsDead ?? []).map(readLogId))
  return withSession(io, options, async (session) => {
    const present = await presentLog(io, session, dead)
    const { registry } = session
    const asked = { registry, clock: io.clock, answerMs: ANSWER_MS, dead, present }
    return options.apply === true
      ? apply(io, session, asked, options)
      : plan(io, session, asked, options)
  })
}

/** As `list` shows it: with or without what every gtrid begins with. */
function readLogId(text: string): string {
  const id = text.replace(/^una1-/, '')
  if (isLogId(id)) return id
  throw new UnanimousError('INVALID_OPTION', `${text} is no log id`, {
    hint: 'It is the second part of a gtrid: una1-<log id>-…; `unanimous recover --from-databases` shows those that are prepared.',
  })
}

/**
 * The id of the log that the configuration names, if it is there and sound.
 *
 * @throws UnanimousError LOG_LOCKED or INVALID_OPTION when it is the one that the operator gave up
 */
async function presentLog(
  io: Io,
  session: Session,
  dead: ReadonlySet<string>,
): Promise<string | undefined> {
  const { directory } = session.config.log
  if ((await nodeFileSystem.stat(directory)) === undefined) return undefined
  const owner = await readOwner(directory, nodeFileSystem)
  const snapshot = await session.readLog().catch((cause: unknown) => cause)
  const readable = snapshot instanceof Object && 'logId' in snapshot
  const logId = readable ? String(snapshot.logId) : undefined
  if (owner !== undefined && (logId === undefined || dead.has(logId))) {
    const message = `the log directory ${directory} is held by process ${owner.pid} on ${owner.host}`
    throw new UnanimousError('LOG_LOCKED', message, {
      hint: 'Its owner lives. End that process first; `unanimous recover` then settles what it left.',
    })
  }
  if (logId !== undefined && dead.has(logId)) {
    throw new UnanimousError('INVALID_OPTION', `the log ${logId} is sound, in ${directory}`, {
      hint: 'It knows more than the databases do: `unanimous recover --apply`. If that finds it to be a copy, move the directory away.',
    })
  }
  if (!readable && snapshot instanceof UnanimousError) {
    io.err(messageLines(`note: the log is left out: ${snapshot.message}`, undefined))
  } else if (!readable) {
    throw snapshot
  }
  return logId
}

async function plan(
  io: Io,
  session: Session,
  asked: DatabasesOptions,
  options: RecoverOptions,
): Promise<ExitCode> {
  const look = await lookWithoutLog(asked)
  session.tellTroubles(look.participants)
  const rows = planRows(look.verdicts)
  const left = look.verdicts.filter(({ action }) => action === 'leave')
  if (options.json === true) {
    const steps = look.verdicts.filter(({ action }) => action !== 'leave')
    const body = { applied: false, ...common(look, asked), plan: steps.map(verdictJson) }
    io.out(json(look.atMs, { ...body, left: left.map(verdictJson) }))
    return codeFor(look, asked)
  }
  if (rows.length > 0) {
    const numbered = rows.map((row, index) => [String(index + 1), ...row])
    io.out(`${io.paint('bold', 'Plan (dry run, nothing was changed):')}\n${table(numbered, '  ')}`)
    io.err('Run again with --apply.\n')
  }
  printLeft(io, look, left)
  return codeFor(look, asked)
}

async function apply(
  io: Io,
  session: Session,
  asked: DatabasesOptions,
  options: RecoverOptions,
): Promise<ExitCode> {
  const done = await recoverWithoutLog(asked, options.wait ?? 0)
  const look = await lookWithoutLog(asked)
  session.tellTroubles(look.participants)
  if (options.json === true) {
    const body = { applied: true, ...common(look, asked), done }
    io.out(json(look.atMs, { ...body, left: look.verdicts.map(verdictJson) }))
    return codeFor(look, asked)
  }
  if (done.length > 0) {
    const rows = done.map(({ did, gtrid, participant }) => [DID[did], gtrid, participant])
    io.out(`${io.paint('bold', 'Done:')}\n${table(rows, '  ')}`)
  }
  printLeft(io, look, look.verdicts, done.length)
  return codeFor(look, asked)
}

const DID: { readonly [D in SettledBranch['did']]: string } = {
  committed: 'committed',
  'rolled-back': 'rolled back',
}

function printLeft(
  io: Io,
  look: DatabasesLook,
  left: DatabasesLook['verdicts'],
  done: number = look.verdicts.length,
): void {
  if (left.length > 0) io.out(`${io.paint('bold', 'Left alone:')}\n${leftTable(left)}`)
  else if (done === 0) io.out('No database lists a prepared branch of this library.\n')
  const reasons = new Set(left.flatMap(({ hindrances }) => hindrances.map(hindranceText)))
  for (const reason of reasons) io.err(`Left alone because ${reason}.\n`)
}

function common(look: DatabasesLook, { dead, present }: DatabasesOptions): object {
  return {
    ownerIsDead: [...dead],
    presentLog: present ?? null,
    participants: look.participants.map(participantJson),
  }
}

/** What another log's running owner has prepared at this moment is its business. */
function codeFor({ participants, verdicts }: DatabasesLook, asked: DatabasesOptions): ExitCode {
  if (participants.some(({ trouble }) => trouble !== undefined)) return EXIT.unreachable
  const { dead, present } = asked
  const ours = verdicts.filter(
    ({ action, logId }) =>
      action !== 'leave' || dead.has(logId) || (dead.size === 0 && logId !== present),
  )
  return ours.length > 0 ? EXIT.unsettled : EXIT.clean
}
