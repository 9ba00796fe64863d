/**
 * Keeps a coordinator's process running over its deaths, always on the same log, and gathers what all of
 * them said.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Failpoint } from '../../src/failpoint.ts'
import { CoordinatorProcess } from '../crash/coordinator-process.ts'
import type { Command, Said, Setup } from './child.ts'

export interface Heard {
  readonly id: string
  readonly answer: string
  readonly code: string
}

const AGAIN_MS = 100

export class Supervisor {
  readonly answers: Heard[] = []
  /** Of events that an operator is told of. */
  readonly told: string[] = []
  /** Of openings: how often each code, and the last one's words. */
  readonly refusals = new Map<string, { count: number; why: string }>()
  readonly recovered = { commit: 0, rollback: 0 }
  logId = ''
  starts = 0
  readonly #bundle: string
  readonly #setup: Omit<Setup, 'run'>
  #process: CoordinatorProcess<Command, Said> | undefined
  #expected = false
  #over: Promise<void> = Promise.resolve()
  #running = false

  constructor(bundle: string, setup: Omit<Setup, 'run'>) {
    this.#bundle = bundle
    this.#setup = setup
  }

  /** Starts processes until {@link finish}. */
  start(): void {
    this.#running = true
    this.#over = this.#keep()
  }

  async kill(): Promise<void> {
    this.#expected = true
    await this.#process?.kill()
  }

  /** Answers whether the process died there in time. */
  async dieAt(point: Failpoint, limitMs: number): Promise<boolean> {
    const victim = this.#process
    if (victim === undefined || !victim.alive) return false
    this.#expected = true
    victim.tell({ do: 'die at', point })
    await Promise.race([victim.exited, sleep(limitMs)])
    if (!victim.alive) return true
    await victim.kill()
    return false
  }

  async freeze(ms: number): Promise<boolean> {
    const victim = this.#process
    if (victim === undefined || !victim.alive) return false
    victim.signal('SIGSTOP')
    await sleep(ms)
    victim.signal('SIGCONT')
    return true
  }

  /** A process that has seen its disk fail is replaced. */
  async harmDisk(state: 'full' | 'fails', ms: number): Promise<boolean> {
    const victim = this.#process
    if (victim === undefined || !victim.alive) return false
    this.#expected = true
    victim.tell({ do: 'disk', state })
    await sleep(ms)
    victim.tell({ do: 'disk', state: 'sound' })
    if (state === 'fails') await victim.kill()
    return true
  }

  /** Lets the clients end and closes the coordinator in order. */
  async finish(): Promise<void> {
    this.#running = false
    this.#process?.tell({ do: 'stop' })
    await this.#over
  }

  /** Opens once more, with nothing to do, and closes. */
  async openOnce(): Promise<void> {
    const child = this.#spawn()
    child.tell({ do: 'stop' })
    await child.exited
    this.#gather(child)
  }

  async #keep(): Promise<void> {
    while (this.#running) {
      this.#expected = false
      const child = this.#spawn()
      this.#process = child
      child.tell({ do: 'work' })
      await child.exited
      this.#gather(child)
      if (this.#running && !this.#expected) this.told.push(`the process ended: ${child.errors}`)
      await sleep(AGAIN_MS)
    }
  }

  #spawn(): CoordinatorProcess<Command, Said> {
    this.starts += 1
    const setup: Setup = {
      ...this.#setup,
      run: `r${this.starts}`,
      seed: this.#setup.seed + this.starts,
    }
    return new CoordinatorProcess<Command, Said>(this.#bundle, { SETUP: JSON.stringify(setup) })
  }

  #refused({ code, why }: { readonly code: string; readonly why: string }): void {
    const count = (this.refusals.get(code)?.count ?? 0) + 1
    this.refusals.set(code, { count, why })
  }

  #gather(child: CoordinatorProcess<Command, Said>): void {
    for (const line of child.said) {
      switch (line.event) {
        case 'open':
          this.logId = line.logId
          break
        case 'answer':
          this.answers.push({ id: line.id, answer: line.answer, code: line.code ?? '' })
          break
        case 'recovered':
          this.recovered[line.by] += 1
          break
        case 'told':
          this.told.push(`${line.id}: ${line.what}`)
          break
        case 'refused':
          this.#refused(line)
          // The fault of the moment refused the opening; the next process tries again.
          this.#expected = true
          break
        case 'poisoned':
        case 'closed':
      }
    }
    child.forget()
  }
}
