/**
 * Runs cases of the matrix: those of one process, connection or disk side by side, each in a lane of
 * its own; those of a whole server in rounds, for all lanes share the servers. In a round every lane
 * brings its case to its instant, then the server is killed or stopped once for all of them.
 */
import { randomBytes } from 'node:crypto'
import { bundle } from './coordinator-process.ts'
import { Lane, type Servers } from './lane.ts'
import { runCase, type Strike } from './run-case.ts'
import type { Case, Fault, Side } from './table.ts'

export interface Result {
  readonly case: Case
  /** What was missed; `undefined` when the case passed. */
  readonly failure: string | undefined
  readonly ms: number
}

export interface MatrixOptions {
  readonly servers: Servers
  /** Lanes of each kind, with marker tables and with default settings. */
  readonly width: number
  onResult(result: Result): void
}

const SERVER_FAULTS: readonly Fault[] = [
  'accounts killed',
  'wallets killed',
  'accounts frozen',
  'wallets frozen',
]

/** Nothing is shared: the fault comes to one lane alone. */
const ALONE: Strike = { met: () => Promise.resolve(), mended: () => Promise.resolve() }

export async function runMatrix(cases: readonly Case[], options: MatrixOptions): Promise<void> {
  const child = await bundle('crash/child.ts')
  const matrix = new Matrix(options, child.path)
  try {
    await matrix.run(cases)
  } finally {
    await matrix.close()
    child.remove()
  }
}

class Matrix {
  readonly #options: MatrixOptions
  readonly #bundle: string
  readonly #run = randomBytes(4).toString('hex')
  readonly #lanes: Lane[] = []
  #opened = 0

  constructor(options: MatrixOptions, bundlePath: string) {
    this.#options = options
    this.#bundle = bundlePath
  }

  async run(cases: readonly Case[]): Promise<void> {
    for (let at = 0; at < this.#options.width; at += 1) {
      this.#lanes.push(await this.#open(true), await this.#open(false))
    }
    const alone = cases.filter(({ fault }) => !SERVER_FAULTS.includes(fault))
    await this.#sideBySide(alone)
    for (const fault of SERVER_FAULTS) {
      await this.#rounds(cases.filter((one) => one.fault === fault))
    }
  }

  async close(): Promise<void> {
    // A lane whose case failed may hold branches, and then its databases stay until the servers end.
    await Promise.all(this.#lanes.map((lane) => lane.close().catch(() => undefined)))
  }

  async #sideBySide(cases: readonly Case[]): Promise<void> {
    const waiting = [...cases]
    const work = async (at: number): Promise<void> => {
      const { markers } = this.#lane(at)
      for (;;) {
        const next = waiting.findIndex((one) => one.markers === markers)
        const [one] = next < 0 ? [] : waiting.splice(next, 1)
        if (one === undefined) return
        if (!(await this.#one(at, one, ALONE))) await this.#renew(at)
      }
    }
    await Promise.all(this.#lanes.map((_, at) => work(at)))
  }

  async #rounds(cases: readonly Case[]): Promise<void> {
    const waiting = [...cases]
    while (waiting.length > 0) {
      const taken = this.#lanes.flatMap(({ markers }, at) => {
        const next = waiting.findIndex((one) => one.markers === markers)
        const [one] = next < 0 ? [] : waiting.splice(next, 1)
        return one === undefined ? [] : [{ at, one }]
      })
      const [first] = taken
      if (first === undefined) return
      const round = this.#round(first.one.fault, taken.length)
      const passed = await Promise.all(
        taken.map(({ at, one }) => this.#one(at, one, round.member())),
      )
      await round.over()
      for (const [index, { at }] of taken.entries()) {
        if (passed[index] === false) await this.#renew(at)
      }
    }
  }

  #round(fault: Fault, members: number): Round {
    const [side, how] = fault.split(' ') as [Side, 'killed' | 'frozen']
    const server = this.#options.servers[side]
    if (how === 'frozen') {
      return new Round(
        members,
        () => server.suspend(),
        () => server.resume(),
      )
    }
    let restarted: Promise<void> = Promise.resolve()
    const kill = async (): Promise<void> => {
      await server.kill()
      restarted = server.restart()
      restarted.catch(() => undefined)
    }
    return new Round(members, kill, () => restarted)
  }

  /** Answers whether the case passed. */
  async #one(at: number, one: Case, strike: Strike & { quit?(): void }): Promise<boolean> {
    const started = performance.now()
    const lane = this.#lane(at)
    let failure: string | undefined
    try {
      await runCase(lane, one, strike)
    } catch (cause) {
      failure = cause instanceof Error ? cause.message : String(cause)
    }
    strike.quit?.()
    this.#options.onResult({ case: one, failure, ms: performance.now() - started })
    return failure === undefined
  }

  /** Its bank may hold branches and locks of the case that failed. */
  async #renew(at: number): Promise<void> {
    const lane = this.#lane(at)
    await lane.process.kill()
    this.#lanes[at] = await this.#open(lane.markers)
    await lane.close().catch(() => undefined)
  }

  #lane(at: number): Lane {
    const lane = this.#lanes[at]
    if (lane === undefined) throw new Error(`there is no lane ${at}`)
    return lane
  }

  #open(markers: boolean): Promise<Lane> {
    this.#opened += 1
    const name = `crash_${this.#run}_${this.#opened}`
    return Lane.open(this.#options.servers, this.#bundle, markers, name)
  }
}

/** Brings several cases to their instants, hurts the server once, and mends it once. */
class Round {
  readonly #hurt: () => Promise<void>
  readonly #heal: () => Promise<void>
  readonly #coming: Set<symbol>
  readonly #staying: Set<symbol>
  readonly #members: symbol[]
  readonly #hurtDone = deferred()
  readonly #healDone = deferred()
  #struck: Promise<void> | undefined
  #healed: Promise<void> | undefined

  constructor(members: number, hurt: () => Promise<void>, heal: () => Promise<void>) {
    this.#hurt = hurt
    this.#heal = heal
    this.#members = Array.from({ length: members }, () => Symbol('member'))
    this.#coming = new Set(this.#members)
    this.#staying = new Set(this.#members)
  }

  member(): Strike & { quit(): void } {
    const me = this.#members.pop()
    if (me === undefined) throw new Error('more members than were announced')
    return {
      met: () => {
        this.#coming.delete(me)
        this.#look()
        return this.#hurtDone.promise
      },
      mended: () => {
        this.#coming.delete(me)
        this.#staying.delete(me)
        this.#look()
        return this.#healDone.promise
      },
      quit: () => {
        this.#coming.delete(me)
        this.#staying.delete(me)
        this.#look()
      },
    }
  }

  /** Resolves when the server works, also when every case failed on its way. */
  async over(): Promise<void> {
    await this.#healed
  }

  #look(): void {
    if (this.#coming.size === 0 && this.#struck === undefined) {
      this.#struck = this.#hurt()
      this.#struck.then(this.#hurtDone.resolve, this.#hurtDone.reject)
    }
    if (this.#staying.size > 0 || this.#struck === undefined || this.#healed !== undefined) return
    this.#healed = this.#struck.then(() => this.#heal())
    this.#healed.then(this.#healDone.resolve, this.#healDone.reject)
  }
}

interface Deferred {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (cause: unknown) => void
}

/** `Promise.withResolvers`, which Node.js 20 lacks. Nobody need wait for it. */
function deferred(): Deferred {
  let resolve: () => void = () => undefined
  let reject: (cause: unknown) => void = () => undefined
  const promise = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  promise.catch(() => undefined)
  return { promise, resolve, reject }
}
