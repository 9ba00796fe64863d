/**
 * Finds and reads `unanimous.config.{ts,js,mjs}`.
 *
 * A configuration holds pools with passwords: what is wrong with it is said by path and expectation,
 * never by value, and messages of its own errors pass `redact`.
 */
import { existsSync } from 'node:fs'
import { access, constants } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import type { LogDirectory } from '../coordinator/location.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import type { Participants } from '../participant/registry.ts'
import { redact } from './io.ts'

export interface LoadedConfig {
  readonly file: string
  /** Its directory is absolute. */
  readonly log: LogDirectory
  readonly participants: Participants
  close(): Promise<void>
}

/** In the order in which they are looked for. */
export const CONFIG_NAMES: readonly string[] = [
  'unanimous.config.ts',
  'unanimous.config.js',
  'unanimous.config.mjs',
]

export const CONFIG_EXAMPLE = `import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledger = new pg.Pool({ connectionString: process.env.LEDGER_URL })
const shop = mysql2.createPool(process.env.SHOP_URL)

export default {
  log: './decisions', // the directory that the application passes to Coordinator.open
  participants: { ledger: postgres(ledger), shop: mysql(shop) }, // under the same names
  close: () => Promise.all([ledger.end(), shop.end()]),
}`

const adapter = z.custom<Participants[string]>(
  (value) => typeof value === 'object' && value !== null && 'create' in value,
  { error: 'expected what an adapter answers: postgres(pool) or mysql(pool)' },
)

const schema = z.object({
  log: z.union([
    z.string().min(1),
    z.object({
      directory: z.string().min(1),
      lockWaitMs: z.number().min(0).optional(),
      allowUnsafeFileSystem: z.boolean().optional(),
    }),
  ]),
  participants: z
    .record(z.string(), adapter)
    .refine((all) => Object.keys(all).length > 0, { error: 'expected at least one participant' }),
  close: z
    .custom<() => unknown>((value) => typeof value === 'function', {
      error: 'expected a function',
    })
    .optional(),
})

/**
 * Loads the configuration.
 *
 * @param file - as given on the command line; looked for in `cwd` when missing
 * @throws UnanimousError CONFIG_INVALID
 */
export async function loadConfig(cwd: string, file: string | undefined): Promise<LoadedConfig> {
  const path = file === undefined ? findConfig(cwd) : resolve(cwd, file)
  await checkReadable(path)
  const parsed = schema.safeParse(await evaluate(path))
  if (!parsed.success) throw invalid(`${path}: ${describe(parsed.error)}`, exampleHint())
  const { log, participants, close } = parsed.data
  return {
    file: path,
    log: locate(log, dirname(path)),
    participants,
    close: async () => {
      await close?.()
    },
  }
}

async function checkReadable(path: string): Promise<void> {
  try {
    await access(path, constants.R_OK)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw invalid(`there is no configuration ${path}`, 'See the path given with --config.')
    }
    throw invalid(
      `${path} cannot be read: ${messageOf(cause)}`,
      'Run the command as the user of the application, or let this user read the file.',
    )
  }
}

function findConfig(cwd: string): string {
  for (const name of CONFIG_NAMES) {
    if (existsSync(join(cwd, name))) return join(cwd, name)
  }
  throw invalid(
    `there is no ${CONFIG_NAMES.join(', ')} in ${cwd}`,
    `Name one with --config FILE, or write unanimous.config.mjs:\n\n${indent(CONFIG_EXAMPLE)}\n`,
  )
}

async function evaluate(path: string): Promise<unknown> {
  try {
    const module = await importModule(path)
    if (!('default' in module)) throw new Error('it has no default export')
    const exported = module.default
    return typeof exported === 'function' ? await (exported as () => unknown)() : exported
  } catch (cause) {
    throw invalid(`${path} cannot be used: ${redact(messageOf(cause))}`, exampleHint())
  }
}

async function importModule(path: string): Promise<object> {
  if (/\.[mc]?ts$/.test(path)) {
    const { createJiti } = await import('jiti')
    // Without the interop a module without a default export would seem to have one.
    return createJiti(path, { interopDefault: false, fsCache: false }).import<object>(path)
  }
  const module: unknown = await import(pathToFileURL(path).href)
  return module as object
}

function locate(log: z.infer<typeof schema>['log'], base: string): LogDirectory {
  const { directory, lockWaitMs, allowUnsafeFileSystem } =
    typeof log === 'string' ? { directory: log } : { ...log }
  return {
    directory: isAbsolute(directory) ? directory : resolve(base, directory),
    ...(lockWaitMs === undefined ? {} : { lockWaitMs }),
    ...(allowUnsafeFileSystem === undefined ? {} : { allowUnsafeFileSystem }),
  }
}

function describe(error: z.ZodError): string {
  return error.issues
    .map(
      ({ path, message }) =>
        `${path.length === 0 ? 'the default export' : path.join('.')}: ${message}`,
    )
    .join('; ')
}

function exampleHint(): string {
  return `A configuration looks like this:\n\n${indent(CONFIG_EXAMPLE)}\n`
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '    ')
}

function invalid(message: string, hint: string): UnanimousError {
  return new UnanimousError('CONFIG_INVALID', message, { hint })
}
