/**
 * The command line: words and options, and which module carries them out. A command's module, and
 * what it imports, is loaded when the command is given and not before.
 */
import { createRequire } from 'node:module'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { InspectedState } from '../recovery/inspection.ts'
import type { DoctorOptions } from './commands/doctor.ts'
import type { DrainOptions } from './commands/drain.ts'
import type { ForgetOptions } from './commands/forget.ts'
import type { InitOptions } from './commands/init.ts'
import type { ListOptions } from './commands/list.ts'
import type { LogAdoptOptions } from './commands/log-adopt.ts'
import type { LogCompactOptions } from './commands/log-compact.ts'
import type { LogDumpOptions } from './commands/log-dump.ts'
import type { LogVerifyOptions } from './commands/log-verify.ts'
import type { OrphansOptions } from './commands/orphans.ts'
import type { RecoverOptions } from './commands/recover.ts'
import type { ResolveOptions } from './commands/resolve.ts'
import type { ShowOptions } from './commands/show.ts'
import type { StatusOptions } from './commands/status.ts'
import { EXIT, EXIT_CODES_HELP, type ExitCode, exitCodeOf } from './exit-codes.ts'
import { errorLines, type Io } from './io.ts'

/** Runs one command. Never throws: what goes wrong is told to stderr and becomes an exit code. */
export async function runCli(args: readonly string[], io: Io): Promise<ExitCode> {
  let code: ExitCode = EXIT.clean
  try {
    await program(io, (result) => {
      code = result
    }).parseAsync([...args], { from: 'user' })
    return code
  } catch (cause) {
    if (cause instanceof CommanderError) return cause.exitCode === 0 ? EXIT.clean : EXIT.usage
    io.err(errorLines(cause))
    return exitCodeOf(cause)
  }
}

function program(io: Io, ended: Ended): Command {
  const root = new Command('unanimous')
    .description('Shows and settles transactions that a crash left prepared.')
    .version(version(), '-v, --version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .showHelpAfterError('(unanimous --help shows what there is)')
    .addHelpText('after', EXIT_CODES_HELP)
  addLooks(root, io, ended)
  addActs(root, io, ended)
  addLog(root, io, ended)
  addSetup(root, io, ended)
  return root
}

type Ended = (code: ExitCode) => void

/** What changes nothing. */
function addLooks(root: Command, io: Io, ended: Ended): void {
  command(
    root,
    'status',
    'one screen: the log, the databases, what is unsettled, what to type next',
  )
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous status'))
    .action(async (options: StatusOptions) => {
      const { status } = await import('./commands/status.ts')
      ended(await status(io, options))
    })
  command(root, 'list', 'show the transactions that are not settled, and what to do about them')
    .option(
      '--older-than <time>',
      'only those of at least this age, such as 30s, 5m or 2h',
      duration,
    )
    .addOption(new Option('--state <state>', 'only those in this state').choices(STATES))
    .option('--participant <name>', 'only those with a branch in this participant')
    .option('--limit <count>', 'at most so many', count, 50)
    .option('--after <id>', 'only those that began after this one: the next page')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'unanimous list',
        'unanimous list --older-than 5m --state unsettled',
        'unanimous list --json | jq .transactions',
      ),
    )
    .action(async (options: ListOptions) => {
      const { list } = await import('./commands/list.ts')
      ended(await list(io, options))
    })
  command(
    root,
    'show',
    'show one transaction: its past, its branches, what each choice would break',
  )
    .argument('<id>', ID)
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous show 1.k3v9x0ab-7'))
    .action(async (id: string, options: ShowOptions) => {
      const { show } = await import('./commands/show.ts')
      ended(await show(io, id, options))
    })
  command(root, 'orphans', 'show prepared branches that are not of this log; never touches them')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous orphans'))
    .action(async (options: OrphansOptions) => {
      const { orphans } = await import('./commands/orphans.ts')
      ended(await orphans(io, options))
    })
}

const STATES: readonly InspectedState[] = ['unsettled', 'live', 'heuristic', 'settled']
const ID = 'the id, or enough of its beginning: of the whole gtrid or as `list` prints it'

/** What changes something, when `--apply` is given. */
function addActs(root: Command, io: Io, ended: Ended): void {
  command(root, 'recover', 'settle what a dead coordinator left; a dry run unless --apply is given')
    .option('--apply', 'do it: through the coordinator that runs, or on the log itself')
    .option(
      '--wait <time>',
      'with --apply: how long to try again, such as 500ms, 30s or 5m',
      duration,
    )
    .option('--reason <text>', 'stays in the log with what was settled')
    .option('--participant <name>', 'only the branches of this participant')
    .option('--from-databases', 'the log is lost: let the marker rows of the databases decide')
    .option(
      '--owner-is-dead <log id>',
      'with --from-databases: no process works with this log any more, nor will (repeatable)',
      (id: string, ids: readonly string[] = []) => [...ids, id],
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'unanimous recover',
        'unanimous recover --apply --wait 30s',
        'unanimous recover --from-databases --owner-is-dead 49c9tnn9bmwy16hm --apply',
      ),
    )
    .action(async (options: RecoverOptions) => {
      if (options.fromDatabases === true) {
        const { recoverFromDatabases } = await import('./commands/recover-from-databases.ts')
        return ended(await recoverFromDatabases(io, options))
      }
      const { recover } = await import('./commands/recover.ts')
      ended(await recover(io, options))
    })
  addByHand(root, io, ended)
  addDrain(root, io, ended)
}

