/** What the command line may ask of an open coordinator, and how it is answered. */
import { sleep } from '../clock.ts'
import { UnanimousError } from '../errors.ts'
import type { LiveHandlers, Tell } from '../live/server.ts'
import type { LiveParticipant, LiveRunning, LiveStatus } from '../live/wire.ts'
import type { LogSnapshot, PendingDecision } from '../log/decision-log.ts'
import type { LiveTransaction } from '../participant/live.ts'
import { inspect } from '../recovery/inspect.ts'
import type { Inspection } from '../recovery/inspection.ts'
import { type Done, watch } from '../recovery/once.ts'
import { type Postponed, postponedIn } from '../recovery/pass.ts'
import { DRAIN_MS, drain } from './drain.ts'
import type { Parts } from './parts.ts'
import { stateOf, stoppedBy } from './stats.ts'

/** How long a participant may take to say what it holds, in ms. */
const ANSWER_MS = 5_000
/** Between two passes, and two pieces of an answer, in ms. */
const PAUSE_MS = 100
/** Transactions in one piece of an answer: a few milliseconds of work. */
const PIECE = 100
/** Longest wait that a request may ask for, in ms. */
const LONGEST_MS = 600_000

export function liveHandlers(parts: Parts): LiveHandlers {
  return {
    status: async () => statusOf(parts),
    list: async (params, tell) => {
      const inspection = await inspectLive(parts, participantIn(parts, params))
      return send(parts, inspection, tell)
    },
    show: async (params, tell) => {
      const id = textIn(params, 'id')
      if (id === undefined || id === '') throw wrong('id', 'a text')
      const inspection = await inspectLive(parts, undefined)
      const begins = (gtrid: string): boolean =>
        gtrid.startsWith(id) || gtrid.startsWith(`una1-${parts.log.logId}-${id}`)
      const transactions = inspection.transactions.filter(({ gtrid }) => begins(gtrid))
      const running = parts.context.live.transactions().filter(({ gtrid }) => begins(gtrid))
      return {
        inspection: await send(parts, { ...inspection, transactions }, tell),
        running: running.slice(0, PIECE).map((each) => runningOf(parts, each)),
      }
    },
    recover: async (params, tell) => {
      const only = participantIn(parts, params)
      const unsettled = await recoverNow(parts, only, timeIn(params, 'waitMs') ?? 0, tell)
      return {
        done: [],
        unsettled,
        inspection: await send(parts, await inspectLive(parts, only), tell),
      }
    },
    drain: (params) => drain(parts, timeIn(params, 'drainMs') ?? DRAIN_MS),
  }
}

function statusOf(parts: Parts): LiveStatus {
  const { context, directory, log, owner, registry } = parts
  const { clock, live } = context
  const stopped = stoppedBy(parts)
  const [oldest] = live.transactions()
  return {
    atMs: clock.now(),
    logId: log.logId,
    directory,
    owner,
    state: stateOf(parts),
    ...(stopped === undefined ? {} : { stoppedBy: stopped }),
    running: live.size,
    ...(oldest === undefined ? {} : { oldestRunningMs: clock.monotonic() - oldest.startedAt }),
    decisions: pendingNow(parts).length,
    participants: [...registry.keys()].map((name) => participantOf(parts, name)),
  }
}

function participantOf({ context, recovery }: Parts, name: string): LiveParticipant {
  const reachable = recovery.isReachable(name)
  const { left, oldestMs } = context.settlements.unsettled.of(name)
  return {
    name,
    ...(reachable === undefined ? {} : { reachable }),
    unsettled: left,
    ...(oldestMs > 0 ? { oldestMs } : {}),
    refusing: context.budget.isExceeded(name),
  }
}

function runningOf({ context }: Parts, each: LiveTransaction): LiveRunning {
  const { gtrid, name, state, startedAt, participants } = each
  const ageMs = context.clock.monotonic() - startedAt
  return { gtrid, ...(name === undefined ? {} : { name }), state, ageMs, participants }
}

