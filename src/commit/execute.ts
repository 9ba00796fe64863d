/**
 * Statements given in advance. What a branch is told in one go travels in one packet with what begins
 * it and what prepares it, so that a transaction costs each database two trips.
 *
 * The path is that of every transaction (run.ts): the callback gives each branch its statements, and
 * takes the answers when the transaction has committed. A branch that will not vote, because it is the
 * only one that may write, or is declared read-only, runs its statements in the callback.
 */
import { TransactionError } from '../errors.ts'
import type { GivenAnswers } from '../participant/branch.ts'
import type { CommitContext } from './context.ts'
import {
  type CheckedOptions,
  type Names,
  type TransactionOptions,
  unknownParticipant,
} from './options.ts'
import { Running } from './run.ts'

/** One statement for one participant: none that begins, marks or ends a transaction. */
export interface Statement<N extends string = string> {
  /** The participant. */
  readonly on: N
  readonly text: string
  /** As the participant's driver takes them: an array, or for named placeholders an object. */
  readonly values?: readonly unknown[] | Readonly<Record<string, unknown>>
}

export type ExecuteOptions<N extends string = string> = Omit<TransactionOptions<N>, 'propagation'>

const FORM = "Give a list of `{ on: 'ledger', text: '…', values: […] }`."

/** Statements by participant, each with its place among all of them. */
type Groups = ReadonlyMap<string, readonly { readonly at: number; readonly statement: Statement }[]>

/** @throws TransactionError INVALID_OPTION or PARTICIPANT_UNKNOWN; nothing has begun */
export function groupStatements(statements: readonly Statement[], names: Names): Groups {
  if (!Array.isArray(statements)) throw refused('the statements are not a list')
  const groups = new Map<string, { at: number; statement: Statement }[]>()
  for (const [at, statement] of (statements as readonly Statement[]).entries()) {
    const on = (statement as Partial<Statement> | null)?.on
    if (typeof on !== 'string') throw refused(`statement ${at} does not name its participant`)
    if (!names.has(on)) throw unknownParticipant(on, names, '')
    const group = groups.get(on) ?? []
    group.push({ at, statement: copyOf(statement) })
    groups.set(on, group)
  }
  return groups
}

/** It is sent later: whoever gives the same object, or the same values, to another call may change them meanwhile. */
function copyOf({ values, ...statement }: Statement): Statement {
  if (typeof values !== 'object' || values === null) return statement
  if (Array.isArray(values)) return { ...statement, values: [...(values as readonly unknown[])] }
  const named = Object.create(Object.getPrototypeOf(values) as object | null) as object
  return { ...statement, values: Object.assign(named, values) }
}

/**
 * Runs the statements in a new global transaction, and commits it.
 *
 * @returns what each answered, in the order of the statements
 * @throws TransactionError whenever the result is anything but "committed everywhere"
 */
export async function executeStatements(
  context: CommitContext,
  options: CheckedOptions,
  groups: Groups,
): Promise<readonly unknown[]> {
  const writers = [...groups.keys()].filter((name) => !options.isReadOnly(name))
  const given = await Running.run(context, options, (_, tx) => {
    const giving = [...groups].map(([name, group]): Promise<GivenAnswers> => {
      const votes = writers.length > 1 && writers.includes(name)
      return tx.branch(name).give(
        group.map(({ statement }) => statement),
        votes ? 'with the vote' : 'now',
      )
    })
    return Promise.all(giving)
  })
  const answers: unknown[] = []
  for (const [index, group] of [...groups.values()].entries()) {
    const told = given[index]?.() ?? []
    for (const [order, { at }] of group.entries()) answers[at] = told[order]
  }
  return answers
}

/** A repository that is called inside a transaction would not be part of it. */
export function insideTransaction(): TransactionError {
  return refused(
    'execute() inside a transaction would not be part of it',
    'Use the handles or the pools of the transaction; or `coordinator.outside(() => coordinator.execute(…))`.',
  )
}

function refused(message: string, hint: string = FORM): TransactionError {
  return new TransactionError('INVALID_OPTION', message, {
    outcome: 'rolled-back',
    gtrid: '',
    hint,
  })
}
