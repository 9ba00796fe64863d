/**
 * What a seed draws before anything happens: servers, transactions, which kinds of fault are on and
 * how often (swarm testing: a run with few kinds goes deeper into each), and the instants of crashes.
 */
import type { WorkPlan } from './branch.ts'
import type { DiskFaults } from './disk.ts'
import type { NetworkFaults } from './link.ts'
import type { Rng } from './random.ts'
import type { Flavour } from './server.ts'

export interface ServerPlan {
  readonly name: string
  readonly flavour: Flavour
  readonly tables: boolean
}

export interface BranchPlan extends WorkPlan {
  readonly server: string
}

export interface TransactionPlan {
  /** In which of the processes. */
  readonly process: number
  readonly startMs: number
  readonly branches: readonly BranchPlan[]
  readonly readOnly: readonly string[]
  readonly together: boolean
  readonly thinkMs: number
  readonly ending: 'return' | 'throw' | 'by hand' | 'roll back by hand'
  /** The callback goes on after a statement failed. */
  readonly swallows: boolean
  readonly timeoutMs: number
  readonly attempts: number
  /** When the caller's signal fires, in ms; `undefined`: never. */
  readonly signalMs: number | undefined
  readonly settle: 'awaited' | 'behind'
  /** Its statements are given in advance: `execute`. */
  readonly inAdvance: boolean
}

export const CRASH_KINDS = [
  'coordinator killed',
  'power lost',
  'coordinator closed',
  'server killed',
  'server frozen',
  'disk stalled',
  'disk full',
  'clock set',
  'DBA',
] as const
export type CrashKind = (typeof CRASH_KINDS)[number]

export interface CrashPlan {
  readonly kind: CrashKind
  /** Number of the event before which it happens. */
  readonly atEvent: number
  /** For what it hits and how long. */
  readonly draw: number
}

export interface Plan {
  readonly servers: readonly ServerPlan[]
  readonly transactions: readonly TransactionPlan[]
  readonly crashes: readonly CrashPlan[]
  readonly network: NetworkFaults
  readonly disk: DiskFaults
  /** Failpoints hold the process up now and then. */
  readonly pauses: number
  /** How many transactions of a process may be settled behind their answers. */
  readonly maxBehind: number
  readonly forceMs: number
  readonly settleMs: number
  /** Branches of others lie about. */
  readonly strangers: boolean
  /** The log is lost at the end, and the databases alone decide. */
  readonly losesLog: boolean
  /** After it has settled everything, the log is opened once more. */
  readonly recoversTwice: boolean
  /** Virtual time runs on until the sweep has collected every marker. */
  readonly awaitsSweep: boolean
  /** More than one: they share a root, and recover for each other. */
  readonly processes: number
  /** After the faults one of them stays dead, and the other one settles what it left. */
  readonly leavesOneDead: boolean
}

/** Events of a run without faults, as measured: crashes are spread evenly over them. */
const EVENTS_OF_A_START = 34
const EVENTS_OF_A_TRANSACTION = 22

export function drawPlan(rng: Rng): Plan {
  const servers = drawServers(rng)
  const drawn = Array.from({ length: 1 + rng.int(5) }, () => drawTransaction(rng, servers))
  const events = EVENTS_OF_A_START + drawn.length * EVENTS_OF_A_TRANSACTION
  const on = (share: number, high: number): number => (rng.chance(share) ? rng.float() * high : 0)
  const plan = {
    servers,
    crashes: drawCrashes(rng, events),
    network: {
      lostBefore: on(0.3, 0.06),
      lostAfter: on(0.3, 0.06),
      late: on(0.3, 0.06),
      silent: on(0.15, 0.05),
      slowAnswer: on(0.4, 0.5),
      slowMs: rng.chance(0.1) ? 200 : 4,
      halfOpen: on(0.2, 0.5),
    },
    disk: {
      writeError: on(0.08, 0.05),
      syncError: on(0.12, 0.1),
      shortWrite: on(0.1, 0.2),
      full: false,
      slowMs: rng.chance(0.2) ? 60 : 1,
    },
    pauses: on(0.2, 0.3),
    forceMs: rng.chance(0.15) ? 20 : 5_000,
    settleMs: rng.chance(0.2) ? 30 : 1_000,
    strangers: rng.chance(0.1),
    losesLog: rng.chance(0.06),
    recoversTwice: rng.chance(0.1),
    awaitsSweep: rng.chance(0.02),
    processes: rng.chance(0.15) ? 2 : 1,
    leavesOneDead: rng.chance(0.6),
  }
  // Who hears of a commit that no database is known to have, just before the log is lost, is misled.
  if (plan.losesLog && rng.chance(0.5)) {
    plan.settleMs = 5
    plan.network.slowMs = 200
  }
  // Drawn last: the seeds from before it draw all else as they did.
  const share = rng.pick([0, 0, 0.5, 1])
  const maxBehind = rng.pick([1, 2, 64])
  const settled = drawn.map((one, index) => ({
    ...one,
    process: index % plan.processes,
    settle: rng.chance(share) ? ('behind' as const) : ('awaited' as const),
  }))
  const transactions = settled.map((one) => ({
    ...one,
    inAdvance: rng.chance(0.2) && one.ending === 'return',
  }))
  return { ...plan, maxBehind, transactions }
}

