/** The type of `unanimous.config.{ts,js,mjs}`, for whoever writes one; the command line reads it. */
import type { LogDirectory } from './coordinator/location.ts'
import type { Participants } from './participant/registry.ts'

/** What the command line needs of an application. */
export interface CliConfig {
  /** The decision log's directory, or one slot's; a relative path starts at the configuration file. */
  readonly log: string | LogDirectory
  /** The databases, by the names that the application's coordinator uses. */
  readonly participants: Participants
  /** Ends what the configuration opened, its pools: called once when the command is done. */
  readonly close?: () => unknown
}

/**
 * Answers its argument: for its type, as the default export of `unanimous.config.ts`. Pass the
 * configuration, or a function that makes it.
 */
export function defineConfig<C extends CliConfig | (() => CliConfig | Promise<CliConfig>)>(
  config: C,
): C {
  return config
}
