/**
 * One case of the matrix, from a fresh log to its second recovery.
 *
 *   1. a process opens the log and makes a transfer; for `recover` scenarios another one dies first
 *   2. the instant is met, and the fault comes
 *   3. the caller is answered, or its process is dead; what was broken is mended
 *   4. recovery settles everything: the databases are asked
 *   5. the log is opened again: nothing changes
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CutPoint } from '../../adapters/contract/wire-proxy.ts'
import type { Arm, Command, Limits } from './child.ts'
import type { Lane } from './lane.ts'
import { type Case, type Letter, type Side, TEXTS } from './table.ts'

/** A fault of a server, which several cases share. */
export interface Strike {
  /** The instant is met. Resolves when the server is dead, or stands still. */
  met(): Promise<void>
  /** The caller was answered. Resolves when the server works again. */
  mended(): Promise<void>
}

type Times = Omit<Limits, 'segmentBytes'>
const SHORT: Times = { answerMs: 1_500, timeoutMs: 3_000, settleMs: 2_000 }
const LONG: Times = { answerMs: 5_000, timeoutMs: 12_000, settleMs: 6_000 }
const SMALL_BYTES = 128 * 1_024
const ROOMY_BYTES = 1_024 * 1_024
/** Transfers before the one that counts, until one is committed. */
const WARMING = 10
/** The instant comes within this, if it comes. */
const MET_LIMIT_MS = 20_000
let runs = 0

/** @throws Error that says which invariant or which required outcome was missed */
export async function runCase(lane: Lane, one: Case, strike: Strike): Promise<void> {
  await new CaseRun(lane, one, strike).run()
}

class CaseRun {
  readonly #lane: Lane
  readonly #case: Case
  readonly #strike: Strike
  readonly #id: string
  readonly #log: string
  readonly #limits: Limits
  #logId = ''
  /** What processes of this case said before they were replaced. */
  readonly #past: Lane['process'][] = []
  #answersBefore = 0

  constructor(lane: Lane, one: Case, strike: Strike) {
    runs += 1
    this.#lane = lane
    this.#case = one
    this.#strike = strike
    this.#id = `c${process.pid}-${runs}`
    this.#log = lane.newLog()
    const times = one.fault.endsWith('frozen') ? SHORT : LONG
    const segmentBytes = one.scenario === 'many' ? ROOMY_BYTES : SMALL_BYTES
    this.#limits = { ...times, segmentBytes }
  }