function drawServers(rng: Rng): ServerPlan[] {
  const tables = rng.pick(['all', 'all', 'none', 'some'] as const)
  return Array.from({ length: rng.chance(0.25) ? 3 : 2 }, (_, index) => ({
    name: rng.pick([['a', 'b', 'c'][index] ?? 'd']),
    flavour: rng.pick<Flavour>(['postgres', 'mariadb', 'mysql']),
    tables: tables === 'all' || (tables === 'some' && rng.chance(0.5)),
  }))
}

function drawTransaction(
  rng: Rng,
  servers: readonly ServerPlan[],
): Omit<TransactionPlan, 'process' | 'settle' | 'inAdvance'> {
  const both = rng.chance(0.85)
  const first = rng.int(servers.length)
  const used = servers.filter((_, index) => (both ? index < 2 || rng.chance(0.7) : index === first))
  const branches = used.map(({ name: server }) => ({
    server,
    writes: rng.chance(0.93),
    lockWaitMs: rng.chance(0.2) ? 100 : 0,
    refuses: rng.chance(0.03),
  }))
  // The server holds a declared one to it; PostgreSQL tells by itself.
  const readOnly = branches
    .filter(({ writes, server }) => {
      const { flavour } = servers.find(({ name }) => name === server) ?? { flavour: 'mysql' }
      return !writes && flavour !== 'postgres'
    })
    .map(({ server }) => server)
  return {
    startMs: rng.between(0, rng.pick([1, 5, 30, 400])),
    branches: rng.chance(0.5) ? branches : [...branches].reverse(),
    readOnly,
    together: rng.chance(0.3),
    thinkMs: rng.chance(0.1) ? rng.between(0, 40) : 0,
    ending: drawEnding(rng.float()),
    swallows: rng.chance(0.1),
    timeoutMs: rng.chance(0.12) ? rng.between(1, 60) : 10_000,
    attempts: rng.chance(0.2) ? 3 : 1,
    signalMs: rng.chance(0.05) ? rng.between(0, 30) : undefined,
  }
}

function drawEnding(draw: number): TransactionPlan['ending'] {
  if (draw < 0.07) return 'throw'
  if (draw < 0.17) return 'by hand'
  return draw < 0.19 ? 'roll back by hand' : 'return'
}

function drawCrashes(rng: Rng, events: number): CrashPlan[] {
  const kinds = CRASH_KINDS.filter((kind) => rng.chance(SHARES[kind]))
  const crashes = kinds.flatMap((kind) =>
    Array.from({ length: rng.chance(0.25) ? 2 : 1 }, () => ({
      kind,
      atEvent: 1 + rng.int(events),
      draw: rng.float(),
    })),
  )
  return crashes.sort((a, b) => a.atEvent - b.atEvent)
}

/** How many of the seeds have a kind of crash. */
const SHARES: { readonly [K in CrashKind]: number } = {
  'coordinator killed': 0.45,
  'power lost': 0.3,
  'coordinator closed': 0.08,
  'server killed': 0.3,
  'server frozen': 0.12,
  'disk stalled': 0.08,
  'disk full': 0.05,
  'clock set': 0.05,
  DBA: 0.04,
}
