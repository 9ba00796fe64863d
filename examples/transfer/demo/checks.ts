/** What must hold, checked in the databases. */
import { PLACES, START_BALANCE } from '../schema.ts'
import type { Answer } from '../worker.ts'
import type { Books, Observer } from './observe.ts'
import { bad, good, line, money, number } from './screen.ts'

/** All the money there is, in cents. */
export const ALL_MONEY = 2 * PLACES * START_BALANCE

/** Answers that callers heard, by transfer id. */
export type Answers = ReadonlyMap<string, Answer>

export interface Check {
  readonly what: string
  /** What is wrong; `undefined` when it holds. */
  readonly wrong: string | undefined
}

export function checkBooks(accounts: Books, wallets: Books, answers: Answers): Check[] {
  const now = accounts.money + wallets.money
  const left = PLACES * START_BALANCE - accounts.money
  const arrived = wallets.money - PLACES * START_BALANCE
  const onOneSide = [...accounts.transfers].filter((id) => !wallets.transfers.has(id))
  onOneSide.push(...[...wallets.transfers].filter((id) => !accounts.transfers.has(id)))
  const untrue = [...answers].filter(([id, answer]) => {
    if (answer === 'committed') return !accounts.transfers.has(id) || !wallets.transfers.has(id)
    return answer === 'rolled-back' && (accounts.transfers.has(id) || wallets.transfers.has(id))
  })
  return [
    {
      what: `the sum of all money is unchanged: ${money(ALL_MONEY)}`,
      wrong: now === ALL_MONEY ? undefined : `it is ${money(now)}`,
    },
    {
      what: 'what left the accounts is what arrived in the wallets, and what the transfers say',
      wrong:
        left === arrived && left === accounts.moved && left === wallets.moved
          ? undefined
          : `left ${left}, arrived ${arrived}; by the transfers ${accounts.moved} and ${wallets.moved}`,
    },
    {
      what: `the same ${number(accounts.transfers.size)} transfers are on both sides`,
      wrong: onOneSide.length === 0 ? undefined : `on one side only: ${onOneSide.join(', ')}`,
    },
    {
      what: `each of the ${number(answers.size)} answers that callers heard is true`,
      wrong:
        untrue.length === 0 ? undefined : untrue.map((pair) => pair.join(' heard ')).join(', '),
    },
  ]
}

/** Nothing is prepared, and no row is locked. */
export async function checkRest(observer: Observer): Promise<Check[]> {
  const left = await observer.inDoubt()
  const locked = await observer.lockAll().then(
    () => undefined,
    (cause: unknown) => String(cause),
  )
  return [
    {
      what: 'nothing is prepared',
      wrong: left.length === 0 ? undefined : left.map(({ id }) => id).join(', '),
    },
    { what: 'no row is locked', wrong: locked },
  ]
}

/** Shows the checks. @returns whether all hold */
export function show(checks: readonly Check[]): boolean {
  for (const { what, wrong } of checks) {
    line(wrong === undefined ? `${good('holds')}   ${what}` : `${bad('BROKEN')}  ${what}: ${wrong}`)
  }
  return checks.every(({ wrong }) => wrong === undefined)
}
