/**
 * Shares seeds out to processes, one a processor. They run a bundle made by esbuild: run from the
 * sources, through a loader that keeps the names of functions, a seed costs half as much again.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import type { SeedRange } from './seeds.ts'
import { addTally, newTally, type Tally } from './tally.ts'

export interface Traced {
  readonly hash: string
  readonly violation: string | undefined
  readonly trace: readonly string[]
}

/** Seeds that a process is given at a time. */
const PORTION = 500
/**
 * Each processor has a process: helpers of V8 would only take turns with it. A nursery of one size is
 * not grown in one portion and shrunk in the next one.
 */
const V8_OPTIONS = ['--single-threaded', '--max-semi-space-size=16', '--min-semi-space-size=16']

export class Farm {
  readonly #folder = mkdtempSync(join(tmpdir(), 'unanimous-sim-'))
  readonly #bundle = join(this.#folder, 'worker.cjs')
  readonly #processes: number
  readonly #running = new Set<ChildProcess>()

  /** @param root - of the tree whose sources are run */
  constructor(root: string, processes: number = availableParallelism()) {
    this.#processes = processes
    buildSync({
      entryPoints: [join(root, 'test/simulation/worker.ts')],
      bundle: true,
      platform: 'node',
      format: 'cjs',
      target: 'node20',
      alias: { 'node:async_hooks': join(root, 'test/simulation/no-ambient.ts') },
      outfile: this.#bundle,
      logLevel: 'error',
    })
  }

  /** Runs seeds until the count is reached, or one has failed and that is enough. */
  async run(
    first: number,
    count: number,
    untilFailure: boolean,
    onProgress?: (tally: Tally) => void,
  ): Promise<Tally> {
    const tally = newTally()
    let next = 0
    const work = async (): Promise<void> => {
      const child = this.#start()
      while (next < count && !(untilFailure && tally.failures.length > 0)) {
        const portion = Math.min(PORTION, count - next)
        const from = first + next
        next += portion
        const order = { first: from, count: portion, step: 1, untilFailure }
        addTally(tally, await ask<Tally>(child, order))
        onProgress?.(tally)
      }
      child.disconnect()
    }
    await Promise.all(Array.from({ length: this.#processes }, work))
    return tally
  }

  async trace(seed: number): Promise<Traced> {
    const child = this.#start()
    const traced = await ask<Traced>(child, { trace: seed })
    child.disconnect()
    return traced
  }

  close(): void {
    for (const child of this.#running) child.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #start(): ChildProcess {
    const child = fork(this.#bundle, [], { execArgv: V8_OPTIONS })
    this.#running.add(child)
    child.once('exit', () => this.#running.delete(child))
    return child
  }
}

function ask<T>(child: ChildProcess, order: SeedRange | { readonly trace: number }): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => {
      reject(new Error(`a process of the simulator ended with ${code} and no answer`))
    }
    child.once('exit', onExit)
    child.once('message', (answer) => {
      child.off('exit', onExit)
      resolve(answer as T)
    })
    child.send(order)
  })
}
