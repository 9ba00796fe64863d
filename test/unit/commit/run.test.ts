/** The live path over participants and a log in memory: every case of the protocol, in order. */
import { queryObjects } from 'node:v8'
import { describe, expect, it } from 'vitest'
import type { Refusal } from '../../../src/adapter.ts'
import { TransactionError } from '../../../src/errors.ts'
import type { Failpoint } from '../../../src/failpoint.ts'
import { failure, type Handles, LIMITS, REFUSAL, world } from '../../support/commit-world.ts'
import type { FakeHandle } from '../../support/fake-participant.ts'

describe('a transaction with two branches', () => {
  it('commits both, and only after the commit record is durable', async () => {
    const { run, both, trace, ledger, shop, live, log } = world()
    expect(await run(both)).toBe('done')
    expect(trace).toEqual([
      'ledger vote',
      'shop vote',
      'log force',
      'log durable',
      'ledger commit',
      'shop commit',
      'log end',
    ])
    expect([ledger.committed.size, shop.committed.size]).toEqual([1, 1])
    expect(live.size).toBe(0)
    expect(log.pending()).toEqual([])
  })

  it('rolls everything back when a branch refuses, and writes nothing', async () => {
    const { run, both, trace, ledger, live } = world({}, { vote: REFUSAL })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'PREPARE_REFUSED', outcome: 'rolled-back' })
    expect(trace).toEqual([
      'ledger vote',
      'shop vote',
      'log abort',
      'ledger rollback',
      'shop rollback',
    ])
    expect(ledger.rolledBack.size).toBe(1)
    expect(live.size).toBe(0)
  })

  it('rule 12: the register holds the abort before any branch is rolled back', async () => {
    const w = world({}, { vote: REFUSAL })
    await failure(w.run(w.both))
    const ended = w.trace.filter((line) => line === 'log abort' || line.endsWith('rollback'))
    expect(ended).toEqual(['log abort', 'ledger rollback', 'shop rollback'])
  })

  it('takes a lost vote for a refusal and leaves what may be prepared to the sweep', async () => {
    const { run, both, nudged } = world({}, { vote: 'lost-prepared', rollback: 'lost' })
    const error = await failure(run(both))
    expect(error).toMatchObject({
      code: 'CONNECTION_LOST',
      outcome: 'rolled-back',
      retryable: true,
    })
    expect(nudged).toEqual(['shop'])
  })

  it('nudges recovery only when the transaction is live no more: else it leaves the branch alone', async () => {
    const { run, both, live, context } = world({}, { vote: 'lost-prepared', rollback: 'lost' })
    const liveAtNudge: number[] = []
    Object.assign(context, { nudge: () => liveAtNudge.push(live.size) })
    await failure(run(both))
    expect(liveAtNudge).toEqual([0])
  })

  it('rule 2: touches no branch when the force failed', async () => {
    const { run, both, trace, log, ledger, shop, live } = world()
    log.force = Promise.reject(new Error('EIO'))
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'DECISION_IN_DOUBT', outcome: 'in-doubt' })
    expect(trace).toEqual([
      'ledger vote',
      'shop vote',
      'log force',
      'ledger abandon',
      'shop abandon',
    ])
    expect([ledger.prepared.size, shop.prepared.size]).toEqual([1, 1])
    expect(live.size).toBe(0)
  })

  it('rolls back when the log refused the record before it took it', async () => {
    const { run, both, log, ledger, live } = world()
    log.full = true
    expect(await failure(run(both))).toMatchObject({ code: 'LOG_FULL', outcome: 'rolled-back' })
    expect(ledger.rolledBack.size).toBe(1)
    expect(live.size).toBe(0)
  })

  it('rule 10: answers in-doubt when the force is late, and carries the decision out behind', async () => {
    const { run, both, log, ledger, shop, live } = world()
    let release: () => void = () => undefined
    log.force = new Promise((resolve) => {
      release = resolve
    })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'DECISION_IN_DOUBT', outcome: 'in-doubt' })
    expect([ledger.prepared.size, shop.prepared.size, live.size]).toEqual([1, 1, 1])
    release()
    await live.whenEmpty()
    expect([ledger.committed.size, shop.committed.size]).toEqual([1, 1])
  })

  it('rule 10: a deadline after the hand-over does not turn back', async () => {
    const { run, both, log, ledger, context } = world()
    log.force = new Promise((resolve) => setTimeout(resolve, 30))
    Object.assign(context, { limits: { ...LIMITS, forceMs: 1_000 } })
    await run(both, { timeoutMs: 10 })
    expect(ledger.committed.size).toBe(1)
  })

  it('answers at once at the deadline while a vote hangs, and rolls back behind', async () => {
    const { run, both, trace, live } = world({}, { vote: 'hang' })
    const error = await failure(run(both, { timeoutMs: 20 }))
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', outcome: 'rolled-back' })
    await live.whenEmpty()
    expect(trace).toContain('log abort')
    expect(trace).not.toContain('log force')
    expect(trace.slice(-2)).toEqual(['ledger rollback', 'shop rollback'])
  })

  it('hands a silent commit to recovery, and resolves because the decision is durable', async () => {
    const { run, both, nudged, log, live } = world({}, { commit: 'lost' })
    expect(await run(both)).toBe('done')
    expect(nudged).toEqual(['shop'])
    expect(live.size).toBe(0)
    expect([...(log.pending()[0]?.answers ?? [])]).toEqual([['ledger', 'committed']])
  })

  it('nudges recovery only when the transaction is not live any more', async () => {
    const w = world({}, { commit: 'lost' })
    const liveAtNudge: number[] = []
    Object.assign(w.context, { nudge: () => liveAtNudge.push(w.live.size) })
    await w.run(w.both)
    expect(liveAtNudge).toEqual([0])
  })

  it('with markers, is in doubt until one database is known to have committed', async () => {
    const { run, both } = world(
      { markers: true, commit: 'lost' },
      { markers: true, commit: 'lost' },
    )
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'COMMIT_UNCONFIRMED', outcome: 'in-doubt' })
  })

  it('reads an absent branch with its proof: committed', async () => {
    const proof = { kind: 'committed', by: 'marker' } as const
    const { run, both, log } = world({}, { commit: 'absent', proof })
    expect(await run(both)).toBe('done')
    expect(log.pending()).toEqual([])
  })

  it('reports a branch that somebody rolled back as heuristic mixed, and keeps the decision', async () => {
    const proof = { kind: 'rolled-back', by: 'transaction id' } as const
    const { run, both, log } = world({}, { commit: 'absent', proof })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'HEURISTIC_MIXED', outcome: 'heuristic' })
    expect(error.branches.map((branch) => branch.outcome)).toEqual(['committed', 'rolled-back'])
    expect(log.pending()).toHaveLength(1)
  })

  it('reports an unprovable absence after a restart as a hazard', async () => {
    const proof = { kind: 'none', life: 'restarted' } as const
    const { run, both } = world({}, { commit: 'absent', proof })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'HEURISTIC_HAZARD', outcome: 'heuristic' })
  })

  it('takes no answer from another server', async () => {
    const proof = { kind: 'none', life: 'other-server' } as const
    const { run, both, log, nudged } = world({}, { commit: 'absent', proof })
    await run(both)
    expect(nudged).toEqual(['shop'])
    expect(log.pending()).toHaveLength(1)
  })

  it('rule 2: settles nothing after the log was poisoned', async () => {
    const { run, both, context, log, trace } = world()
    Object.assign(context, {
      // Nor does it wait for what nobody here will do: longer than a test may take.
      limits: { ...LIMITS, settleMs: 600_000 },
      failpoints: (name: Failpoint) => {
        if (name === 'decide:after') log.poison = new Error('EIO')
      },
    })
    await run(both)
    expect(trace.slice(-2)).toEqual(['ledger abandon', 'shop abandon'])
  })

  it('lets the caller go on when the branches have let go of their connections, not before', async () => {
    const { run, both, context, trace } = world()
    Object.assign(context, {
      limits: { ...LIMITS, settleMs: 600_000 },
      failpoints: async (name: Failpoint) => {
        if (name !== 'commit:after-all') return
        await new Promise((resolve) => setTimeout(resolve, 20))
        trace.push('let go')
      },
    })
    await run(both)
    trace.push('caller')
    expect(trace.slice(-2)).toEqual(['let go', 'caller'])
  })

  it('decides nothing once the coordinator was stopped', async () => {
    const { run, both, context, trace } = world()
    const stopped = new TransactionError('LOG_COPIED', 'a copy', { outcome: 'in-doubt', gtrid: '' })
    Object.assign(context, { stopped: () => stopped })
    expect(await failure(run(both))).toMatchObject({ code: 'LOG_COPIED', outcome: 'rolled-back' })
    expect(trace).not.toContain('log force')
  })

  it('rule 9: whoever holds a connection waits for another only so long', async () => {
    const w = world()
    const bounds: number[] = []
    for (const participant of [w.ledger, w.shop]) {
      const branch = participant.branch.bind(participant)
      participant.branch = (request) => {
        const enlist = (): number => {
          const boundMs = request.enlist()
          bounds.push(boundMs)
          return boundMs
        }
        return branch({ ...request, enlist })
      }
    }
    await w.run(w.both)
    const [first = 0, second] = bounds
    expect(first).toBeGreaterThan(LIMITS.acquireMs)
    expect(second).toBe(LIMITS.acquireMs)
  })

  it('collects markers after the end is durable', async () => {
    const { run, both, ledger, context } = world({ markers: true }, {})
    await run(both)
    await Promise.resolve()
    await context.markers.flush()
    expect(ledger.collected).toHaveLength(1)
  })
})

