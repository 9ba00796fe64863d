/**
 * What a participant must do, as a list of cases that need no particular test runner: each is run
 * against every adapter on every server. Cases that stand for a trap carry its id.
 */
import { endings } from './endings.ts'
import { lostAnswers } from './lost-answers.ts'
import { refusals } from './refusals.ts'
import { connections, proofs, settling } from './settling.ts'
import type { ContractCase } from './stage.ts'

export const participantContract: readonly ContractCase[] = [
  ...endings,
  ...refusals,
  ...lostAnswers,
  ...settling,
  ...proofs,
  ...connections,
]
