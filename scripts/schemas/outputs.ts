/**
 * What `--json` prints, command by command: the source of the JSON Schemas in docs/schemas
 * (scripts/schemas.ts writes them). A test holds the command line to both.
 *
 * Schema version 1: fields are added within a version, never changed or removed; what is not known
 * is `null`.
 */
import { z } from 'zod'
import {
  Answer,
  Apart,
  Coordinator,
  count,
  Done,
  Extent,
  Finding,
  Header,
  HistoryEntry,
  Log,
  Look,
  list,
  Owner,
  Participant,
  Step,
  Torn,
  Transaction,
  Trouble,
  text,
  time,
  Verdict,
  WithoutLog,
  Word,
} from './parts.ts'

const RecordHead = { file: text, offset: count, batch: count, at: time.nullable() }
const DumpLine = { schemaVersion: z.literal(1), ...RecordHead }

/** By command; `log dump` prints one for each record. */
export const OUTPUTS = {
  status: z.object({
    ...Header,
    log: Log.extend({ sound: z.boolean(), files: count, bytes: count }),
    /** The one that runs, when it answers. */
    coordinator: Coordinator.nullable(),
    participants: list(Participant),
    unsettled: z.object({ count, oldestMs: count.nullable() }),
    heuristic: z.object({ count }),
    live: z.object({ count }),
    apart: z.object({ orphan: count, foreign: count, unconfigured: count, copy: count }),
    lastOperator: Word.extend({ at: time, action: text, gtrid: text }).nullable(),
    next: list(text),
  }),
  list: z.object({
    ...Header,
    ...Look,
    /** Of the transactions that the filters let through: how many, and where the next page begins. */
    total: count,
    next: text.nullable(),
    transactions: list(Transaction),
  }),
  show: z.object({
    ...Header,
    ...Look,
    transaction: Transaction.nullable(),
    history: list(HistoryEntry),
    /** What the running coordinator works on under that id. */
    running: list(
      z.object({
        gtrid: text,
        name: text.nullable(),
        state: text,
        ageMs: count,
        participants: list(text),
      }),
    ),
  }),
  recover: z.union([
    z.object({
      ...Header,
      applied: z.literal(false),
      ...Look,
      plan: list(Step),
      left: list(Transaction),
    }),
    z.object({
      ...Header,
      applied: z.literal(true),
      ...Look,
      done: list(Done),
      /** What could not be settled yet, and why the first of each participant could not. */
      unsettled: list(
        z.object({
          participant: text,
          count,
          why: text.nullable(),
          hint: text.nullable(),
        }),
      ),
      left: list(Transaction),
    }),
  ]),
  'recover-from-databases': z.union([
    z.object({ ...Header, applied: z.literal(false), ...WithoutLog, plan: list(Verdict) }),
    z.object({ ...Header, applied: z.literal(true), ...WithoutLog, done: list(Done) }),
  ]),
  resolve: z.object({
    ...Header,
    applied: z.boolean(),
    ...Look,
    transaction: Transaction.nullable(),
    operator: Word,
    plan: list(
      z.object({
        participant: text,
        bqual: text,
        action: z.enum(['commit', 'roll back']),
        against: z.boolean(),
      }),
    ),
    done: list(
      z.object({
        participant: text,
        bqual: text,
        did: z.enum([...Answer.options, 'rolled-back', 'committed-against']).nullable(),
        trouble: text.nullable(),
        hint: text.nullable(),
      }),
    ),
  }),
  forget: z.object({
    ...Header,
    applied: z.boolean(),
    ...Look,
    transaction: Transaction.nullable(),
    operator: Word,
  }),
  orphans: z.object({
    ...Header,
    ...Look,
    apart: list(Apart.extend({ byHand: z.object({ commit: text, rollBack: text }).nullable() })),
  }),
  drain: z.object({
    ...Header,
    applied: z.boolean(),
    directory: text,
    coordinator: Coordinator.nullable(),
    report: z.object({ ended: count, aborted: count, running: count, left: count }).nullable(),
  }),
  doctor: z.object({
    ...Header,
    log: z.object({
      directory: text,
      logId: text.nullable(),
      owner: Owner.nullable(),
      fileSystem: text,
      findings: list(Finding),
      trouble: Trouble.nullable(),
    }),
    participants: list(
      z.object({
        name: text,
        server: text.nullable(),
        markers: z.boolean().nullable(),
        clockSkewMs: z.number().nullable(),
        settings: z.record(text, text.nullable()),
        findings: list(Finding),
        trouble: Trouble.nullable(),
      }),
    ),
  }),
  init: z.object({
    ...Header,
    applied: z.boolean(),
    participants: list(
      z.object({
        name: text,
        statements: list(text),
        server: text.nullable(),
        markers: z.boolean().nullable(),
        trouble: Trouble.nullable(),
      }),
    ),
  }),
  'log-verify': z.object({
    ...Header,
    log: Log.extend({ logId: text.nullable() }),
    files: list(
      z.object({
        name: text,
        bytes: count,
        role: z.enum(['active', 'older', 'spare', 'next', 'cut', 'other']),
      }),
    ),
    batches: count.nullable(),
    records: count.nullable(),
    pending: count.nullable(),
    end: count.nullable(),
    repairable: list(count),
    torn: Torn.nullable(),
    damage: z.object({ file: text, offset: count, message: text, behind: list(count) }).nullable(),
  }),
  'log-dump': z.discriminatedUnion('type', [
    z.object({
      ...DumpLine,
      type: z.literal('checkpoint'),
      logId: text,
      lowestEpoch: count,
      nonces: list(text),
    }),
    z.object({ ...DumpLine, type: z.literal('open'), epoch: count, nonce: text }),
    z.object({
      ...DumpLine,
      type: z.literal('server'),
      index: count,
      server: text,
      timeline: text.nullable(),
    }),
    z.object({
      ...DumpLine,
      type: z.literal('commit'),
      gtrid: text,
      name: text.nullable(),
      meta: z.unknown(),
      branches: list(
        z.object({
          participant: text,
          bqual: text,
          server: text,
          timeline: text.nullable(),
          serverStartedAt: time,
          xid8: text.nullable(),
          marker: z.boolean(),
        }),
      ),
    }),
    z.object({
      ...DumpLine,
      type: z.enum(['answered', 'heuristic']),
      gtrid: text,
      bqual: text,
      answer: Answer,
    }),
    z.object({ ...DumpLine, type: z.literal('end'), gtrid: text }),
    z.object({
      ...DumpLine,
      type: z.literal('operator'),
      action: text,
      gtrid: text,
      bqual: text.nullable(),
      ...Word.shape,
    }),
  ]),
  'log-compact': z.object({
    ...Header,
    log: z.object({ directory: text, logId: text }),
    before: Extent,
    after: Extent,
  }),
  'log-adopt': z.object({
    ...Header,
    applied: z.boolean(),
    log: z.object({ directory: text, logId: text }),
    identity: z.enum(['own', 'copied', 'unrecorded']),
    keeps: count,
    /** `null` where no database was asked. */
    orphans: list(z.object({ gtrid: text, participant: text, id: text })).nullable(),
    copies: list(Apart).nullable(),
  }),
} as const satisfies Record<string, z.ZodType>

export type OutputName = keyof typeof OUTPUTS
