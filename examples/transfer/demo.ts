/**
 * The demo: money moves between two databases while the process that moves it is killed.
 * `npm run demo -- --help` lists its options; README.md says what it shows.
 */
import { checkBooks, checkRest, show } from './demo/checks.ts'
import { crashRounds } from './demo/crash.ts'
import { CONCURRENCY, load } from './demo/load.ts'
import { type DemoOptions, parseOptions, USAGE } from './demo/options.ts'
import { bad, heading, line, money, number, seconds } from './demo/screen.ts'
import { build, initialise, nameOf, type Stage, strike } from './demo/stage.ts'
import { PLACES, START_BALANCE } from './schema.ts'
import type { Answer } from './worker.ts'

/** @returns whether everything held. */
async function demo(options: DemoOptions): Promise<boolean> {
  heading('Servers')
  const stage = await build(options)
  const { observer } = stage
  line(`${PLACES} accounts and ${PLACES} wallets, ${money(START_BALANCE)} each`)
  await initialise(stage)

  heading(`${number(options.transfers)} transfers, ${CONCURRENCY} at a time`)
  const answers = new Map<string, Answer>()
  await load(stage, options, answers)

  const crashes = await crashRounds(stage, options, answers)

  heading('In the databases')
  const [accounts, wallets] = await Promise.all([observer.accounts(), observer.wallets()])
  const holds = show([...checkBooks(accounts, wallets, answers), ...(await checkRest(observer))])
  if (crashes.kills > 0) {
    line(
      `${crashes.clean} of ${crashes.rounds} crash rounds ended clean; ` +
        `${crashes.kills} kills, from restart to nothing in doubt at most ${seconds(crashes.slowestMs)}`,
    )
  }
  sums(stage, accounts.moved, wallets.moved)
  return holds && crashes.clean === crashes.rounds
}

/** The last lines: both servers, and what each says was moved. */
function sums({ postgres, mysql }: Stage, left: number, arrived: number): void {
  const width = Math.max(nameOf(postgres).length, nameOf(mysql).length)
  console.log()
  line(`${nameOf(postgres).padEnd(width)}  left the accounts       ${money(left)}`)
  line(`${nameOf(mysql).padEnd(width)}  arrived in the wallets  ${money(arrived)}`)
}

/** The exit code of a demo that was broken off. */
let interrupted: number | undefined

async function main(): Promise<number> {
  let options: DemoOptions | 'help'
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (cause) {
    console.error(cause instanceof Error ? cause.message : cause)
    console.error(USAGE)
    return 2
  }
  if (options === 'help') {
    console.log(USAGE)
    return 0
  }
  try {
    const holds = await demo(options)
    if (!holds) console.error(bad('\nNot everything held.'))
    return holds ? 0 : 1
  } catch (cause) {
    // Broken off: what fails now fails because everything is being taken away.
    if (interrupted !== undefined) return interrupted
    console.error(bad('\nThe demo failed.'))
    console.error(cause)
    return 1
  } finally {
    await strike()
  }
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    interrupted = code
    console.error('\ncleaning up')
    strike()
      .catch((cause: unknown) => console.error(cause))
      .finally(() => process.exit(code))
  })
}
process.exitCode = await main()