describe('a transaction with fewer branches', () => {
  it('costs nothing when no participant is used', async () => {
    const { run, trace, live } = world()
    expect(await run(async () => 'nothing')).toBe('nothing')
    expect(trace).toEqual([])
    expect(live.size).toBe(0)
  })

  it('commits one branch in one phase, without a log record', async () => {
    const { run, trace, live } = world()
    await run((tx) => tx.ledger.work())
    expect(trace).toEqual(['ledger one-phase'])
    expect(live.size).toBe(0)
  })

  it('commits a single writer in one phase after the read-only branch has ended', async () => {
    const { run, both, trace } = world({ probe: Promise.resolve('read-only') })
    await run(both)
    expect(trace).toEqual(['ledger end', 'shop one-phase'])
  })

  it.each([
    ['at once', REFUSAL],
    ['later', Promise.resolve(REFUSAL)],
  ])(
    'rolls back, with its reason, what a branch refuses that is asked whether it wrote: %s',
    async (_when, probe) => {
      const { run, both, trace } = world({ probe })
      const error = await failure(run(both))
      expect(error).toMatchObject({ code: 'PREPARE_REFUSED', outcome: 'rolled-back' })
      expect(trace).toEqual(['log abort', 'ledger rollback', 'shop rollback'])
    },
  )

  it('decides nothing when every branch was read-only', async () => {
    const { run, both, trace } = world({ probe: 'read-only' }, { probe: 'read-only' })
    await run(both)
    expect(trace).toEqual(['ledger end', 'shop end'])
  })

  it('rolls the writer back when the read-only branch does not confirm', async () => {
    const { run, both, shop } = world({ probe: 'read-only', onePhase: 'lost' })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'rolled-back' })
    expect(shop.rolledBack.size).toBe(1)
  })

  it('is in doubt, and not recoverable, when the answer of one phase is lost without proof', async () => {
    const { run, live } = world({ onePhase: 'lost-applied' })
    const error = await failure(run((tx) => tx.ledger.work()))
    expect(error).toMatchObject({
      code: 'ONE_PHASE_IN_DOUBT',
      outcome: 'in-doubt',
      recoverable: false,
    })
    expect(live.size).toBe(0)
  })

  it.each([
    ['lost-applied', 'resolves'],
    ['lost', 'rolled-back'],
  ] as const)('proves a lost answer of one phase by the marker: %s', async (onePhase, expected) => {
    const { run } = world({ onePhase, markers: true })
    const answer = await run((tx) => tx.ledger.work()).then(
      () => 'resolves',
      (error: unknown) => (error as TransactionError).outcome,
    )
    expect(answer).toBe(expected)
  })
})

