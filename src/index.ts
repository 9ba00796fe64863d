/**
 * Atomic transactions across PostgreSQL, MySQL and MariaDB: every database commits, or none does.
 *
 * @packageDocumentation
 */
export type { SettleBehindOptions } from './commit/behind.ts'
export type { ExecuteOptions, Statement } from './commit/execute.ts'
export type { TransactionVerbs } from './commit/handles.ts'
export type { Propagation, Settle, TransactionOptions } from './commit/options.ts'
export type { RetryOptions } from './commit/retry.ts'
export { type CliConfig, defineConfig } from './config.ts'
export type {
  Answers,
  KnownOutcome,
  OpenTransaction,
  TransactionHandles,
} from './coordinator/handles.ts'
export type { LogDirectory, LogLocation, LogRoot } from './coordinator/location.ts'
export type { CloseOptions, CoordinatorOptions } from './coordinator/options.ts'
export type { CoordinatorStats, ParticipantStats } from './coordinator/stats.ts'
export { Coordinator } from './coordinator.ts'
export {
  type BranchReport,
  type ErrorCode,
  LogCorruptError,
  TransactionError,
  type TransactionErrorCode,
  UnanimousError,
} from './errors.ts'
export type { CoordinatorEvent, CoordinatorEventMap } from './events.ts'
export type { DrainReport } from './live/wire.ts'
export type { LogUsage } from './log/decision-log.ts'
export type { Logger } from './logger.ts'
export type { BudgetOptions } from './participant/budget.ts'
export type {
  AnswerOf,
  HandleOf,
  IsolationChoice,
  ParticipantDefinition,
  PoolOf,
} from './participant/participant.ts'
export type { Participants, ReservedName } from './participant/registry.ts'
export type { BranchAnswer, IsolationLevel, Outcome } from './protocol/vocabulary.ts'
export type { Histogram, Phase, Span } from './tracing.ts'
