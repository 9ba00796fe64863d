/** What the commit path does where something else came first, broke, or was never meant to be asked. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { BranchRequest, Refusal } from '../../../src/adapter.ts'
import { checkOptions, type TransactionOptions } from '../../../src/commit/options.ts'
import { Running } from '../../../src/commit/run.ts'
import { Scope } from '../../../src/commit/scope.ts'
import { UnanimousError } from '../../../src/errors.ts'
import type { Failpoint } from '../../../src/failpoint.ts'
import { InvariantError } from '../../../src/invariant.ts'
import { failure, LIMITS, REFUSAL, world } from '../../support/commit-world.ts'

type World = ReturnType<typeof world>

/** Does this when the path comes to that point. */
function at({ context }: World, point: Failpoint, act: () => void | Promise<void>): void {
  Object.assign(context, {
    failpoints: (name: Failpoint) => (name === point ? act() : undefined),
  })
}

function begin({ context }: World, options: TransactionOptions = {}): Promise<Running> {
  return Running.begin(context, checkOptions(options, new Set(['ledger', 'shop']), 5_000))
}

const broken = (): never => {
  throw new Error('broken')
}

describe('something else came first', () => {
  it('an abort before a step began: nobody waits for the step', async () => {
    const { tx } = await begin(world())
    tx.abort('DEADLINE_EXCEEDED', 'too late')
    const never = new Promise<never>(() => undefined)
    await expect(tx.unlessAborted(never)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
  })

  it('rule 12: an abort that others put into the register before the record', async () => {
    const w = world()
    let gtrid = ''
    at(w, 'decide:before', async () => void (await w.log.abort(gtrid)))
    const error = await failure(
      w.run(async (tx) => {
        gtrid = (tx as unknown as { gtrid: string }).gtrid
        await w.both(tx)
      }),
    )
    expect(error).toMatchObject({ code: 'ROLLED_BACK', outcome: 'rolled-back' })
    expect([w.ledger.rolledBack.size, w.shop.rolledBack.size]).toEqual([1, 1])
    expect(w.trace).not.toContain('log durable')
  })

  it('a deadline between the last vote and the decision: nothing is decided', async () => {
    const w = world()
    at(w, 'prepare:after-all', () => sleep(60))
    const error = await failure(w.run(w.both, { timeoutMs: 20 }))
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
    await sleep(80)
    expect(w.trace).not.toContain('log force')
    expect(w.ledger.rolledBack.size).toBe(1)
  })

  it('no deadline at all, where none is wanted', async () => {
    const w = world()
    expect(await w.run(w.both, { timeoutMs: Number.POSITIVE_INFINITY })).toBe('done')
  })

  it('the application’s own COMMIT, heard at once although a signal answers', async () => {
    const obstacle: Refusal = { ...REFUSAL, code: 'ENDED_BY_APPLICATION' }
    const w = world({ obstacle })
    const controller = new AbortController()
    const running = w.run(
      async (tx) => {
        await w.both(tx)
        controller.abort()
        await sleep(5_000)
      },
      { signal: controller.signal },
    )
    expect(await failure(running)).toMatchObject({
      code: 'ENDED_BY_APPLICATION',
      outcome: 'heuristic',
    })
  })
})

describe('what broke', () => {
  it('before the decision is rolled back, whoever threw it', async () => {
    const w = world()
    at(w, 'prepare:before', broken)
    expect(await failure(w.run(w.both))).toMatchObject({ outcome: 'rolled-back' })
    expect(w.ledger.rolledBack.size).toBe(1)
  })

  it('after the decision is in doubt, and said to be a fault of ours', async () => {
    const w = world()
    at(w, 'decide:after', broken)
    expect(await failure(w.run(w.both))).toMatchObject({
      code: 'DECISION_IN_DOUBT',
      outcome: 'in-doubt',
      hint: expect.stringContaining('fault of the library'),
    })
  })

  it('in the log before it took the record is rolled back', async () => {
    const w = world()
    w.log.decide = () => Promise.reject(new Error('broken'))
    expect(await failure(w.run(w.both))).toMatchObject({
      code: 'LOG_POISONED',
      outcome: 'rolled-back',
    })
  })

  it('in the register itself is no answer about the data', async () => {
    const w = world({}, { vote: REFUSAL })
    w.log.abort = () => Promise.resolve('commit')
    await expect(w.run(w.both)).rejects.toBeInstanceOf(InvariantError)
    await expect(w.run(broken)).rejects.toBeInstanceOf(InvariantError)
  })

  it('as a thing that is no error is told as it is', async () => {
    const w = world()
    const thrown: unknown = 'out of stock'
    const error = await failure(
      w.run(async (tx) => {
        await w.both(tx)
        throw thrown
      }),
    )
    expect(error).toMatchObject({ code: 'CALLBACK_FAILED', cause: 'out of stock' })
  })
})

it('a lost answer in one phase is looked for again until it is known', async () => {
  const w = world({ onePhase: 'lost-applied', markers: true })
  Object.assign(w.context, { limits: { ...LIMITS, settleMs: 30_000 } })
  let looks = 0
  w.ledger.proveOnePhase = async () => {
    looks += 1
    return looks === 1 ? { kind: 'look-again' } : { kind: 'committed', by: 'marker' }
  }
  await w.run((tx) => tx.ledger.work())
  expect(looks).toBe(2)
})

describe('markers', () => {
  it('that could not be announced refuse, with the hint of whoever refused', async () => {
    const w = world({ markers: true }, { markers: true })
    const hint = 'GRANT INSERT'
    w.shop.announce = () => Promise.reject(new UnanimousError('PARTICIPANT_UNFIT', 'no', { hint }))
    expect(await failure(w.run(w.both))).toMatchObject({
      code: 'PREPARE_REFUSED',
      retryable: true,
      hint,
    })
  })

  it('that are gone since they were announced refuse the vote: no log could be done without', async () => {
    const w = world({ markers: true }, { markers: true })
    at(w, 'prepare:before', () => {
      w.shop.script.markers = false
    })
    expect(await failure(w.run(w.both))).toMatchObject({
      code: 'PREPARE_REFUSED',
      hint: expect.stringContaining('unanimous init'),
    })
    expect(w.trace).not.toContain('log force')
  })
})

it('a heuristic names what is known of each branch, and what is not yet', async () => {
  const w = world(
    { commit: 'later' },
    { commit: 'absent', proof: { kind: 'rolled-back', by: 'marker' } },
  )
  const error = await failure(w.run(w.both))
  expect(error).toMatchObject({ code: 'HEURISTIC_MIXED' })
  expect(error.branches).toEqual([
    { participant: 'ledger', outcome: 'in-doubt', reason: 'not settled yet' },
    { participant: 'shop', outcome: 'rolled-back', reason: 'heuristic-rollback' },
  ])
})

describe('the explicit form', () => {
  it('is counted as it ends, also when it has ended before it is followed', async () => {
    const w = world()
    const count = (): number => w.context.phases.histograms().transaction.count
    const running = await begin(w)
    running.follow()
    expect(count()).toBe(0)
    await running.commit()
    await expect.poll(count).toBe(1)
    running.follow()
    await expect.poll(count).toBe(2)
  })

  it.each(['probe', 'vote'] as const)(
    'ends once when its signal fires within the first step of its commit: the %s',
    async (verb) => {
      const w = world()
      // Once they have been announced nothing is waited for ahead of the votes.
      await w.run(w.both)
      const outcomes: string[] = []
      w.events.on('transaction:ended', ({ outcome }) => outcomes.push(outcome))
      const controller = new AbortController()
      const running = await begin(w, { signal: controller.signal })
      await w.both(running.tx.handles as Parameters<typeof w.both>[0])
      for (const branch of running.tx.enlisted) {
        const asked = branch[verb].bind(branch) as () => never
        branch[verb] = () => {
          controller.abort()
          return asked()
        }
      }
      w.trace.length = 0
      expect((await failure(running.commit())).code).toBe('SIGNAL_ABORTED')
      await expect.poll(() => running.tx.state).toBe('rolled-back')
      expect(w.trace.filter((line) => line.endsWith('rollback'))).toHaveLength(2)
      expect(outcomes).toEqual(['rolled-back'])
      expect(w.stopped).toEqual([])
    },
  )

  it('has one end, also for whoever ends it again as it is told of it', async () => {
    const w = world()
    const running = await begin(w)
    const ends: Promise<void>[] = []
    w.events.on('transaction:ended', () => ends.push(running.commit()))
    await running.commit()
    expect(ends).toHaveLength(1)
    await Promise.all(ends)
  })

  it('does not call rolled back what a roll-back found committed', async () => {
    const w = world({ rollback: 'absent' })
    const running = await begin(w)
    await w.both(running.tx.handles as Parameters<typeof w.both>[0])
    await expect(running.rollback()).rejects.toMatchObject({ outcome: 'heuristic' })
  })
})

describe('the transaction object', () => {
  it('has the names that can be used, and no others', async () => {
    await world().run(async (tx) => {
      expect(['ledger', 'gtrid', 'nobody', Symbol.iterator].map((key) => key in tx)).toEqual([
        true,
        true,
        false,
        false,
      ])
    })
  })

  it('has no branch in a participant that nobody configured', async () => {
    const w = world()
    await w.run(async () => {
      const inside = w.context.ambient.get()?.tx
      expect(() => inside?.branch('nobody')).toThrow(
        expect.objectContaining({ code: 'PARTICIPANT_UNKNOWN' }),
      )
    })
  })
})

it('rule 9: who finds no seat in its time has none', async () => {
  const w = world()
  const requests: BranchRequest[] = []
  const branch = w.ledger.branch.bind(w.ledger)
  w.ledger.branch = (request) => {
    requests.push(request)
    return branch(request)
  }
  const one = async (): Promise<void> => {
    await w.run(async (tx) => {
      await tx.ledger.work()
    })
  }
  await Promise.all([one(), one()])
  const [first, second] = requests
  const seat = await first?.seat(1, 20)
  expect(seat).toBeDefined()
  expect(await second?.seat(1, 20)).toBeUndefined()
  seat?.left()
  expect(await second?.seat(1, 20)).toBeDefined()
})

describe('savepoints', () => {
  it('around a statement are those that are open, outermost first', () => {
    const whole = new Scope('', undefined)
    const outer = new Scope('s1', whole)
    const inner = new Scope('s2', outer)
    expect([whole, outer, inner].map(({ savepoints }) => savepoints)).toEqual([
      [],
      ['s1'],
      ['s1', 's2'],
    ])
    inner.end()
    expect(inner.savepoints).toEqual(['s1'])
  })
})
