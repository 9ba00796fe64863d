/**
 * `npm run model`: checks the Spin model of commit and recovery over the log on files, exhaustively, and each
 * of its mutants. The model must be safe, and every mutant must be caught. Needs a C compiler; Spin is
 * the machine's own, or Debian's package in the cache.
 *
 * The last line is `N passed, N failed`; exits with 2 when the machine lacks something.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unpacked, unpackedCommand } from '../support/servers/packages.ts'

const MODEL = fileURLToPath(new URL('./file-log.pml', import.meta.url))

/** Each flag of the model, and the rule that it leaves out. */
const MUTANTS: Readonly<Record<string, string>> = {
  ACT_BEFORE_SYNC: 'commits before the record is durable (rule 1)',
  ACK_OF_NEXT_BATCH: 'answers a record of the next batch when this one is durable',
  SYNC_AGAIN: 'tries a failed sync again (rule 2)',
  FAILED_FORCE_IS_ABORT: 'takes a failed force for an abort (rule 2)',
  NOT_DURABLE_AGAIN: 'acts on what it read, which may be in the page cache alone',
  LOST_VOTE_IS_YES: 'takes a lost vote for a yes (rule 3)',
  DECISIONS_FIRST: 'recovery reads decisions before it lists (rule 5)',
  LIVE_SET_FIRST: 'recovery reads the live set before it lists (rule 5)',
  NO_LIVE_SET: 'recovery ignores the live set (rule 5)',
  LIVE_LATE: 'joins the live set after the first prepare (rule 5)',
  ONE_PASS: 'recovery ends when it finds nothing (rule 6)',
  END_AFTER_FIRST: 'forgets a decision after the first answer (rule 7)',
  DEADLINE_TURNS_BACK: 'a deadline rolls back what was handed over (rules 10 and 12)',
  NO_LOCK: 'a second process opens the log of one that only stood still',
  CHECKPOINT_FORGETS: 'a checkpoint leaves a decision out',
  CHECKPOINT_NOT_SYNCED: 'a checkpoint has its name before it is durable',
  DIRECTORY_NOT_SYNCED: 'the old segment is recycled before the new name is durable, for ever',
  RECYCLED_EARLY: 'the old segment is recycled a step before the new name is durable',
}

interface Verdict {
  readonly isSafe: boolean
  readonly states: string
  readonly seconds: number
}

function lacks(what: string): never {
  console.error(`the model cannot be checked on this machine: ${what}`)
  process.exit(2)
}

function works(command: readonly string[]): boolean {
  const [file = '', ...args] = command
  return spawnSync(file, args, { stdio: 'ignore' }).status === 0
}

async function findSpin(): Promise<readonly string[]> {
  if (works(['spin', '-V'])) return ['spin']
  const report = (line: string): void => console.error(line)
  const wish = { key: 'spin', title: 'Spin', names: /^spin$/ }
  const root = await unpacked(wish, report).catch((cause: unknown) =>
    lacks(`spin is missing (apt-get install spin): ${String(cause)}`),
  )
  return unpackedCommand(root, 'usr/bin/spin')
}

function check(spin: readonly string[], flags: readonly string[]): Verdict {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-model-'))
  const started = performance.now()
  const step = (command: readonly string[], mayFail = false): string => {
    const [file = '', ...args] = command
    const { status, stdout, stderr } = spawnSync(file, args, { cwd: folder, encoding: 'utf8' })
    if (status !== 0 && !mayFail) throw new Error(`${command.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  try {
    step([...spin, '-a', ...flags, MODEL])
    step(['cc', '-O1', '-w', '-DSAFETY', '-o', 'pan', 'pan.c'])
    // It leaves with another status when it has found an error.
    const output = step(['./pan', '-m1000000'], true)
    const errors = /errors: (\d+)/.exec(output)?.[1]
    if (errors === undefined || /max search depth too small|out of memory/.test(output)) {
      throw new Error(output)
    }
    const states = /(\d+) states, stored/.exec(output)?.[1] ?? '?'
    return { isSafe: errors === '0', states, seconds: (performance.now() - started) / 1_000 }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (!works(['cc', '--version'])) lacks('a C compiler is missing (apt-get install gcc)')
const spin = await findSpin()
const flags = [...readFileSync(MODEL, 'utf8').matchAll(/^#if(?:n?)def ([A-Z_]+)/gm)]
const unnamed = flags.map(([, flag]) => flag ?? '').filter((flag) => !(flag in MUTANTS))
if (unnamed.length > 0) throw new Error(`flags of the model without a row: ${unnamed.join(', ')}`)

let failed = 0
const variants = [['', 'every rule is kept'] as const, ...Object.entries(MUTANTS)]
for (const [flag, meaning] of variants) {
  const { isSafe, states, seconds } = check(spin, flag === '' ? [] : [`-D${flag}`])
  const isRight = isSafe === (flag === '')
  if (!isRight) failed += 1
  const verdict = isSafe ? 'safe  ' : 'caught'
  const figures = `${states.padStart(9)} states ${seconds.toFixed(1).padStart(5)} s`
  console.log(
    `${isRight ? 'ok    ' : 'FAILED'} ${verdict} ${figures}  ${flag || 'the model'}: ${meaning}`,
  )
}
console.log(`\n${variants.length - failed} passed, ${failed} failed`)
if (failed > 0) process.exitCode = 1
