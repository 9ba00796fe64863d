/**
 * The coordinator's process of a chaos run: clients that transfer through the public API until they are
 * told to stop. Obeys lines of JSON on stdin, and says what happens on stdout, a line each, before
 * anything else happens. It may die at any time.
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Coordinator, TransactionError, UnanimousError } from 'unanimous'
import { randomFrom } from '../../examples/transfer/orders.ts'
import type { Failpoint } from '../../src/failpoint.ts'
import { FaultyDisk } from '../crash/faulty-disk.ts'
import { hearing } from '../support/hearing.ts'
import { type Database, PLACES } from './bank.ts'
import { type Handle, openParticipant } from './participant.ts'

export interface Setup {
  readonly databases: readonly Database[]
  readonly log: string
  readonly clients: number
  /** What ids begin with; another one for each process. */
  readonly run: string
  readonly seed: number
}

export type Command =
  | { readonly do: 'work' }
  /** SIGKILL when the point is met. */
  | { readonly do: 'die at'; readonly point: Failpoint }
  | { readonly do: 'disk'; readonly state: FaultyDisk['state'] }
  /** Lets the running transfers end, and closes. */
  | { readonly do: 'stop' }

export type Said =
  | { readonly event: 'open'; readonly logId: string }
  | { readonly event: 'refused'; readonly code: string; readonly why: string }
  | {
      readonly event: 'answer'
      readonly id: string
      readonly answer: string
      readonly code?: string
    }
  | { readonly event: 'recovered'; readonly by: 'commit' | 'rollback' }
  /** Something that an operator is told, of one branch. */
  | { readonly event: 'told'; readonly id: string; readonly what: string }
  /** The log is poisoned: only a new process may go on. */
  | { readonly event: 'poisoned' }
  | { readonly event: 'closed' }

type Handles = Readonly<Record<string, Handle>>

const SEGMENT_BYTES = 512 * 1_024
const LIMITS = { timeoutMs: 4_000, acquireMs: 2_000, forceMs: 2_000, settleMs: 2_000 }

const setup = JSON.parse(process.env['SETUP'] ?? '') as Setup
const disk = new FaultyDisk()
let dieAt: Failpoint | undefined
let stopping = false
let working: Promise<unknown> = Promise.resolve()

function say(line: Said): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

async function open(): Promise<Coordinator | undefined> {
  try {
    const bank = await Coordinator.open({
      // Read by the log alone: its size is no option of a coordinator.
      log: { directory: setup.log, segmentBytes: SEGMENT_BYTES, lockWaitMs: 5_000 } as {
        readonly directory: string
      },
      participants: Object.fromEntries(
        setup.databases.map((one) => [one.name, openParticipant(one).definition]),
      ),
      logger: hearing({
        'branch:settled': ({ by }) => {
          if (by === 'recovery') say({ event: 'recovered', by: 'commit' })
        },
        'branch:rolled-back': () => say({ event: 'recovered', by: 'rollback' }),
        'branch:heuristic': ({ gtrid, answer }) => say({ event: 'told', id: gtrid, what: answer }),
        'branch:reported': ({ id, why }) => say({ event: 'told', id, what: why }),
      }),
      ...LIMITS,
      recoveryIntervalMs: 1_000,
      seams: {
        files: disk.files,
        failpoints: (name) => {
          if (name === dieAt) process.kill(process.pid, 'SIGKILL')
        },
      },
    })
    say({ event: 'open', logId: bank.logId })
    return bank
  } catch (cause) {
    if (!(cause instanceof UnanimousError)) throw cause
    say({ event: 'refused', code: cause.code, why: cause.message })
    return undefined
  }
}

async function client(bank: Coordinator, number: number): Promise<void> {
  const random = randomFrom(setup.seed * 1_000 + number)
  const count = setup.databases.length
  for (let n = 0; !stopping; n += 1) {
    const first = Math.floor(random() * count)
    const chosen = new Set([first])
    // One in ten in one phase; the others between two, or three.
    if (random() < 0.9) chosen.add((first + 1 + Math.floor(random() * (count - 1))) % count)
    if (random() < 0.3) chosen.add(Math.floor(random() * count))
    const sides = [...chosen].toSorted((a, b) => a - b)
    const id = `${setup.run}-${number}-${n}-${sides.join('')}`
    const place = 1 + Math.floor(random() * PLACES)
    const throws = random() < 0.05
    const amounts = sides.map((_, at) => (at === 0 ? 1 - sides.length : 1))
    const heard = await transfer(bank, { id, place, throws, sides, amounts })
    say({ event: 'answer', id, ...heard })
    if (heard.code === 'LOG_POISONED') {
      say({ event: 'poisoned' })
      return
    }
    if (heard.answer !== 'committed') await sleep(20 + random() * 80)
  }
}

interface Transfer {
  readonly id: string
  readonly place: number
  readonly throws: boolean
  readonly sides: readonly number[]
  readonly amounts: readonly number[]
}

async function transfer(
  bank: Coordinator,
  { id, place, throws, sides, amounts }: Transfer,
): Promise<{ readonly answer: string; readonly code?: string }> {
  try {
    await bank.transaction(async (tx) => {
      for (const [at, side] of sides.entries()) {
        const handle = (tx as unknown as Handles)[setup.databases[side]?.name ?? '']
        if (handle === undefined) throw new Error('no such database')
        const amount = amounts[at] ?? 0
        await handle.query(`insert into entry values ('${id}', ${amount})`)
        await handle.query(`update place set balance = balance + ${amount} where id = ${place}`)
      }
      if (throws) throw new Error('changed my mind')
    })
    return { answer: 'committed' }
  } catch (cause) {
    if (!(cause instanceof TransactionError)) throw cause
    return { answer: cause.outcome, code: cause.code }
  }
}

async function obey(bank: Coordinator, command: Command): Promise<void> {
  switch (command.do) {
    case 'work': {
      const numbers = Array.from({ length: setup.clients }, (_, at) => at)
      working = Promise.all(numbers.map((number) => client(bank, number)))
      await working
      return
    }
    case 'die at':
      dieAt = command.point
      return
    case 'disk':
      disk.state = command.state
      return
    case 'stop':
      stopping = true
      await working
      await bank.close()
      say({ event: 'closed' })
      process.exit(0)
  }
}

async function main(): Promise<void> {
  const bank = await open()
  if (bank === undefined) process.exit(1)
  const commands = createInterface({ input: process.stdin })
  commands.on('line', (line) => {
    obey(bank, JSON.parse(line) as Command).catch((cause: unknown) => {
      console.error(cause)
      process.exit(1)
    })
  })
  // Whoever started this is gone.
  commands.on('close', () => process.exit(0))
}

main().catch((cause: unknown) => {
  console.error(cause)
  process.exit(1)
})
