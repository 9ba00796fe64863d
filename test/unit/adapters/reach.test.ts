/** What makes a failed enlistment worth another try: the server is away, not the login wrong. */
import { describe, expect, it } from 'vitest'
import { COMES_BACK as MYSQL } from '../../../adapters/dialect/mysql-errors.ts'
import { COMES_BACK as POSTGRES } from '../../../adapters/dialect/postgres-errors.ts'
import { enlistFailed, isOutOfReach } from '../../../adapters/dialect/reach.ts'
import { TransactionError, UnanimousError } from '../../../src/adapter.ts'

const codes = [...POSTGRES, ...MYSQL]

function unreachable(cause?: unknown): UnanimousError {
  return new UnanimousError('PARTICIPANT_UNREACHABLE', 'away', { cause })
}

describe('isOutOfReach', () => {
  it.each([
    ['a refused connection', { code: 'ECONNREFUSED', errno: -111 }],
    ['a name that is not found for now', { code: 'EAI_AGAIN' }],
    ['a PostgreSQL that is starting', { code: '57P03', severity: 'FATAL' }],
    ['a PostgreSQL out of connections', { code: '53300', severity: 'FATAL' }],
    ['a MySQL out of connections', { code: 'ER_CON_COUNT_ERROR', errno: 1040 }],
    ['what a participant could not reach', unreachable({ code: 'ECONNREFUSED' })],
    ['a server that said nothing in time', unreachable()],
  ])('%s', (_, cause) => {
    expect(isOutOfReach(cause, codes)).toBe(true)
  })

  it.each([
    ['a wrong password', { code: '28P01', severity: 'FATAL' }],
    ['a wrong password of MySQL', { code: 'ER_ACCESS_DENIED_ERROR', errno: 1045 }],
    ['the same, found by the participant', unreachable({ code: '28P01' })],
    ['a database that is not there', { code: '3D000', severity: 'FATAL' }],
    [
      'an unfit server',
      new UnanimousError('PARTICIPANT_UNFIT', 'no', { cause: { code: '57P03' } }),
    ],
    ['a mistake', new TypeError('no')],
    ['nothing', undefined],
  ])('not %s', (_, cause) => {
    expect(isOutOfReach(cause, codes)).toBe(false)
  })
})

it('an enlistment that failed speaks of its own transaction, whatever became of another', () => {
  const [own, other] = ['own', 'other'].map(
    (gtrid) => new TransactionError('DECISION_IN_DOUBT', 'late', { outcome: 'in-doubt', gtrid }),
  )
  expect(enlistFailed('shop', 'own', own, false)).toBe(own)
  const told = enlistFailed('shop', 'own', other, false)
  expect(told).toMatchObject({ gtrid: 'own', outcome: 'rolled-back', cause: other })
})
