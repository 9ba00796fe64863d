/**
 * One seed, from the draw of its plan to the verdict.
 *
 *   safety    transactions, faults and crashes, until every caller was answered or its process died
 *   healing   no fault any more: everything must be settled within {@link HEAL_MS}
 *   after     closed; sometimes opened once more, which must change nothing
 */
import { Events } from '../../src/events.ts'
import { createRegistry } from '../../src/participant/registry.ts'
import { recoverWithoutLog } from '../../src/recovery/from-databases.ts'
import { forgetAmbients } from './ambient.ts'
import { lendBuffers, takeBuffersBack } from './arena.ts'
import { type ClientHost, Clients } from './clients.ts'
import { SimDisk, SOUND } from './disk.ts'
import { Fleet } from './fleet.ts'
import { type Network, QUIET } from './link.ts'
import { fail, Oracle } from './oracle.ts'
import { type CrashPlan, drawPlan, type Plan } from './plan.ts'
import { type Parts, Process } from './process.ts'
import { Rng } from './random.ts'
import { keyOf, type Prepared, SimServer } from './server.ts'
import { Violation, World } from './world.ts'

export interface SeedResult {
  readonly seed: number
  readonly hash: string
  readonly events: number
  readonly virtualMs: number
  readonly faults: ReadonlyMap<string, number>
  readonly answers: ReadonlyMap<string, number>
  /** In which tenth of the safety phase crashes happened. */
  readonly tenths: readonly number[]
  readonly violation: string | undefined
  readonly trace: readonly string[] | undefined
}

const SAFETY_MS = 60_000
const HEAL_MS = 30_000
/** A sibling looks again after 30 s at the latest, and a visit takes its time. */
const SIBLING_HEAL_MS = 60_000
const SWEEP_MS = 130_000

export async function runSeed(seed: number, traced = false): Promise<SeedResult> {
  lendBuffers()
  const run = new Run(seed, traced)
  let violation: string | undefined
  try {
    await run.play()
  } catch (cause) {
    violation = cause instanceof Violation ? cause.message : `unexpected: ${stackOf(cause)}`
  }
  forgetAmbients()
  takeBuffersBack()
  return run.result(violation)
}

class Run {
  readonly #seed: number
  readonly #world: World
  readonly #plan: Plan
  readonly #disk: SimDisk
  readonly #network: Network
  readonly #servers: SimServer[]
  readonly #oracle: Oracle
  readonly #parts: Parts
  readonly #faults = new Map<string, number>()
  readonly #crashEvents: number[] = []
  #safetyEvents = 0
  readonly #restarted = new Set<string>()
  readonly #fleet: Fleet
  #clients: Clients | undefined
  #failure: Error | undefined

