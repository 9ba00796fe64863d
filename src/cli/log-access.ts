/** The decision log as the `log` commands reach it: by the configuration, or by its directory. */
import { resolve } from 'node:path'
import { systemRandom } from '../clock.ts'
import type { LogDirectory } from '../coordinator/location.ts'
import { UnanimousError } from '../errors.ts'
import { noFailpoints } from '../failpoint.ts'
import type { LogEvent } from '../log/decision-log.ts'
import { nodeFileSystem } from '../log/node-file-system.ts'
import type { LogSeams } from '../log/open-log.ts'
import { loadConfig } from './config.ts'
import { type Io, messageLines } from './io.ts'

export interface LogCommandOptions {
  readonly config?: string
  /** The log's directory; with it no configuration is needed. */
  readonly log?: string
}

/**
 * Where the log is. The configuration's pools are closed again: these commands ask no database.
 *
 * @throws UnanimousError CONFIG_INVALID
 */
export async function locateLog(io: Io, { config, log }: LogCommandOptions): Promise<LogDirectory> {
  if (log !== undefined && config === undefined) return { directory: resolve(io.cwd, log) }
  const loaded = await loadConfig(io.cwd, config).catch(alsoByDirectory)
  await loaded.close().catch((cause: unknown) => {
    io.err(messageLines(`warning: close() of the configuration: ${String(cause)}`, undefined))
  })
  if (log === undefined) return loaded.log
  return { ...loaded.log, directory: resolve(io.cwd, log) }
}

/** Of a command that can do without: says so. */
export function alsoByDirectory(cause: unknown): never {
  if (!(cause instanceof UnanimousError) || cause.code !== 'CONFIG_INVALID') throw cause
  throw new UnanimousError('CONFIG_INVALID', cause.message, {
    hint: `--log DIR names the log's directory without a configuration. ${cause.hint ?? ''}`,
    cause,
  })
}

export function logSeams(io: Io): LogSeams {
  return {
    clock: io.clock,
    random: systemRandom,
    files: nodeFileSystem,
    failpoints: noFailpoints,
    onEvent: (event) => io.err(logEventLines(event)),
  }
}

export function logEventLines(event: LogEvent): string {
  switch (event.kind) {
    case 'tail-cut':
      return messageLines(
        `note: a write that a crash cut short was taken off ${event.file}`,
        `It was never acknowledged; a copy is in ${event.copy}.`,
      )
    case 'copy-repaired':
      return messageLines(
        `note: a damaged page of ${event.file} was restored from its copy`,
        undefined,
      )
    case 'poisoned':
      return messageLines(
        `warning: the log could not be written: ${event.cause.message}`,
        undefined,
      )
    case 'warning':
      return messageLines(`warning: ${event.message}`, undefined)
  }
}