/** Once a write failed, the log says nothing of what was handed over: then nothing is advised. */
function inspectLive(parts: Parts, only: string | undefined): Promise<Inspection> {
  const { context, log, registry } = parts
  return inspect({
    registry,
    clock: context.clock,
    readLog: async () => snapshotOf(parts),
    ...(log.poison === undefined ? { live: () => context.live.snapshot() } : {}),
    answerMs: ANSWER_MS,
    only,
  })
}

function snapshotOf(parts: Parts): LogSnapshot {
  const { log, owner } = parts
  const pending = pendingNow(parts)
  const byGtrid = new Map(pending.map((each) => [each.record.gtrid, each]))
  return {
    logId: log.logId,
    pending,
    find: (gtrid) => byGtrid.get(gtrid),
    standing: (incarnation) => log.standing(incarnation),
    owner,
  }
}

/** The log learns of answers up to a second late. */
function pendingNow({ context: { settlements }, log }: Parts): PendingDecision[] {
  return log
    .pending()
    .filter(({ record }) => settlements.isOpen(record.gtrid))
    .map(({ record, answers }) => {
      const now = settlements.answersOf(record.gtrid)
      const merged = new Map(answers)
      for (const [index, { bqual }] of record.branches.entries()) {
        const answer = now[index]
        if (answer !== undefined) merged.set(bqual, answer)
      }
      return { record, answers: merged }
    })
}

/** Passes until nothing is left that a pass could settle, or the time is over. */
async function recoverNow(
  parts: Parts,
  only: string | undefined,
  waitMs: number,
  tell: Tell,
): Promise<readonly Postponed[]> {
  const { context, events, recovery, registry } = parts
  const stopped = stoppedBy(parts)
  if (stopped !== undefined) throw stopped
  const { clock } = context
  const names = [...registry.keys()].filter((name) => only === undefined || only === name)
  const deadline = clock.monotonic() + waitMs
  const done: Done[] = []
  const unwatch = watch(events, done, 'recovery')
  try {
    for (;;) {
      const passed = recovery.passed(names)
      while ((await Promise.race([passed, sleep(clock, PAUSE_MS).then(() => 'late')])) === 'late') {
        if (done.length > 0) await tell({ done: done.splice(0, PIECE) })
      }
      const reports = await passed
      while (done.length > 0) await tell({ done: done.splice(0, PIECE) })
      const clean = reports.every((report) => report?.unsettled === 0)
      const leftMs = deadline - clock.monotonic()
      if (clean || leftMs <= 0 || stoppedBy(parts) !== undefined) {
        return reports.flatMap((report) => (report && postponedIn(report)) ?? [])
      }
      await sleep(clock, Math.min(PAUSE_MS, leftMs))
    }
  } finally {
    unwatch()
  }
}

/** Sends the transactions piece by piece, and answers the rest. */
async function send({ context }: Parts, inspection: Inspection, tell: Tell): Promise<Inspection> {
  const { transactions } = inspection
  for (let from = 0; from < transactions.length; from += PIECE) {
    if (!(await tell({ transactions: transactions.slice(from, from + PIECE) }))) break
    // A reader that keeps up answers within this turn: transactions have theirs in between.
    await sleep(context.clock, 0)
  }
  return { ...inspection, transactions: [] }
}

type Params = Readonly<Record<string, unknown>>

function textIn(params: Params, name: string): string | undefined {
  const value = params[name]
  if (value === undefined || typeof value === 'string') return value
  throw wrong(name, 'a text')
}

function timeIn(params: Params, name: string): number | undefined {
  const value = params[name]
  if (value === undefined) return undefined
  if (typeof value === 'number' && value >= 0 && value <= LONGEST_MS) return value
  throw wrong(name, `a number of milliseconds up to ${LONGEST_MS}`)
}

function participantIn({ registry }: Parts, params: Params): string | undefined {
  const name = textIn(params, 'participant')
  if (name === undefined || registry.has(name)) return name
  throw new UnanimousError('PARTICIPANT_UNKNOWN', `no participant is named ${name}`, {
    hint: `The coordinator has ${[...registry.keys()].join(', ')}.`,
  })
}

function wrong(name: string, expected: string): UnanimousError {
  return new UnanimousError('INVALID_OPTION', `${name} is not ${expected}`)
}
