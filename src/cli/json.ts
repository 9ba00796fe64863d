/** What `--json` prints: schema version 1, described in scripts/schemas. */
import type { LogDirectory } from '../coordinator/location.ts'
import type { UnanimousError } from '../errors.ts'
import type { LiveRunning, LiveStatus } from '../live/wire.ts'
import type { LogOwner } from '../log/decision-log.ts'
import type { SeenHold, SeenWait } from '../participant/participant.ts'
import { choicesOf } from '../recovery/advice.ts'
import type { HistoryEntry } from '../recovery/history.ts'
import type {
  ApartBranch,
  InspectedBranch,
  InspectedParticipant,
  InspectedTransaction,
  Inspection,
} from '../recovery/inspection.ts'
import type { Postponed } from '../recovery/pass.ts'
import { redact } from './io.ts'
import { formatTime } from './print.ts'

/** Fields are added within a version, never changed or removed. */
const SCHEMA_VERSION = 1

export function json(atMs: number, body: object): string {
  const generatedAt = new Date(atMs).toISOString()
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, generatedAt, ...body }, null, 2)}\n`
}

/** One object on a line of its own, for output that is a stream of them. */
export function jsonLine(body: object): string {
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...body })}\n`
}

export interface InspectionJson {
  readonly log: object
  readonly participants: readonly object[]
  readonly apart: readonly object[]
}

/** What every look at the log and the databases has to say. */
export function inspectionJson(
  inspection: Inspection,
  { directory }: LogDirectory,
): InspectionJson {
  const { owner, logId, participants, apart } = inspection
  return {
    log: { directory, logId, owner: ownerJson(owner) },
    participants: participants.map(participantJson),
    apart: apart.map(apartJson),
  }
}

export function apartJson({
  participant,
  kind,
  id,
  why,
  preparedAtMs,
  owner,
}: ApartBranch): object {
  return { participant, kind, id, why, preparedAt: time(preparedAtMs), owner: owner ?? null }
}

export function participantJson(each: InspectedParticipant): object {
  return {
    name: each.name,
    server: each.server ?? null,
    markers: each.markers ?? null,
    prepared: each.prepared ?? null,
    waiting: each.waiting?.map(waitJson) ?? null,
    trouble: each.trouble === undefined ? null : troubleJson(each.trouble),
  }
}

export function coordinatorJson(status: LiveStatus): object {
  return {
    state: status.state,
    running: status.running,
    oldestRunningMs:
      status.oldestRunningMs === undefined ? null : Math.round(status.oldestRunningMs),
    decisions: status.decisions,
    stoppedBy: status.stoppedBy === undefined ? null : troubleJson(status.stoppedBy),
  }
}

export function runningJson({ gtrid, name, state, ageMs, participants }: LiveRunning): object {
  return { gtrid, name: name ?? null, state, ageMs: Math.round(ageMs), participants }
}

export function ownerJson(owner: LogOwner | undefined): object | null {
  if (owner === undefined) return null
  return { pid: owner.pid, host: owner.host, since: formatTime(owner.sinceMs) }
}

export function troubleJson({ code, message, hint }: UnanimousError): object {
  return { code, message: redact(message), hint: hint ?? null }
}

export function postponedJson({ participant, count, why, hint }: Postponed): object {
  return { participant, count, why: redact(why ?? '') || null, hint: hint ?? null }
}

export function transactionJson(
  each: InspectedTransaction,
  { atMs, owner }: Pick<Inspection, 'atMs' | 'owner'>,
): object {
  return {
    gtrid: each.gtrid,
    name: each.name ?? null,
    meta: parsedMeta(each.meta),
    state: each.state,
    decision: each.decision,
    decidedAt: time(each.decidedAtMs),
    place: each.place ?? null,
    since: time(each.sinceMs),
    ageMs: each.sinceMs === undefined ? null : Math.max(0, Math.round(atMs - each.sinceMs)),
    branches: each.branches.map(branchJson),
    advice: each.advice,
    choices: choicesOf(each, owner !== undefined),
  }
}

function branchJson(branch: InspectedBranch): object {
  return {
    participant: branch.participant,
    bqual: branch.bqual,
    state: branch.state,
    id: branch.id ?? null,
    preparedAt: time(branch.preparedAtMs),
    owner: branch.owner ?? null,
    answer: branch.answer ?? null,
    answeredAt: time(branch.answeredAtMs),
    holds: branch.holds === undefined ? null : holdJson(branch.holds),
    advice: branch.advice,
  }
}

function holdJson({ locks, tables, rows, waiting }: SeenHold): object {
  return {
    locks: locks ?? null,
    tables: tables ?? null,
    rows: rows ?? null,
    waiting: waiting.map(waitJson),
  }
}

function waitJson({ session, user, waitingMs }: SeenWait): object {
  return {
    session,
    user: user ?? null,
    waitingMs: waitingMs === undefined ? null : Math.max(0, waitingMs),
  }
}

export function historyJson({
  atMs,
  kind,
  participant,
  what,
  who,
  host,
  reason,
}: HistoryEntry): object {
  return {
    at: formatTime(atMs),
    kind,
    participant: participant ?? null,
    what,
    who: who ?? null,
    host: host ?? null,
    reason: reason ?? null,
  }
}

function time(ms: number | undefined): string | null {
  return ms === undefined ? null : formatTime(ms)
}

/** Written by the application, and checked by it alone: anything may be there. */
export function parsedMeta(meta: string | undefined): unknown {
  if (meta === undefined) return null
  try {
    return JSON.parse(meta)
  } catch {
    return meta
  }
}
