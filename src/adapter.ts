/**
 * What the author of an adapter imports, and nothing else from this project's core.
 *
 * @packageDocumentation
 */
export { type Clock, isPending, LATE, sleep, systemClock, type Timer, within } from './clock.ts'
export {
  type ErrorCode,
  errorOf,
  messageOf,
  TransactionError,
  type TransactionErrorCode,
  UnanimousError,
} from './errors.ts'
export { InvariantError, invariant } from './invariant.ts'
export type {
  AmbientBranch,
  Branch,
  BranchRequest,
  GivenAnswers,
  GivenStatement,
  GiveWhen,
  Probed,
  Seat,
} from './participant/branch.ts'
export type {
  Announcement,
  ByHand,
  Capabilities,
  Examination,
  Finding,
  Glance,
  HandleOf,
  Participant,
  ParticipantContext,
  ParticipantDefinition,
  ParticipantWarning,
  PoolOf,
  PreparedBranch,
  Recorded,
  SeenHold,
  SeenMarker,
  SeenSessions,
  SeenWait,
  Severity,
} from './participant/participant.ts'
export type {
  BranchEvidence,
  BranchRecord,
  Decision,
  IsolationLevel,
  OnePhaseAnswer,
  Proof,
  Refusal,
  RefusalCode,
  ServerIdentity,
  ServerLife,
  Settlement,
  Vote,
} from './protocol/vocabulary.ts'
export { Waits } from './waits.ts'
export {
  FORMAT_ID,
  formatBqual,
  isGtrid,
  parseBqual,
  type Xid,
} from './xid.ts'
