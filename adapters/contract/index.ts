/**
 * What every participant must do, as cases that need no particular test runner: for the authors of
 * new adapters, and run here for each adapter on every server.
 *
 * @example
 * for (const one of participantContract) test(one.name, () => one.run(harness))
 *
 * @packageDocumentation
 */
import { deadlines } from './deadlines.ts'
import { endings } from './endings.ts'
import { given } from './given.ts'
import { lostAnswers } from './lost-answers.ts'
import { refusals } from './refusals.ts'
import { connections, proofs, settling } from './settling.ts'
import type { ContractCase } from './stage.ts'
import { witness } from './witness.ts'

export type {
  ContractHarness,
  Opened,
  OpenOptions,
  PoolCounts,
  RawSession,
  Row,
} from './harness.ts'
export type { ContractCase } from './stage.ts'
export { type CutPoint, type WireProxy, wireProxy } from './wire-proxy.ts'

/**
 * The cases, one after the other on one database: a case leaves no prepared branch behind, and
 * rejects with an `AssertionError` of Node when the participant broke its promise. Names are stable
 * within a minor version; a case that stands for a trap of docs/traps.md begins
 * with its id.
 */
export const participantContract: readonly ContractCase[] = [
  ...endings,
  ...refusals,
  ...lostAnswers,
  ...deadlines,
  ...given,
  ...settling,
  ...proofs,
  ...connections,
  ...witness,
]
