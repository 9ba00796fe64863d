/**
 * Atomic transactions across PostgreSQL, MySQL and MariaDB: every database commits, or none does.
 *
 * @packageDocumentation
 */
export type { TransactionOptions } from './commit/options.ts'
export { type CliConfig, defineConfig } from './config.ts'
export {
  Coordinator,
  type CoordinatorOptions,
  type KnownOutcome,
  type LogLocation,
  type TransactionHandles,
} from './coordinator.ts'
export {
  type BranchReport,
  type ErrorCode,
  LogCorruptError,
  TransactionError,
  type TransactionErrorCode,
  UnanimousError,
} from './errors.ts'
export type { CoordinatorEvent, CoordinatorEventMap } from './events.ts'
export type { Logger } from './logger.ts'
export type { HandleOf, IsolationChoice, ParticipantDefinition } from './participant/participant.ts'
export type { Participants, ReservedName } from './participant/registry.ts'
export type { BranchAnswer, IsolationLevel, Outcome } from './protocol/vocabulary.ts'
