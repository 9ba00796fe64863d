/** The example service as a process of its own, and clients that ask until they are answered. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CUSTOMERS, ITEMS } from '../../examples/service/schema.ts'
import type { Order } from '../../examples/service/shop.ts'
import { type CommandResult, mustRun } from '../../scripts/run-command.ts'
import { ROOT } from '../../scripts/source-tree.ts'

export const SERVICE: string = join(ROOT, 'examples/service')

export interface Service {
  readonly logId: string
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  /** SIGTERM. @returns its exit code */
  stop(): Promise<number | null>
  /** What it said on stderr. */
  complaints(): string
}

/** @returns once it listens. @throws when it ends before */
export async function startService(
  environment: Readonly<Record<string, string>>,
): Promise<Service> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(SERVICE, 'main.ts')], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [said, complained] = ['', '']
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complained += text
  })
  const logId = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const id = /^listening on \d+, log (\S+)$/m.exec(said)?.[1]
      if (id !== undefined) resolve(id)
    })
    child.once('error', reject)
    child.once('close', (code) => reject(new Error(`it ended with ${code}\n${complained}`)))
  })
  return {
    logId,
    async kill() {
      await end(child, 'SIGKILL')
    },
    stop: () => end(child, 'SIGTERM'),
    complaints: () => complained,
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const closed = once(child, 'close')
    child.kill(signal)
    await closed
  }
  return child.exitCode
}

/** The command line with the service's own configuration. */
export function serviceCli(
  environment: Readonly<Record<string, string>>,
  ...words: readonly string[]
): Promise<CommandResult> {
  const config = join(SERVICE, 'unanimous.config.ts')
  const main = join(ROOT, 'src/cli/main.ts')
  const args = ['--import', 'tsx', main, ...words, '--config', config]
  return mustRun(process.execPath, args, { env: environment })
}

export interface Answer {
  readonly key: string
  readonly status: number
  readonly body: string
}

/** An order that can mostly be met; of a customer that there is not, now and then. */
export function drawOrder(): Order {
  const below = (limit: number): number => Math.floor(Math.random() * limit)
  return { customer: 1 + below(CUSTOMERS + 2), item: 1 + below(ITEMS), quantity: 1 + below(3) }
}

export interface Tally {
  /** Requests that were sent, repetitions included. */
  asked: number
  /** Asked again with their key, because no answer came, or one that tells to. */
  again: number
  /** Asked again although they were answered. */
  repeated: number
}

const LOST_EVERY = 10
const LIMIT_MS = 60_000

/**
 * Asks with one key until there is an answer that says what happened. Some replies are lost on
 * purpose: the client hangs up before they come.
 *
 * @throws when it takes longer than a minute
 */
export async function ask(url: string, order: Order, tally: Tally, key: string = randomUUID()) {
  const until = Date.now() + LIMIT_MS
  for (let first = true; ; first = false) {
    tally.asked += 1
    if (!first) tally.again += 1
    const patienceMs = first && Math.random() * LOST_EVERY < 1 ? Math.random() * 20 : LIMIT_MS
    const answer = await post(url, key, order, patienceMs).catch((cause: unknown) => cause)
    if (isAnswer(answer) && answer.status !== 503) return answer
    if (Date.now() > until) throw new Error(`${key} was never answered`, { cause: answer })
    await sleep(20 + Math.random() * 80)
  }
}

async function post(url: string, key: string, order: Order, patienceMs: number): Promise<Answer> {
  const reply = await fetch(`${url}/purchases`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
    body: JSON.stringify(order),
    signal: AbortSignal.timeout(patienceMs),
  })
  return { key, status: reply.status, body: await reply.text() }
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && 'status' in value
}

/** Clients that ask, one request after the other, until told to stop. */
export function clients(url: string, count: number) {
  const answers: Answer[] = []
  const tally: Tally = { asked: 0, again: 0, repeated: 0 }
  let stopped = false
  const client = async (): Promise<void> => {
    while (!stopped) {
      const order = drawOrder()
      const answer = await ask(url, order, tally)
      answers.push(answer)
      if (Math.random() * LOST_EVERY >= 1) continue
      tally.repeated += 1
      const repeated = await ask(url, order, tally, answer.key)
      if (answer.status === 201 && repeated.body !== answer.body) {
        throw new Error(`${answer.key} was answered ${answer.body}, then ${repeated.body}`)
      }
    }
  }
  const running = Promise.all(Array.from({ length: count }, client))
  // Its failure is the caller's to hear, when it stops.
  running.catch(() => undefined)
  return {
    answers,
    tally,
    async stop(): Promise<void> {
      stopped = true
      await running
    },
  }
}
