/** What several outputs of `--json` have in common. */
import { z } from 'zod'

export const list = <T extends z.ZodType>(of: T) => z.array(of)
export const time = z.iso.datetime()
export const text = z.string()
export const count = z.number().int().min(0)

export const Header = { schemaVersion: z.literal(1), generatedAt: time }
export const Coordinator = z.object({
  state: z.enum(['open', 'draining', 'stopped']),
  running: count,
  oldestRunningMs: count.nullable(),
  decisions: count,
  stoppedBy: z.object({ code: text, message: text, hint: text.nullable() }).nullable(),
})
export const Trouble = z.object({ code: text, message: text, hint: text.nullable() })
export const Owner = z.object({ pid: count, host: text, since: time })
export const Log = z.object({ directory: text, logId: text, owner: Owner.nullable() })
export const Advice = z.object({
  action: z.enum(['commit', 'roll back', 'prove', 'leave', 'report']),
  why: text,
})
export const Answer = z.enum([
  'committed',
  'committed-unproven',
  'heuristic-rollback',
  'heuristic-hazard',
])
export const Wait = z.object({
  session: text,
  user: text.nullable(),
  waitingMs: z.number().min(0).nullable(),
})
export const Hold = z.object({
  locks: count.nullable(),
  tables: list(text).nullable(),
  rows: count.nullable(),
  waiting: list(Wait),
})

export const Participant = z.object({
  name: text,
  server: text.nullable(),
  markers: z.boolean().nullable(),
  prepared: count.nullable(),
  /** Sessions that wait for some prepared branch, where the server does not tell which one. */
  waiting: list(Wait).nullable(),
  trouble: Trouble.nullable(),
})

export const Apart = z.object({
  participant: text,
  kind: z.enum(['orphan', 'foreign', 'unconfigured', 'copy']),
  id: text,
  why: text,
  preparedAt: time.nullable(),
  owner: text.nullable(),
})

export const Branch = z.object({
  participant: text,
  bqual: text,
  state: z.enum(['prepared', 'not listed', 'unreachable', 'not configured', 'not asked']),
  id: text.nullable(),
  preparedAt: time.nullable(),
  owner: text.nullable(),
  answer: z.enum([...Answer.options, 'heuristic-commit']).nullable(),
  answeredAt: time.nullable(),
  holds: Hold.nullable(),
  advice: Advice,
})

export const Transaction = z.object({
  gtrid: text,
  name: text.nullable(),
  meta: z.unknown(),
  state: z.enum(['unsettled', 'live', 'heuristic', 'settled']),
  decision: z.enum(['commit', 'none']),
  decidedAt: time.nullable(),
  place: z.object({ file: text, offset: count }).nullable(),
  since: time.nullable(),
  ageMs: count.nullable(),
  branches: list(Branch),
  advice: Advice,
  choices: z.object({ commit: text, rollBack: text }),
})

export const Look = { log: Log, participants: list(Participant), apart: list(Apart) }

export const HistoryEntry = z.object({
  at: time,
  kind: z.enum(['prepared', 'decided', 'answered', 'operator']),
  participant: text.nullable(),
  what: text,
  who: text.nullable(),
  host: text.nullable(),
  reason: text.nullable(),
})

export const Step = z.object({
  gtrid: text,
  name: text.nullable(),
  participant: text,
  bqual: text,
  action: Advice.shape.action,
  why: text,
})

export const Done = z.object({
  gtrid: text,
  participant: text,
  bqual: text,
  did: z.enum([...Answer.options, 'rolled-back']),
})

export const Word = z.object({ who: text, host: text, reason: text })

export const Verdict = z.object({
  gtrid: text,
  logId: text,
  action: z.enum(['commit', 'roll back', 'leave']),
  committedIn: list(text),
  branches: list(
    z.object({
      participant: text,
      bqual: text,
      id: text,
      preparedAt: time.nullable(),
      owner: text.nullable(),
    }),
  ),
  hindrances: list(
    z.object({
      kind: text,
      why: text,
      logId: text.optional(),
      participant: text.optional(),
      id: text.optional(),
      seenBy: text.optional(),
    }),
  ),
})

export const WithoutLog = {
  ownerIsDead: list(text),
  presentLog: text.nullable(),
  participants: list(Participant),
  left: list(Verdict),
}

export const Finding = z.object({
  code: text,
  severity: z.enum(['unfit', 'allowed', 'unwise', 'unread']),
  message: text,
  mend: text,
  restart: z.boolean(),
})

export const Extent = z.object({
  batches: count,
  records: count,
  pending: count,
  end: count,
  bytes: count,
})
export const Torn = z.object({ offset: count, bytes: count })
