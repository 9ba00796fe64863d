/** The application: transactions as the plan has them, and what their callers hear. */
import type { ExecuteOptions } from '../../src/commit/execute.ts'
import type { TransactionVerbs } from '../../src/commit/handles.ts'
import type { Coordinator } from '../../src/coordinator.ts'
import { TransactionError } from '../../src/errors.ts'
import type { GivenWork, SimHandle } from './branch.ts'
import type { Fleet } from './fleet.ts'
import { type Attempt, fail, type Oracle } from './oracle.ts'
import type { TransactionPlan } from './plan.ts'
import type { Process } from './process.ts'
import { ServerError } from './server.ts'
import { Violation, type World } from './world.ts'

export interface ClientHost {
  readonly world: World
  readonly oracle: Oracle
  readonly fleet: Fleet
  count(kind: string): void
  fail(cause: unknown): void
}

/** Longer than any call may take. */
const CALL_MS = 120_000
/**
 * Votes (2 s each way), announcements, the force (5 s), settling and the roll-back of what is left,
 * each at its longest.
 */
const ANSWER_LIMIT_MS = 20_000

export class Clients {
  unanswered: number
  readonly answers = new Map<string, number>()
  readonly #host: ClientHost

  constructor(host: ClientHost, plans: readonly TransactionPlan[]) {
    this.#host = host
    this.unanswered = plans.length
    for (const plan of plans) this.#schedule(plan, plan.startMs)
  }