  async run(): Promise<void> {
    if (!this.#lane.process.alive) this.#lane.replace()
    this.#lane.process.forget()
    const { scenario } = this.#case
    if (scenario === 'recover commit' || scenario === 'recover abort') await this.#recovering()
    else await this.#running()
    await this.#strike.mended()
    await this.#mend()
    await this.#lane.settled()
    const holdings = await this.#lane.holdings()
    this.#judge(holdings.ids)
    await this.#again(holdings.text)
  }

  /** A transaction meets the fault. */
  async #running(): Promise<void> {
    const { scenario } = this.#case
    await this.#open()
    if (scenario !== 'first') await this.#warm()
    const met = this.#aim()
    const arm = this.#arm()
    const word = scenario === 'first' || scenario === 'end' ? 'commit' : scenario
    this.#tell({ do: 'run', scenario: word, id: this.#id, ...(arm === undefined ? {} : { arm }) })
    await this.#meet(met)
    if (this.#killed) await this.#lane.process.exited
    else if (scenario !== 'end') await this.#lane.process.until('done')
  }

  /** A coordinator that recovers meets the fault. */
  async #recovering(): Promise<void> {
    // Nothing before it: what a process that dies has not ended yet would be recovered as well.
    await this.#open()
    const point = this.#case.scenario === 'recover commit' ? 'decide:after' : 'prepare:after-all'
    this.#tell({
      do: 'run',
      scenario: 'commit',
      id: this.#id,
      arm: { point, nth: 1, act: 'kill' },
    })
    await this.#lane.process.exited
    this.#replace()
    const met = this.#aim()
    const arm = this.#arm()
    this.#tell({
      do: 'open',
      log: this.#log,
      limits: this.#limits,
      ...(arm === undefined ? {} : { arm }),
    })
    await this.#meet(met)
    if (this.#killed) return this.#lane.process.exited
    // It may have opened before the instant came: a participant that is slow to answer is not waited for.
    const { said } = this.#lane.process
    const opened = said.some(({ event }) => event === 'open' || event === 'refused')
    if (!opened) await this.#lane.process.until('open', 'refused')
    return undefined
  }

  get #killed(): boolean {
    return this.#case.fault === 'coordinator killed'
  }

  #tell(command: Command): void {
    this.#lane.process.tell(command)
  }

  async #open(): Promise<void> {
    this.#tell({ do: 'open', log: this.#log, limits: this.#limits })
    const line = await this.#lane.process.until('open', 'refused')
    if (line.event === 'refused') throw new Error(`the log was refused: ${line.code}`)
    this.#logId = line.logId
    this.#lane.observer.only(line.logId)
  }

  /** Warms what a first transfer has to wait for. On a loaded machine short limits may be too short. */
  async #warm(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const id = `${this.#id}-before-${tries}`
      this.#tell({ do: 'run', scenario: 'plain', id })
      await this.#lane.process.until('done')
      const answer = this.#answers().find((line) => line.id === id)
      if (answer?.answer === 'committed') return
      if (tries === WARMING) {
        throw new Error(`a transfer without a fault heard ${answer?.answer} ${answer?.code}`)
      }
    }
  }

  /** What the process does at a failpoint. */
  #arm(): Arm | undefined {
    const { instant, fault } = this.#case
    if (instant.kind === 'wire') return undefined
    const { point, nth } = instant
    if (fault === 'coordinator killed') return { point, nth, act: 'kill' }
    if (fault === 'disk full' || fault === 'disk fails') return { point, nth, act: fault }
    return { point, nth, act: 'hold' }
  }

  /** Arms the proxy for an instant on the wire; resolves when that is met and over. */
  #aim(): Promise<boolean> | undefined {
    const { instant } = this.#case
    if (instant.kind === 'point') return undefined
    const { side, message, cut } = instant
    const proxy = this.#lane.proxies[side]
    proxy.halt({
      text: TEXTS[message][side],
      when: cut === 'after' ? 'answered' : 'asked',
      act: () => this.#actOnWire(cut),
    })
    return proxy.cutDone()
  }

  async #actOnWire(cut: CutPoint): Promise<CutPoint | 'pass'> {
    const { fault } = this.#case
    if (fault === 'coordinator killed') await this.#lane.process.kill()
    if (fault.endsWith('killed') && fault !== 'coordinator killed') await this.#strike.met()
    if (!fault.endsWith('frozen')) return cut
    await this.#strike.met()
    return 'pass'
  }

  async #meet(onWire: Promise<boolean> | undefined): Promise<void> {
    const limit = new AbortController()
    const late = sleep(MET_LIMIT_MS, 'late' as const, { signal: limit.signal }).catch(() => 'late')
    const met = await Promise.race([onWire ?? this.#meetPoint(), late])
    limit.abort()
    if (met === 'late') throw new Error('the instant was never met')
  }

  async #meetPoint(): Promise<void> {
    const { fault } = this.#case
    const { process } = this.#lane
    // The end of a decision is forced up to a second after its caller went on.
    const events = this.#case.scenario === 'end' ? (['at'] as const) : (['at', 'done'] as const)
    const line = await process.until(...events).catch(() => undefined)
    if (line?.event === 'done' && process.alive) throw new Error('the instant was never met')
    const upTo =
      line === undefined ? process.said : process.said.slice(0, process.said.indexOf(line))
    const own = `${this.#id}-`
    this.#answersBefore = upTo.filter(
      (said) => said.event === 'answer' && said.id.startsWith(own) && !said.id.includes('before'),
    ).length
    if (this.#killed) return process.exited
    if (fault.startsWith('disk')) return undefined
    if (fault.endsWith('cut')) this.#lane.proxies[fault.split(' ')[0] as Side].dropAll()
    else await this.#strike.met()
    process.tell({ do: 'go' })
    return undefined
  }

  /** Everything works again: what was killed starts anew, and so does who has seen its disk fail. */
  async #mend(): Promise<void> {
    for (const proxy of Object.values(this.#lane.proxies)) proxy.halt(undefined)
    if (this.#killed) {
      this.#replace()
      return this.#open()
    }
    if (!this.#case.fault.startsWith('disk')) return undefined
    this.#tell({ do: 'mend' })
    await this.#close()
    return this.#open()
  }

  async #close(): Promise<void> {
    this.#tell({ do: 'close' })
    await this.#lane.process.until('closed')
  }

  #replace(): void {
    this.#past.push(this.#lane.process)
    this.#lane.replace()
  }

  /** Everything that was said, by all processes of this case. */
  #said() {
    return [...this.#past, this.#lane.process].flatMap(({ said }) => said)
  }

  #answers() {
    return this.#said().filter((line) => line.event === 'answer')
  }

  #judge(ids: ReadonlySet<string>): void {
    const { required, scenario } = this.#case
    const answers = this.#answers()
    for (const { id, answer, code } of answers) {
      if (answer === 'committed' && !ids.has(id))
        throw new Error(`${id} heard committed: it is not there`)
      if (answer === 'rolled-back' && ids.has(id)) {
        throw new Error(`${id} heard rolled-back (${code}): it is there`)
      }
    }
    // Which of them met the fault is not known.
    if (scenario === 'many') return
    const subject = scenario === 'roll' ? `${this.#id}-${this.#answersBefore}` : this.#id
    const ended = ids.has(subject) ? 'committed' : 'rolled-back'
    const wanted = OUTCOMES[required]
    if (wanted !== 'either' && ended !== wanted) throw new Error(`it was ${ended}, not ${wanted}`)
    const heard = answers.find(({ id }) => id === subject)
    if (heard === undefined) {
      if (!this.#killed && !scenario.startsWith('recover'))
        throw new Error('its caller heard nothing')
      return
    }
    if (!HEARD[required].includes(heard.answer)) {
      throw new Error(`its caller heard ${heard.answer} (${heard.code})`)
    }
  }

  /** Recovering twice is recovering once. */
  async #again(before: string): Promise<void> {
    await this.#close()
    await this.#open()
    await this.#lane.settled()
    await this.#close()
    const { text, ids } = await this.#lane.holdings()
    if (text !== before) {
      const own = [...ids].filter((id) => id.startsWith(this.#id) && !before.includes(`"${id}"`))
      throw new Error(`a second recovery changed the databases: ${own.join(', ')}`)
    }
    const { required } = this.#case
    // A server of the MySQL family lists the branches of all lanes to each of them.
    const own = `una1-${this.#logId}-`
    const told = this.#said().flatMap((line) =>
      line.event === 'told' && line.id.includes(own) ? [line.what] : [],
    )
    const hazards = told.filter((what) => what === 'heuristic-hazard').length
    if (hazards !== told.length) throw new Error(`an operator was told of ${told.join(', ')}`)
    const mayHazard = required === 'H' || required === 'h'
    if (hazards > 0 && !mayHazard) throw new Error('an operator was told of a hazard')
    if (hazards === 0 && required === 'H') throw new Error('the hazard was not reported')
    const rows = await this.#lane.markerRows(this.#logId)
    if (rows > 0) throw new Error(`${rows} marker rows are left`)
  }
}

const OUTCOMES: Readonly<Record<Letter, 'committed' | 'rolled-back' | 'either'>> = {
  C: 'committed',
  c: 'committed',
  R: 'rolled-back',
  r: 'rolled-back',
  E: 'either',
  e: 'either',
  H: 'committed',
  h: 'committed',
}

const HEARD: Readonly<Record<Letter, readonly string[]>> = {
  C: ['committed'],
  c: ['committed', 'in-doubt'],
  R: ['rolled-back'],
  r: ['rolled-back', 'in-doubt'],
  E: ['committed', 'rolled-back'],
  e: ['committed', 'rolled-back', 'in-doubt'],
  // Its caller may have been answered before the server was back.
  H: ['committed', 'heuristic'],
  h: ['committed', 'heuristic'],
}