/** What a person decides. */
function addByHand(root: Command, io: Io, ended: Ended): void {
  command(root, 'resolve', 'end the branches of one transaction; a dry run unless --apply is given')
    .argument('<id>', ID)
    .addOption(new Option('--commit', 'commit them').conflicts('rollback'))
    .addOption(new Option('--rollback', 'roll them back').conflicts('commit'))
    .option('--branch <participant>', 'only the branch in this participant')
    .requiredOption('--reason <text>', 'why: stays in the log, with who, when and where')
    .option('--force-against-log', 'do the opposite of what the log holds: needs --confirm')
    .option('--confirm <gtrid>', 'the whole gtrid, typed')
    .option('--apply', 'do it: needs the log for itself, so no coordinator may run on it')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples("unanimous resolve 3.5rp2crx8-2 --rollback --reason 'ticket 4711' --apply"),
    )
    .action(async (id: string, options: ResolveOptions) => {
      const { resolve } = await import('./commands/resolve.ts')
      ended(await resolve(io, id, options))
    })
  command(root, 'forget', 'drop the record of a heuristic; a dry run unless --apply is given')
    .argument('<id>', ID)
    .requiredOption('--reason <text>', 'why: stays in the log, with who, when and where')
    .option('--confirm <gtrid>', 'also when a branch never answered: its database is lost for good')
    .option('--apply', 'do it, once the data is mended')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples("unanimous forget 3.5rp2crx8-2 --reason 'booked by hand, ticket 4711' --apply"),
    )
    .action(async (id: string, options: ForgetOptions) => {
      const { forget } = await import('./commands/forget.ts')
      ended(await forget(io, id, options))
    })
}

/** The coordinator that runs. */
function addDrain(root: Command, io: Io, ended: Ended): void {
  command(
    root,
    'drain',
    'let the running coordinator come to rest; a dry run unless --apply is given',
  )
    .option('--wait <time>', 'how long what runs may still take, such as 30s', duration, 10_000)
    .option('--apply', 'do it: from then on it begins no transaction')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous drain --wait 30s --apply'))
    .action(async (options: DrainOptions) => {
      const { drain } = await import('./commands/drain.ts')
      ended(await drain(io, options))
    })
}

/** The decision log itself: its directory may be named without a configuration. */
function addLog(root: Command, io: Io, ended: Ended): void {
  const log = root.command('log').description('look at the decision log, compact it, adopt a copy')
  logCommand(log, 'verify', 'read every byte of the log and say what is there; takes no lock')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('unanimous log verify', 'unanimous log verify --log ./decisions'),
    )
    .action(async (options: LogVerifyOptions) => {
      const { logVerify } = await import('./commands/log-verify.ts')
      ended(await logVerify(io, options))
    })
  logCommand(log, 'dump', 'print every record of the log, oldest first; takes no lock')
    .option('--json', 'print JSON, one object a line')
    .addHelpText('after', examples('unanimous log dump', 'unanimous log dump --json | jq .gtrid'))
    .action(async (options: LogDumpOptions) => {
      const { logDump } = await import('./commands/log-dump.ts')
      ended(await logDump(io, options))
    })
  logCommand(log, 'compact', 'write what is still needed into a fresh segment; needs the log')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous log compact'))
    .action(async (options: LogCompactOptions) => {
      const { logCompact } = await import('./commands/log-compact.ts')
      ended(await logCompact(io, options))
    })
  logCommand(log, 'adopt', 'make a copied directory the log; a dry run unless --apply is given')
    .option('--apply', 'do it: no other copy may be in use, now or later')
    .option('--reason <text>', 'stays in the log')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous log adopt', 'unanimous log adopt --apply'))
    .action(async (options: LogAdoptOptions) => {
      const { logAdopt } = await import('./commands/log-adopt.ts')
      ended(await logAdopt(io, options))
    })
}

function logCommand(log: Command, name: string, description: string): Command {
  return command(log, name, description).option(
    '--log <dir>',
    'the log; no configuration is needed',
  )
}

/** What is done before the first transaction. */
function addSetup(root: Command, io: Io, ended: Ended): void {
  command(
    root,
    'doctor',
    'look whether everything is set up for two-phase commit, and what mends it',
  )
    .option('--participant <name>', 'only this participant')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('unanimous doctor', 'unanimous doctor --json | jq .participants'),
    )
    .action(async (options: DoctorOptions) => {
      const { doctor } = await import('./commands/doctor.ts')
      ended(await doctor(io, options))
    })
  command(root, 'init', 'print the SQL of the tables for marker rows; create them with --apply')
    .option('--apply', 'create the tables')
    .option('--participant <name>', 'only this participant')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous init > tables.sql', 'unanimous init --apply'))
    .action(async (options: InitOptions) => {
      const { init } = await import('./commands/init.ts')
      ended(await init(io, options))
    })
}

function command(root: Command, name: string, description: string): Command {
  return root
    .command(name)
    .description(description)
    .option('-c, --config <file>', 'configuration; default: unanimous.config.{ts,js,mjs} here')
    .allowExcessArguments(false)
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n${EXIT_CODES_HELP}`
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

function duration(text: string): number {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text)
  const unit = UNITS[match?.[2] ?? '']
  if (match === null || unit === undefined) {
    throw new InvalidArgumentError('A time has a unit: 500ms, 30s, 5m or 2h.')
  }
  return Number(match[1]) * unit
}

function count(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It is a number from 1.')
}

function version(): string {
  // By its own name: the sources and the built files lie at different depths.
  const found: unknown = createRequire(import.meta.url)('unanimous/package.json')
  const known = typeof found === 'object' && found !== null && 'version' in found
  return known ? String(found.version) : 'unknown'
}