  #schedule(plan: TransactionPlan, delayMs: number): void {
    this.#host.world.schedule(delayMs, 'client', () => {
      this.#askAnyone()
      const { fleet } = this.#host
      const place = fleet.serving(plan.process)
      const process = fleet.at(place)
      if (process?.isOpen === true) {
        this.#transact(plan, process)
        return
      }
      fleet.ensure(place)
      // Those who waited come at nearly the same time.
      const { rng } = this.#host.world
      fleet.whenOpen(place, () => this.#schedule(plan, rng.between(0, rng.pick([0.5, 4, 60]))))
    })
  }

  #transact(plan: TransactionPlan, process: Process): void {
    const attempts: Attempt[] = []
    let over = false
    const end = (): void => {
      if (over) return
      over = true
      this.unanswered -= 1
    }
    const heard = (error: unknown): void => {
      if (over) return
      end()
      this.#heard(attempts, error)
    }
    // A caller that dies with its process hears nothing.
    this.#host.world.schedule(CALL_MS, 'caller gives up', () => undefined, process, end)
    this.#call(plan, process, attempts).then(() => heard(undefined), heard)
  }

  async #call(plan: TransactionPlan, process: Process, attempts: Attempt[]): Promise<void> {
    const { coordinator } = process
    if (coordinator === undefined) return
    const options = {
      timeoutMs: plan.timeoutMs,
      readOnly: plan.readOnly,
      settle: plan.settle,
      ...(plan.signalMs === undefined ? {} : { signal: this.#signal(plan.signalMs, process) }),
    }
    if (plan.ending === 'by hand' || plan.ending === 'roll back by hand') {
      const tx = await coordinator.begin(options)
      await this.#work(plan, tx, process, attempts)
      if (plan.ending === 'by hand') await tx.commit()
      else await tx.rollback()
      if (plan.ending === 'roll back by hand') throw new RolledBack()
      return
    }
    if (plan.inAdvance) {
      await this.#execute(plan, coordinator, attempts, {
        ...options,
        retry: { attempts: plan.attempts },
      })
      return
    }
    await coordinator.transaction((tx) => this.#work(plan, tx, process, attempts), {
      ...options,
      retry: { attempts: plan.attempts },
    })
  }

  async #execute(
    plan: TransactionPlan,
    coordinator: Coordinator,
    attempts: Attempt[],
    options: ExecuteOptions,
  ): Promise<void> {
    const { oracle, world } = this.#host
    const statements = plan.branches.map(({ server, ...work }) => {
      const begun = (gtrid: string): void => {
        const known = oracle.attempts.get(gtrid)
        const attempt = known ?? oracle.begin(gtrid)
        if (known === undefined) attempts.push(attempt)
        if (work.writes) attempt.wrote.add(server)
        attempt.workedAt = world.now
      }
      const values: Readonly<Record<string, unknown>> & GivenWork = { plan: work, begun }
      return { on: server, text: 'work', values }
    })
    const answers = await coordinator.execute(statements, options)
    const ran = statements.map(({ values }) => values.plan)
    if (answers.length === ran.length && ran.every((plan, at) => answers[at] === plan)) return
    this.#host.fail(new Violation('committed, with other answers than those of its statements'))
  }

  #signal(afterMs: number, process: Process): AbortSignal {
    const abort = new AbortController()
    this.#host.count('signal')
    this.#host.world.schedule(afterMs, 'signal', () => abort.abort(), process)
    return abort.signal
  }

  async #work(
    plan: TransactionPlan,
    tx: TransactionVerbs,
    process: Process,
    attempts: Attempt[],
  ): Promise<void> {
    const attempt = this.#host.oracle.begin(tx.gtrid)
    attempts.push(attempt)
    tx.afterCommit(() => attempt.hooks.add('committed'))
    tx.afterRollback(() => attempt.hooks.add('rolled-back'))
    const one = async (branch: TransactionPlan['branches'][number]): Promise<void> => {
      if (branch.writes) attempt.wrote.add(branch.server)
      try {
        await handleOf(tx, branch.server).work(branch)
      } catch (cause) {
        if (!plan.swallows) throw cause
        // Proven to have had no effect; whether the branch can go on is the server's business.
        if (cause instanceof ServerError) attempt.wrote.delete(branch.server)
      }
    }
    if (plan.together) await Promise.all(plan.branches.map(one))
    else for (const branch of plan.branches) await one(branch)
    if (plan.thinkMs > 0) await this.#host.world.pause(plan.thinkMs, 'think', process)
    attempt.workedAt = this.#host.world.now
    if (plan.ending === 'throw') throw new Error('the application')
  }

  #heard(attempts: readonly Attempt[], error: unknown): void {
    const last = attempts.at(-1)
    const outcome =
      error === undefined
        ? 'committed'
        : error instanceof TransactionError
          ? error.outcome
          : 'rolled-back'
    const code = error instanceof TransactionError ? `: ${error.code}` : ''
    const heard = outcome + code
    this.answers.set(heard, (this.answers.get(heard) ?? 0) + 1)
    try {
      const known = error instanceof TransactionError ? error : undefined
      // The last attempt of all may have been over before its callback was called.
      const uncalled =
        known !== undefined && known.gtrid !== '' && !this.#host.oracle.attempts.has(known.gtrid)
      for (const attempt of uncalled ? attempts : attempts.slice(0, -1)) {
        this.#host.oracle.answered(attempt, {
          outcome: 'rolled-back',
          code: 'retried',
          recoverable: true,
        })
      }
      if (last === undefined || uncalled) {
        if (outcome !== 'rolled-back') fail(`answered ${outcome} before it began`)
        return
      }
      if (known !== undefined && known.gtrid !== '' && known.gtrid !== last.gtrid) {
        fail(`${last.gtrid} heard of ${known.gtrid}`)
      }
      if (error !== undefined && known === undefined && !(error instanceof RolledBack)) {
        // `begin()` leaves the callback's own error to the caller, who abandons the transaction.
        return
      }
      this.#inTime(last)
      this.#host.oracle.answered(last, {
        outcome,
        code: known?.code,
        recoverable: known?.recoverable ?? true,
      })
      this.#ask(last)
    } catch (cause) {
      this.#host.fail(cause)
    }
  }

  /** Rules 8 and 10: once its work is done a caller waits for a bounded time, whatever is broken. */
  #inTime({ gtrid, workedAt }: Attempt): void {
    if (workedAt === undefined) return
    const waitedMs = this.#host.world.now - workedAt
    if (waitedMs > ANSWER_LIMIT_MS) fail(`I11: ${gtrid} was answered after ${waitedMs} ms`)
  }

  /** Any caller may ask at any time. */
  #askAnyone(): void {
    const attempts = [...this.#host.oracle.attempts.values()]
    const attempt = attempts[this.#host.world.rng.int(attempts.length)]
    if (attempt !== undefined) this.#ask(attempt)
  }

  /** What outcome() says must agree with how it ends. */
  #ask(attempt: Attempt): void {
    for (const { coordinator } of this.#host.fleet.processes) {
      const said = coordinator?.outcome(attempt.gtrid)
      if (said === 'committed' || said === 'rolled-back') attempt.told.add(said)
    }
  }
}

/** The caller rolled back, and that went well. */
class RolledBack extends Error {}

function handleOf(tx: object, server: string): SimHandle {
  return Reflect.get(tx, server) as SimHandle
}