  constructor(seed: number, traced: boolean) {
    this.#seed = seed
    this.#world = new World(seed, traced)
    this.#plan = drawPlan(new Rng(seed ^ 0x5eed))
    const onFault = (kind: string): void => this.#count(kind)
    this.#disk = new SimDisk(this.#world)
    this.#disk.faults = this.#plan.disk
    this.#disk.onFault = onFault
    this.#oracle = new Oracle(this.#world, this.#disk)
    this.#network = {
      world: this.#world,
      faults: this.#plan.network,
      onFault,
      underWay: 0,
    }
    this.#servers = this.#plan.servers.map(
      ({ name, flavour, tables }) =>
        new SimServer(name, flavour, tables, this.#world, this.#oracle),
    )
    this.#parts = {
      world: this.#world,
      disk: this.#disk,
      network: this.#network,
      servers: this.#servers,
      oracle: this.#oracle,
      plan: this.#plan,
    }
    this.#fleet = new Fleet(this.#parts, (cause) => this.#fail(cause))
  }

  async play(): Promise<void> {
    await this.#safety()
    if (this.#failure !== undefined) throw this.#failure
    await this.#heal()
    this.#check()
  }

  result(violation: string | undefined): SeedResult {
    const tenths = Array.from({ length: 10 }, () => 0)
    for (const at of this.#crashEvents) {
      const tenth = Math.min(9, Math.floor((10 * at) / Math.max(1, this.#safetyEvents)))
      tenths[tenth] = (tenths[tenth] ?? 0) + 1
    }
    return {
      seed: this.#seed,
      hash: this.#world.hash,
      events: this.#world.events,
      virtualMs: this.#world.now,
      faults: this.#faults,
      answers: this.#clients?.answers ?? new Map(),
      tenths,
      violation,
      trace: this.#world.trace,
    }
  }

  async #safety(): Promise<void> {
    const { transactions, crashes, strangers } = this.#plan
    if (strangers) this.#plantStrangers()
    this.#fleet.ensureAll()
    const clients = new Clients(this.#host(), transactions)
    this.#clients = clients
    let next = 0
    const crashDue = (number: number): void => {
      for (let crash = crashes[next]; crash !== undefined && crash.atEvent <= number; ) {
        next += 1
        this.#crash(crash)
        crash = crashes[next]
      }
    }
    this.#world.beforeEvent = crashDue
    const over = (): boolean => this.#failure !== undefined || clients.unanswered === 0
    await this.#world.run(over, SAFETY_MS)
    this.#world.beforeEvent = undefined
    this.#safetyEvents = this.#world.events
    if (this.#failure === undefined && clients.unanswered > 0) {
      fail(`I11: ${clients.unanswered} callers have no answer after ${SAFETY_MS} ms`)
    }
  }

  async #heal(): Promise<void> {
    const world = this.#world
    this.#network.faults = QUIET
    this.#disk.faults = SOUND
    this.#disk.stalledUntil = 0
    for (const server of this.#servers) {
      server.frozenUntil = 0
      server.restart()
    }
    if (this.#plan.losesLog && this.#servers.every(({ tables }) => tables)) return this.#loseLog()
    const { processes, leavesOneDead } = this.#plan
    const alone = processes > 1 && leavesOneDead
    if (alone) this.#fleet.giveUp(processes - 1)
    this.#fleet.ensureAll()
    await this.#untilSettled('I11', alone ? SIBLING_HEAL_MS : HEAL_MS)
    if (this.#plan.awaitsSweep && processes === 1) {
      const swept = (): boolean => this.#servers.every((server) => !this.#hasMarkers(server))
      if (!(await world.run(swept, world.now + SWEEP_MS))) fail('I11: markers were not collected')
    }
    await this.#closeAll()
    if (this.#plan.recoversTwice || alone) await this.#recoverTwice()
  }

  async #untilSettled(invariant: string, withinMs: number): Promise<void> {
    const settled = (): boolean => this.#failure !== undefined || this.#isSettled()
    if (await this.#world.run(settled, this.#world.now + withinMs)) return
    fail(`${invariant}: ${this.#unsettled()}`)
  }

  async #closeAll(): Promise<void> {
    for (const { coordinator } of this.#fleet.processes) await this.#await(coordinator?.close())
  }

  /** I13: recovery of what was recovered changes nothing. */
  async #recoverTwice(): Promise<void> {
    const { processes, leavesOneDead } = this.#plan
    const [once, told] = [this.#oracle.standing(this.#servers), this.#oracle.reports]
    this.#fleet.killAll()
    for (let index = 0; index < processes; index += 1) this.#fleet.takeBack(index)
    await this.#untilSettled('I13', HEAL_MS)
    await this.#closeAll()
    this.#oracle.recoveredTwice(once, this.#oracle.standing(this.#servers))
    // A log whose owner stayed dead, with every branch ended, may not have been read before.
    if (!leavesOneDead) this.#oracle.recoveredTwice(told, this.#oracle.reports)
  }

  async #loseLog(): Promise<void> {
    const world = this.#world
    this.#count('log lost')
    this.#fleet.killAll()
    this.#disk.destroy()
    this.#oracle.logLost = true
    // What a dead process had sent has arrived, or never will.
    await world.run(() => false, world.now + 3_000)
    const owner = new Process(this.#parts)
    const clock = world.clock(owner)
    const definitions = Object.fromEntries(
      owner.participants.map((one) => [one.home.server.name, one]),
    )
    const registry = createRegistry(definitions, clock, new Events())
    const dead = this.#oracle.logIds
    const options = { registry, clock, answerMs: 1_000, dead, present: undefined }
    await this.#await(recoverWithoutLog(options, HEAL_MS))
    const left = this.#servers.flatMap((server) => this.#preparedIn(server))
    // Servers may take their time to miss who is dead.
    const idle = (): boolean => this.#servers.every((server) => isIdle(server))
    await world.run(idle, world.now + HEAL_MS)
    if (left.length > 0) fail(`I11: without the log, ${left.join()} stays prepared`)
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
    for (const problem of this.#oracle.problems) fail(problem)
    for (const attempt of this.#oracle.attempts.values()) {
      this.#oracle.conclude(attempt, this.#servers, this.#restarted)
    }
    this.#oracle.atRest(this.#servers)
  }

  #host(): ClientHost {
    return {
      world: this.#world,
      oracle: this.#oracle,
      fleet: this.#fleet,
      count: (kind) => this.#count(kind),
      fail: (cause) => this.#fail(cause),
    }
  }

  #plantStrangers(): void {
    for (const server of this.#servers) {
      server.foreign.push('somebody-elses')
      const gtrid = `una1-zzzzzzzzzzzzzzzz-1.zzzzzzzz-1`
      server.plant({
        gtrid,
        bqual: server.flavour === 'postgres' ? server.name : `${server.name}.1`,
      })
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= cause instanceof Error ? cause : new Error(String(cause))
  }

  #count(kind: string): void {
    this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + 1)
  }

  #crash({ kind, draw }: CrashPlan): void {
    const { rng } = this.#world
    const server = this.#servers[Math.floor(draw * this.#servers.length)]
    const { processes } = this.#plan
    const place = Math.floor(draw * processes)
    // Long enough, at times, for a sibling to come.
    const downMs = (): number => rng.pick(processes === 1 ? [5, 50, 500] : [5, 500, 6_000])
    this.#count(kind)
    this.#crashEvents.push(this.#world.events)
    this.#world.note(`*** ${kind}`)
    switch (kind) {
      case 'coordinator killed':
        if (this.#plan.leavesOneDead && place > 0) {
          this.#count('left to a sibling')
          this.#fleet.giveUp(place)
          break
        }
        this.#fleet.kill(place)
        this.#fleet.restartWithin(place, downMs())
        break
      case 'power lost':
        this.#fleet.killAll()
        this.#disk.losePower()
        for (let each = 0; each < processes; each += 1) this.#fleet.restartWithin(each, downMs())
        break
      case 'coordinator closed':
        this.#fleet.close(place)
        break
      case 'server killed':
        server?.crash()
        this.#restarted.add(server?.name ?? '')
        this.#world.schedule(rng.between(1, rng.pick([20, 300, 3_000])), 'server is back', () => {
          server?.restart()
        })
        break
      case 'server frozen':
        if (server !== undefined) server.frozenUntil = this.#world.now + rng.between(1, 6_000)
        break
      case 'disk stalled':
        this.#disk.stalledUntil = this.#world.now + rng.between(1, rng.pick([500, 8_000, 25_000]))
        break
      case 'disk full': {
        const full = { ...this.#disk.faults, full: true }
        this.#disk.faults = full
        this.#world.schedule(rng.between(1, 3_000), 'space again', () => {
          if (this.#disk.faults === full) this.#disk.faults = this.#plan.disk
        })
        break
      }
      case 'clock set':
        this.#world.clockJumpMs += rng.pick([-3_600_000, 3_600_000])
        break
      case 'DBA':
        this.#finishByHand(server)
    }
  }

  #finishByHand(server: SimServer | undefined): void {
    const [first] = [...(server?.prepared.values() ?? [])]
    if (first === undefined || !this.#oracle.attempts.has(first.xid.gtrid)) return
    server?.finishByHand(first.xid, this.#world.rng.pick(['commit', 'rollback']))
  }

  #isSettled(): boolean {
    if (!this.#fleet.allOpen) {
      if (this.#fleet.processes.some(({ stopped }) => stopped)) this.#fleet.ensureAll()
      return false
    }
    for (const server of this.#servers) {
      for (const prepared of server.prepared.values()) if (this.#mustEnd(prepared)) return false
      if (!isIdle(server)) return false
    }
    for (const { gtrid, byHand, reported } of this.#oracle.attempts.values()) {
      if (!reported && byHand === undefined && this.#fleet.isKnown(gtrid)) return false
    }
    return true
  }

  #unsettled(): string {
    const prepared = this.#servers.flatMap((server) => this.#preparedIn(server))
    const open = [...this.#oracle.attempts.keys()].filter((gtrid) => this.#fleet.isKnown(gtrid))
    const state = this.#fleet.allOpen ? 'open' : 'not open'
    return `unsettled: prepared ${prepared.join()}; in the log ${open.join()}; coordinator ${state}`
  }

  /** A decision that ended against itself is kept for an operator, and its markers with it. */
  #hasMarkers({ markers }: SimServer): boolean {
    return [...markers].some(([key, state]) => {
      const attempt = this.#oracle.attempts.get(key.slice(0, key.indexOf(':')))
      const kept = attempt?.reported === true || attempt?.byHand !== undefined
      return state === 'committed' && !kept
    })
  }

  #mustEnd({ xid }: Prepared): boolean {
    return this.#oracle.attempts.has(xid.gtrid) && !this.#oracle.isLeft(keyOf(xid))
  }

  #preparedIn(server: SimServer): string[] {
    return [...server.prepared.values()]
      .filter((prepared) => this.#mustEnd(prepared))
      .map(({ xid }) => `${server.name} ${xid.gtrid}`)
  }

  async #await(work: Promise<unknown> | undefined): Promise<void> {
    let over = work === undefined
    work?.then(
      () => {
        over = true
      },
      (cause: unknown) => this.#fail(cause),
    )
    const done = (): boolean => over || this.#failure !== undefined
    if (!(await this.#world.run(done, this.#world.now + 2 * HEAL_MS))) fail('I11: it does not end')
    if (this.#failure !== undefined) throw this.#failure
  }
}

function isIdle(server: SimServer): boolean {
  for (const { branch } of server.sessions) if (branch !== undefined) return false
  return true
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
}
