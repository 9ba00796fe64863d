/** Ending on the server what a branch still does there, on a clock of our own. */
import { describe, expect, it } from 'vitest'
import {
  fence,
  type Interrupted,
  PATIENCE_MS,
  quiesce,
} from '../../../adapters/dialect/interrupt.ts'
import { checkLockTimeout, spreadLockTimeout } from '../../../adapters/dialect/lock-timeout.ts'
import * as mysql from '../../../adapters/dialect/mysql.ts'
import * as postgres from '../../../adapters/dialect/postgres.ts'
import { isDone } from '../../../adapters/mysql2/interrupt.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const NEVER = new Promise<never>(() => undefined)

describe('what MySQL shows of a session', () => {
  const server = { server: 'one', startedAtMs: 1_000 }
  const physical = { server, threadId: 7, limit: undefined, flavour: 'MySQL', heardMs: 0 } as const
  const seen = (row: object | undefined, hides = false) => ({
    run: async (text: string) => {
      if (text !== mysql.NEEDS_PROCESS) return row === undefined ? [] : [{ ...row }]
      if (hides) throw Object.assign(new Error('denied'), { errno: 1227, sqlState: '42000' })
      return []
    },
  })

  it.each([
    ['idle', seen({ command: 'Sleep' }), true],
    ['at work', seen({ command: 'Query' }), false],
    ['gone', seen(undefined), true],
    ['perhaps hidden from us', seen(undefined, true), false],
  ] as const)('%s', async (_, own, done) => {
    expect(await isDone(own, server, physical)).toBe(done)
  })
})

describe('quiesce', () => {
  it('asks nobody when nothing runs', async () => {
    const asked: string[] = []
    const cancel = async (): Promise<Interrupted> => {
      asked.push('cancel')
      return 'sent'
    }
    expect(await quiesce(new VirtualClock(), () => false, cancel)).toBe(true)
    expect(asked).toEqual([])
  })

  it('cancels again while the statement runs on: the first one may have overtaken it', async () => {
    const clock = new VirtualClock()
    let cancels = 0
    const cancel = async (): Promise<Interrupted> => {
      cancels += 1
      return 'sent'
    }
    const quiet = quiesce(clock, () => cancels < 3, cancel)
    await clock.advance(200)
    expect(await quiet).toBe(true)
    expect(cancels).toBe(3)
  })

  it('gives up a statement that cannot be cancelled', async () => {
    const clock = new VirtualClock()
    const quiet = quiesce(
      clock,
      () => true,
      async () => 'sent',
    )
    await clock.advance(PATIENCE_MS + 100)
    expect(await quiet).toBe(false)
    expect(clock.waiting).toBe(0)
  })

  it('calls nothing quiet while a cancel is under way: it would hit the next borrower', async () => {
    const clock = new VirtualClock()
    let running = true
    const quiet = quiesce(
      clock,
      () => running,
      () => NEVER,
    )
    await clock.advance(10)
    running = false
    await clock.advance(PATIENCE_MS)
    expect(await quiet).toBe(false)
  })

  it.each(['gone', 'unseen'] as const)('gives up a session that is %s', async (answer) => {
    expect(
      await quiesce(
        new VirtualClock(),
        () => true,
        async () => answer,
      ),
    ).toBe(false)
  })

  it('waits for a begin whose session is not known yet', async () => {
    const clock = new VirtualClock()
    let running = true
    const quiet = quiesce(clock, () => running, undefined)
    await clock.advance(30)
    running = false
    await clock.advance(30)
    expect(await quiet).toBe(true)
  })
})

describe('fence', () => {
  it('is certain only when the session is gone', async () => {
    const clock = new VirtualClock()
    const answers: Interrupted[] = ['sent', 'sent', 'gone']
    const fenced = fence(clock, async () => answers.shift() ?? 'unseen')
    await clock.advance(100)
    expect(await fenced).toBe(true)
    expect(answers).toEqual([])
  })

  it.each([
    ['the server does not show the session', async (): Promise<Interrupted> => 'unseen'],
    ['the session does not end', async (): Promise<Interrupted> => 'sent'],
    ['the server does not answer', () => NEVER],
    ['the server cannot be reached', () => Promise.reject(new Error('down'))],
  ])('is not certain when %s', async (_, end) => {
    const clock = new VirtualClock()
    const fenced = fence(clock, end)
    await clock.advance(PATIENCE_MS + 100)
    expect(await fenced).toBe(false)
    expect(clock.waiting).toBe(0)
  })
})

describe('what is said', () => {
  const xid = { gtrid: 'una1-x', bqual: 'ledger' }

  it('a backend is named by its pid and its start, behind a pooler also by its transaction', () => {
    const direct = postgres.interrupt({ pid: '77', backendAt: '1000' }, 'cancel')
    expect(direct).toMatch(/backend_start\) \* 1000000\)::bigint::text = '1000'\s+THEN/)
    expect(direct).toContain('pg_cancel_backend(pid)')
    expect(direct).not.toContain('xact_start')
    const pooled = { pid: '77', backendAt: '1000', transactionAt: '2000' }
    const text = postgres.interrupt(pooled, 'terminate')
    expect(text).toMatch(/xact_start\) \* 1000000\)::bigint::text = '2000'/)
    expect(text).toContain('pg_terminate_backend(pid)')
  })

  it('the begin text carries the lock timeout, and asks for the backend only when told', () => {
    expect(postgres.begin(postgres.idOf(xid), undefined, false).join('; ')).not.toContain(
      'lock_timeout',
    )
    const limited = postgres
      .begin(postgres.idOf(xid), undefined, false, { lockTimeoutMs: 5_000 })
      .join('; ')
    expect(limited).toMatch(
      /^BEGIN; SET LOCAL unanimous.branch = .*; SET LOCAL lock_timeout = 5000$/,
    )
    expect(postgres.begin(postgres.idOf(xid), undefined, false, { asksBackend: true })).toContain(
      postgres.BACKEND,
    )
  })

  it('only waits that are longer are shortened, and they are given back', () => {
    expect(mysql.limitWaits({ rowS: 50, tableS: 86_400 }, 5)).toEqual({
      set: 'SET SESSION innodb_lock_wait_timeout = 5, SESSION lock_wait_timeout = 5',
      restore: 'SET SESSION innodb_lock_wait_timeout = 50, SESSION lock_wait_timeout = 86400',
    })
    expect(mysql.limitWaits({ rowS: 3, tableS: 86_400 }, 5)).toEqual({
      set: 'SET SESSION lock_wait_timeout = 5',
      restore: 'SET SESSION lock_wait_timeout = 86400',
    })
    expect(mysql.limitWaits({ rowS: 5, tableS: 5 }, 5)).toBeUndefined()
  })

  it('branches let go at different times, and PostgreSQL before InnoDB', () => {
    const waits = ['1', '2', '3', 'z'].map((seq) => spreadLockTimeout(5_000, `una1-x-1.ab-${seq}`))
    expect(new Set(waits).size).toBe(4)
    for (const wait of waits) {
      expect(wait).toBeGreaterThanOrEqual(3_500)
      expect(wait).toBeLessThanOrEqual(4_500)
    }
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(100)
    expect(spreadLockTimeout(1, 'g')).toBe(1)
  })

  it('a lock timeout is whole milliseconds', () => {
    expect([checkLockTimeout(), checkLockTimeout(0)]).toEqual([5_000, 0])
    for (const wrong of [-1, 1.5, Number.NaN, 2 ** 31]) {
      expect(() => checkLockTimeout(wrong)).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION', hint: expect.any(String) }),
      )
    }
  })
})
