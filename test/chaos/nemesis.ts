/**
 * The nemesis: draws one fault after the other, and mends each before the next. Its kinds come from a
 * shuffled deck, so that none is left out. A seed repeats the order, the targets and the times, up to the
 * first fault that does not come about: it is drawn once more.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CutPoint, WireProxy } from '../../adapters/contract/wire-proxy.ts'
import { FAILPOINTS, type Failpoint } from '../../src/failpoint.ts'
import type { Server } from '../support/servers/index.ts'
import type { Kind } from './bank.ts'
import type { Supervisor } from './supervisor.ts'

export const FAULTS = [
  'coordinator killed',
  'coordinator killed at a failpoint',
  'coordinator killed undecided',
  'coordinator frozen',
  'server killed',
  'server frozen',
  'all connections cut',
  'cut before a message',
  'cut on its way',
  'cut before a late message',
  'late vote of a killed coordinator',
  'cut before the answer',
  'disk full',
  'disk fails',
] as const
export type Fault = (typeof FAULTS)[number]

export interface Target {
  readonly kind: Kind
  readonly server: Server
  readonly proxy: WireProxy
}

const TEXTS: Readonly<Record<Kind, readonly string[]>> = {
  postgres: ['PREPARE TRANSACTION', 'COMMIT PREPARED', 'SET LOCAL unanimous.branch', 'ROLLBACK'],
  mysql: ['XA PREPARE', 'XA COMMIT', 'XA START', 'XA ROLLBACK'],
}
const CUTS: Partial<Record<Fault, CutPoint>> = {
  'cut before a message': 'before',
  'cut on its way': 'sent',
  'cut before a late message': 'late',
  'late vote of a killed coordinator': 'late',
  'cut before the answer': 'after',
}
/** Where branches are prepared and nothing is decided: what recovery rolls back. */
const UNDECIDED: readonly Failpoint[] = [
  'prepare:after-first',
  'prepare:after-all',
  'decide:before',
  'log:before-write',
]
/** A message of the chosen kind comes within this, or the fault did not happen. */
const MET_MS = 3_000

export class Nemesis {
  readonly counts = new Map<Fault, number>(FAULTS.map((fault) => [fault, 0]))
  /** Votes that reached their server after the client was gone, and were carried out. */
  lateVotes = 0
  readonly #random: () => number
  readonly #targets: readonly Target[]
  readonly #supervisor: Supervisor
  #deck: Fault[] = []
  /** Drawn, and did not happen: the next deck has one more of each. */
  readonly #missed = new Set<Fault>()

  constructor(random: () => number, targets: readonly Target[], supervisor: Supervisor) {
    this.#random = random
    this.#targets = targets
    this.#supervisor = supervisor
  }

  /** Faults until the time is over; then everything works. */
  async rage(ms: number): Promise<void> {
    const until = performance.now() + ms
    while (performance.now() < until) {
      const fault = this.#draw()
      // Drawn before it is known how the last one went: so a seed repeats the choices.
      const target = this.#pick(this.#targets)
      const text = this.#pick(TEXTS[target.kind])
      const point = this.#pick(fault === 'coordinator killed undecided' ? UNDECIDED : FAILPOINTS)
      const lastsMs = 200 + this.#random() * 1_800
      const pauseMs = 100 + this.#random() * 500
      if (await this.#strike(fault, target, { text, point, lastsMs })) {
        this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1)
      } else this.#missed.add(fault)
      await sleep(pauseMs)
    }
  }

  /** Answers whether it happened. */
  async #strike(
    fault: Fault,
    { kind, server, proxy }: Target,
    how: {
      readonly text: string
      readonly point: Failpoint
      readonly lastsMs: number
    },
  ): Promise<boolean> {
    const supervisor = this.#supervisor
    switch (fault) {
      case 'coordinator killed':
        await supervisor.kill()
        return true
      case 'coordinator killed at a failpoint':
      case 'coordinator killed undecided':
        return supervisor.dieAt(how.point, MET_MS)
      case 'coordinator frozen':
        return supervisor.freeze(how.lastsMs)
      case 'server killed':
        await server.kill()
        await sleep(how.lastsMs / 2)
        await server.restart()
        return true
      case 'server frozen':
        await server.suspend()
        await sleep(how.lastsMs * 2)
        await server.resume()
        return true
      case 'all connections cut':
        proxy.dropAll()
        return true
      case 'disk full':
      case 'disk fails':
        return supervisor.harmDisk(fault === 'disk full' ? 'full' : 'fails', how.lastsMs)
      default:
        return this.#cut(fault, kind, proxy, how.text)
    }
  }

  /** One connection, at a message. */
  async #cut(fault: Fault, kind: Kind, proxy: WireProxy, drawn: string): Promise<boolean> {
    const cut = CUTS[fault] ?? 'before'
    const kills = fault === 'late vote of a killed coordinator'
    const vote = TEXTS[kind][0] ?? drawn
    const text = kills ? vote : drawn
    let met = false
    proxy.halt({
      text,
      when: cut === 'after' ? 'answered' : 'asked',
      act: async () => {
        met = true
        if (kills) await this.#supervisor.kill()
        return cut
      },
    })
    const limit = new AbortController()
    const late = sleep(MET_MS, undefined, { signal: limit.signal }).catch(() => undefined)
    await Promise.race([proxy.cutDone(), late])
    limit.abort()
    if (!met) {
      proxy.halt(undefined)
      return false
    }
    const answered = await proxy.cutDone()
    if (cut === 'late' && text === vote && answered) this.lateVotes += 1
    return true
  }

  #draw(): Fault {
    if (this.#deck.length === 0) {
      this.#deck = [...FAULTS, ...this.#missed]
      this.#missed.clear()
      for (let at = this.#deck.length - 1; at > 0; at -= 1) {
        const other = Math.floor(this.#random() * (at + 1))
        const [a, b] = [this.#deck[at], this.#deck[other]]
        if (a !== undefined && b !== undefined) [this.#deck[at], this.#deck[other]] = [b, a]
      }
    }
    const fault = this.#deck.pop()
    if (fault === undefined) throw new Error('an empty deck')
    return fault
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.#random() * items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }
}
