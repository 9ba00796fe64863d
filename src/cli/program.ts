/**
 * The command line: words and options, and which module carries them out. A command's module, and
 * what it imports, is loaded when the command is given and not before.
 */
import { createRequire } from 'node:module'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import type { InitOptions } from './commands/init.ts'
import type { ListOptions } from './commands/list.ts'
import type { RecoverOptions } from './commands/recover.ts'
import type { ShowOptions } from './commands/show.ts'
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

function program(io: Io, ended: (code: ExitCode) => void): Command {
  const root = new Command('unanimous')
    .description('Shows and settles transactions that a crash left prepared.')
    .version(version(), '-v, --version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .showHelpAfterError('(unanimous --help shows what there is)')
    .addHelpText('after', EXIT_CODES_HELP)
  command(root, 'list', 'show every transaction that is not settled, and what to do about it')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous list', 'unanimous list --json | jq .transactions'))
    .action(async (options: ListOptions) => {
      const { list } = await import('./commands/list.ts')
      ended(await list(io, options))
    })
  command(root, 'show', 'show one transaction, branch by branch')
    .argument(
      '<id>',
      'the id, or enough of its beginning: of the whole gtrid or as `list` prints it',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous show 1.k3v9x0ab-7'))
    .action(async (id: string, options: ShowOptions) => {
      const { show } = await import('./commands/show.ts')
      ended(await show(io, id, options))
    })
  command(root, 'recover', 'settle what a dead coordinator left; a dry run unless --apply is given')
    .option('--apply', 'do it: needs the log for itself, so no coordinator may run on it')
    .option(
      '--wait <time>',
      'with --apply: how long to try again, such as 500ms, 30s or 5m',
      duration,
    )
    .option('--participant <name>', 'only the branches of this participant')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('unanimous recover', 'unanimous recover --apply --wait 30s'))
    .action(async (options: RecoverOptions) => {
      const { recover } = await import('./commands/recover.ts')
      ended(await recover(io, options))
    })
  command(root, 'init', 'print the SQL of the tables for marker rows; create them with --apply')
    .option('--apply', 'create the tables')
    .option('--participant <name>', 'only this participant')
    .addHelpText('after', examples('unanimous init > tables.sql', 'unanimous init --apply'))
    .action(async (options: InitOptions) => {
      const { init } = await import('./commands/init.ts')
      ended(await init(io, options))
    })
  return root
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

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 }

function duration(text: string): number {
  const match = /^(\d+)(ms|s|m)$/.exec(text)
  const unit = UNITS[match?.[2] ?? '']
  if (match === null || unit === undefined) {
    throw new InvalidArgumentError('A time has a unit: 500ms, 30s or 5m.')
  }
  return Number(match[1]) * unit
}

function version(): string {
  // By its own name: the sources and the built files lie at different depths.
  const found: unknown = createRequire(import.meta.url)('unanimous/package.json')
  const known = typeof found === 'object' && found !== null && 'version' in found
  return known ? String(found.version) : 'unknown'
}