describe('what the application does wrong', () => {
  it('rolls back when the callback throws, and keeps what it threw as the cause', async () => {
    const { run, ledger } = world()
    const thrown = new Error('lack of funds')
    const error = await failure(
      run(async (tx) => {
        await tx.ledger.work()
        throw thrown
      }),
    )
    expect(error).toMatchObject({
      code: 'CALLBACK_FAILED',
      outcome: 'rolled-back',
      cause: thrown,
      retryable: false,
    })
    expect(ledger.rolledBack.size).toBe(1)
  })

  it('finds a transient cause through the wrappers of an ORM', async () => {
    const { run } = world()
    const error = await failure(
      run(async (tx) => {
        await tx.ledger.work()
        throw new Error('query failed', { cause: new Error('deadlock') })
      }),
    )
    expect(error.retryable).toBe(true)
  })

  it('refuses when a branch has an obstacle, before any vote', async () => {
    const obstacle: Refusal = { code: 'WORK_STILL_RUNNING', reason: 'x', retryable: false }
    const { run, both, trace } = world({}, { obstacle })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'WORK_STILL_RUNNING', outcome: 'rolled-back' })
    expect(trace).toEqual(['log abort', 'ledger rollback', 'shop rollback'])
  })

  it('reports a branch that the application ended by itself as heuristic', async () => {
    const { run, both, ledger } = world({}, { vote: { ...REFUSAL, code: 'ENDED_BY_APPLICATION' } })
    const error = await failure(run(both))
    expect(error).toMatchObject({ code: 'ENDED_BY_APPLICATION', outcome: 'heuristic' })
    expect(ledger.rolledBack.size).toBe(1)
  })

  it('does not call rolled back what the callback committed before it threw', async () => {
    const obstacle: Refusal = { ...REFUSAL, code: 'ENDED_BY_APPLICATION' }
    const { run, shop } = world({ obstacle })
    const error = await failure(
      run(async (tx) => {
        await tx.shop.work()
        await tx.ledger.work()
        throw new Error('after its own COMMIT')
      }),
    )
    expect(error).toMatchObject({ code: 'ENDED_BY_APPLICATION', outcome: 'heuristic' })
    expect(shop.rolledBack.size).toBe(1)
  })

  it('does not call rolled back a branch that was gone when it was to be rolled back', async () => {
    const { run } = world({ rollback: 'absent' })
    const error = await failure(
      run(async (tx) => {
        await tx.ledger.work()
        throw new Error('whatever')
      }),
    )
    expect(error).toMatchObject({ code: 'ENDED_BY_APPLICATION', outcome: 'heuristic' })
  })

  it('refuses statements after the end', async () => {
    const { run } = world()
    let escaped: Handles | undefined
    await run(async (tx) => {
      escaped = tx
      await tx.ledger.work()
    })
    expect(await failure(escaped?.ledger.work() ?? Promise.resolve())).toMatchObject({
      code: 'TRANSACTION_ENDED',
      outcome: 'committed',
    })
    expect(await failure(escaped?.shop.work() ?? Promise.resolve())).toMatchObject({
      code: 'TRANSACTION_ENDED',
    })
  })

  it('names the configured participants when an unknown one is used', async () => {
    const { run } = world()
    const error = await failure(
      run(async (tx) => (tx as unknown as Record<string, FakeHandle>)['lager']?.work()),
    )
    expect(error).toMatchObject({ code: 'PARTICIPANT_UNKNOWN', hint: 'Configured: ledger, shop.' })
  })

  it('lets the transaction object be returned and printed', async () => {
    const { run } = world()
    const tx = await run(async (handles) => handles)
    expect(JSON.stringify(tx)).toContain('una1-')
  })

  it('does not run the callback when the signal is aborted already', async () => {
    const { run } = world()
    let ran = false
    const work = async (): Promise<void> => {
      ran = true
    }
    const error = await failure(run(work, { signal: AbortSignal.abort(new Error('gone')) }))
    expect(error).toMatchObject({ code: 'SIGNAL_ABORTED', outcome: 'rolled-back' })
    expect(ran).toBe(false)
  })

  it('aborts at the signal while the callback is running', async () => {
    const { run, ledger, live } = world()
    const controller = new AbortController()
    const promise = run(
      async (tx) => {
        await tx.ledger.work()
        controller.abort()
        await new Promise((resolve) => setTimeout(resolve, 10))
        await tx.shop.work()
      },
      { signal: controller.signal },
    )
    expect(await failure(promise)).toMatchObject({ code: 'SIGNAL_ABORTED' })
    await live.whenEmpty()
    expect(ledger.rolledBack.size).toBe(1)
  })
})

describe('what has ended', () => {
  it('leaves no promise: a shared one that never resolves had kept one of every transaction', async () => {
    const { run, both } = world()
    const { signal } = new AbortController()
    const some = async (): Promise<number> => {
      for (let count = 0; count < 100; count += 1) {
        const work = count % 4 === 1 ? () => Promise.reject(new Error('no')) : both
        await run(work, { signal }).catch(() => undefined)
      }
      return queryObjects(Promise, { format: 'count' })
    }
    const before = await some()
    expect((await some()) - before).toBeLessThan(20)
  })
})
