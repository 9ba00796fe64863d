/** What an operator's log holds at which level, by a real pino logger. */
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { UnanimousError } from '../../src/errors.ts'
import { Events } from '../../src/events.ts'
import { logSink } from '../../src/logger.ts'
import { redact } from '../../src/redact.ts'

function logged(level: string) {
  const lines: Record<string, unknown>[] = []
  const stream = {
    write: (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>),
  }
  return { events: new Events(logSink(pino({ level }, stream))), lines }
}

const branch = { gtrid: 'g', participant: 'ledger', bqual: 'ledger' }

describe('a logger', () => {
  it('is told by area, and hears of thousands of good transactions at debug alone', () => {
    const { events, lines } = logged('info')
    const ended = { gtrid: 'g', name: 'transfer', code: undefined, durationMs: 3 }
    events.emit('transaction:ended', { ...ended, outcome: 'committed' })
    events.emit('branch:settled', { ...branch, answer: 'committed', by: 'live' })
    expect(lines).toEqual([])
    events.emit('branch:settled', { ...branch, answer: 'committed', by: 'recovery' })
    events.emit('branch:heuristic', { ...branch, answer: 'heuristic-rollback' })
    events.emit('log:event', { kind: 'poisoned', cause: new Error('EIO') })
    expect(lines.map(({ level, area, msg }) => [level, area, msg])).toEqual([
      [30, 'branch', 'branch:settled'],
      [50, 'branch', 'branch:heuristic'],
      [50, 'log', 'log:event'],
    ])
    const all = logged('debug')
    all.events.emit('transaction:ended', { ...ended, outcome: 'committed' })
    expect(all.lines).toMatchObject([{ area: 'transaction', gtrid: 'g', outcome: 'committed' }])
  })

  it('is told what stopped a coordinator, with the hint', () => {
    const { events, lines } = logged('info')
    const cause = new UnanimousError('LOG_COPIED', 'a copy', { hint: 'find the original' })
    events.emit('coordinator:stopped', { cause })
    expect(lines).toMatchObject([
      { level: 50, code: 'LOG_COPIED', cause: 'a copy', hint: 'find the original' },
    ])
  })

  it('is not told what a hook threw, for that is the application’s', () => {
    const { events, lines } = logged('trace')
    const cause = new RangeError('card 4111111111111111 is over its limit')
    events.emit('transaction:hook-failed', { gtrid: 'g', outcome: 'committed', cause })
    expect(lines).toMatchObject([{ cause: 'RangeError', outcome: 'committed' }])
    expect(JSON.stringify(lines)).not.toContain('4111')
  })

  it('is told no password that a driver put into a message', () => {
    const { events, lines } = logged('trace')
    const cause = new Error('connect postgres://app:hunter2@db/bank: password=hunter2 refused')
    events.emit('participant:unreachable', { participant: 'ledger', cause })
    expect(lines).toHaveLength(1)
    expect(JSON.stringify(lines)).not.toContain('hunter2')
    expect(redact('mysql://root:x@h')).toBe('mysql://***@h')
  })

  it('may be a plain object without children', () => {
    const told: string[] = []
    const quiet = (): void => undefined
    const warn = (_details: object, message: string): void => void told.push(message)
    const events = new Events(logSink({ debug: quiet, info: quiet, warn, error: quiet }))
    events.emit('branch:reported', { participant: 'ledger', id: 'x', why: 'y' })
    expect(told).toEqual(['branch:reported'])
  })
})
